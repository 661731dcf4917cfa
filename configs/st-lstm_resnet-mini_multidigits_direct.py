"""ST-LSTM on MultiDigits, its regions placed as in the paper: only constraints keep them apart (docs/st_lstm.md)."""

_base_ = 'st-lstm_resnet-mini_multidigits.py'

model = dict(
    neck=dict(loc_param='direct'),
    head=dict(
        # The loss is summed over ten classes; the paper's is at most 2.
        loc_weight=1.0,
        loss_loc=dict(type='mmlattn.RegionConstraintLoss', lambda_anchor=1.0),
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'neck.loc': dict(lr_mult=0.3)}))
