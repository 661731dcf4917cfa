"""ST-LSTM: Wang et al., "Multi-label Image Recognition by Recurrently Discovering Attentional Regions", ICCV 2017.

https://arxiv.org/abs/1711.02816

* ``neck.py``: the recurrence, f_k to M_k+1, in ``STLSTM.forward``.
* ``regions.py``: the anchors c_k, and how W_zm z_k + b_m places a region.
* ``head.py``: the scores s_k of the regions, fused class by class; the same constraints for heads of others.
* ``constraints.py``: the constraints on regions, l_S, l_A and l_P. Another one is a function there and an entry in
  ``RegionConstraintLoss``.
* ``losses.py``: their weighted sum L_loc, and L_cls, the softmax regression of the labels.

The spatial transformer st, the LSTM cell and the fusions of scores are in ``layers/``.
"""
