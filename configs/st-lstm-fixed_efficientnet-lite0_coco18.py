"""ST-LSTM whose regions stay where they begin, at their anchors: what moving is compared with in docs/st_lstm.md."""

_base_ = './st-lstm_efficientnet-lite0_coco18.py'

optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'neck.loc': dict(lr_mult=0.0, decay_mult=0.0)}))
