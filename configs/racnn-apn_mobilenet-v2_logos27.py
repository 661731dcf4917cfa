"""RA-CNN on photographs of 27 brands, whose squares are learnt once the networks know crops."""

_base_ = './racnn_mobilenet-v2_logos27.py'

model = dict(localizer=dict(_delete_=True, type='mmlattn.APN', form='light', in_channels=1280, spatial=4))
load_from = 'work_dirs/racnn_mobilenet-v2_logos27/epoch_6.pth'
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(localizers=dict(lr_mult=4.0))))
phases = dict(pretrain_apn=1, cls=1, apn=1, max_cycles=1, final=3)
