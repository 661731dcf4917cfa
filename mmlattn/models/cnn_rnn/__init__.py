"""CNN-RNN (Wang et al., CVPR 2016): the recurrence in ``joint_decoder.py``, the search in ``beam_search.py``."""
