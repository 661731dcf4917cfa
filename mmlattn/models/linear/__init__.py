"""The linear head that others are compared with.

``pooling.py``  the equations: from a map of scores to one score of each class
``head.py``     ``LinearMultiLabelHead``, on pooled features or a map; unknown labels are left out of its loss
"""
