"""RA-CNN: Fu, Zheng and Mei, "Look Closer to See Better: Recurrent Attention Convolutional Neural Network for
Fine-grained Image Recognition", CVPR 2017.

==================  ==================================================================================================
``classifier.py``   the model: look, propose, zoom in, look again; losses and predictions
``squares.py``      (a, b, l), what an attention proposal is, how it stays in the picture, and the highest response
``crop.py``         x' = zoom(x, square), by bilinear interpolation, with a choice of gradients by the square
``boxcar.py``       M(x, y) = W(x) W(y), the soft mask, its derivatives, and the gradient that it lends to a crop
``ranking.py``      L_rank = max(0, p_t - p'_t + margin)
``localizers.py``   the attention proposal network, and the highest response in its place
``heads.py``        the classifier of one scale, the fusion of several, the rank loss as a module
``building.py``     from a config to all these parts, and which of them learns in which phase
==================  ==================================================================================================

The order of the phases in training is in ``mmlattn/engine/hooks/racnn_schedule.py``.
"""
