"""What the heads of several systems share.

``multi_label.py``  from logits and maps to predicted labels, evidence, and a loss of the known labels
``queries.py``      the same of heads whose queries look at the map
"""
