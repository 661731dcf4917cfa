"""RA-CNN (Fu, Zheng and Mei, CVPR 2017): the classifier in ``classifier.py``, its zoom in ``crop.py``."""
