"""Residual Attention Network (Wang et al., CVPR 2017): equations in ``attention_module.py`` and ``soft_mask.py``."""
