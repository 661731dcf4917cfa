"""Class-specific residual attention (Zhu and Wu, ICCV 2021): equations in ``pooling.py``, the head in ``head.py``."""
