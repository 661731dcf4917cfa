"""AttentionInception-56 with the unit of this project: the paper names the network and shows no plan of its unit."""

_base_ = 'ran_attention56_in1k.py'

model = dict(backbone=dict(unit='inception'))
