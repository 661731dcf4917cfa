"""The linear head that others are compared with.

``head.py``  mmpretrain's, which leaves unknown labels out of its loss
"""
