"""Losses of labels that are judged each by itself, where some may be unknown.

``masking.py``  what an unknown label is to a loss, and how what is left is averaged
``binary.py``   binary cross-entropy, focal loss and asymmetric loss, label by label
``masked.py``   the same as registered classes
"""
