"""Class-specific residual attention (Zhu and Wu, ICCV 2021).

``pooling.py``         the equations: class scores, base + lam * att, attention maps, the closed-form gradient
``head.py``            ``CSRAHead``, which brings a backbone's features to them
``state_dicts.py``     the names that other people's files have for these weights
``official_files.py``  whole files of the authors, the backbone's names included
"""
