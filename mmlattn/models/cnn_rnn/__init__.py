"""CNN-RNN: Wang et al., "CNN-RNN: A Unified Framework for Multi-label Image Classification", CVPR 2016.

https://arxiv.org/abs/1604.04573

``joint_decoder.py``      the recurrence w_t, o_t, x_t, s_t, and the paper's own LSTM (section 3)
``attention_decoder.py``  the same with a look at the feature map at each step
``paths.py``              P(l_t | I, l_1 ... l_t-1), the order of the labels in training, and the loss
``alignment.py``          losses without an order: MLA, PLA, multi-order
``beam_search.py``        the most probable paths (section 3.4); the file to change for another END rule
``constraints.py``        what may still follow when labels are known to be present, absent, exclusive or required
``likeliest_sets.py``     the set of labels that fits fused scores and what is known
``scores.py``             from paths to one score of each label
``decoding.py``           ``test_cfg``: search and scores together
``head.py``               ``CNNRNNHead``, which brings features and data samples to all these
``vgg_neck.py``           ``VGGFCNeck``, fc7 of VGG, the paper's feature I

What a person writes about known labels is read in ``structures/label_rules.py`` and ``structures/known_labels.py``.
"""
