"""What two systems share.

``spatial_transformer.py``  looking at a box of a map: sampling, boxes, a region of a region (Jaderberg et al., 2015)
``score_fusion.py``         one score of each class from several looks
``lstm_cell.py``            one step of an LSTM
``transformer_blocks.py``   attention and feed-forward, each with residual and norm
``group_linear.py``         a linear classifier of its own for each query
``feature_layout.py``       a feature map from whatever a backbone gives
``precision.py``            where half precision would cost the result
``closed_form.py``          when a gradient in closed form takes the place of autograd's
"""
