"""Losses of labels that are judged each by itself, where some may be unknown.

``masking.py``                what an unknown label is to a loss, and how what is left is averaged
``binary.py``                 binary cross-entropy, focal loss and asymmetric loss, label by label
``masked.py``                 the same as registered classes, and what all of them share
``class_counts.py``           how frequent classes are, for losses that weigh by it
``distribution_balanced.py``  distribution-balanced loss, label by label
``balanced.py``               the same as a registered class
"""
