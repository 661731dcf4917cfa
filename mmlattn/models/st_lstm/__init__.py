"""Recurrently discovered regions (Wang et al., ICCV 2017): the loop in ``neck.py``, scores in ``head.py``."""
