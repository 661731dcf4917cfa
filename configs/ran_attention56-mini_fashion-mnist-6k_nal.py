"""ran_attention56-mini with naive attention learning: M T in place of (1 + M) T, and nothing else changed."""

_base_ = 'ran_attention56-mini_fashion-mnist-6k.py'

model = dict(backbone=dict(learning='nal'))
