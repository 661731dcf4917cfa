"""Query2Label (Liu et al., 2021).

``positions.py``    the sine encoding of where a location lies
``transformer.py``  the equations: encoder, label queries, decoder, one linear classifier for each class
``head.py``         ``Query2LabelHead``, which brings a backbone's features to them
"""
