"""Residual Attention Network (Wang et al., CVPR 2017).

``attention_module.py``  H = (1 + M) T and H = M T (equations 1 and 3), and the module around them
``soft_mask.py``         the mask M: down and up again, and its activations f1, f2, f3 (equations 4 to 6)
``residual_units.py``    what trunk and mask are made of
``backbone.py``          ``ResidualAttentionNet``: the plan of the network
``wrapper.py``           ``ResidualAttentionWrapper``: masks for the stages of another backbone
``mask_recording.py``    the masks of a running model
``state_dicts.py``, ``layer_names.py``  weights from elsewhere
"""
