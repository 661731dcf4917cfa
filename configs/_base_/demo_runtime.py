# default_runtime.py for runs of minutes: only the last checkpoint, a line of log every ten steps.
_base_ = './default_runtime.py'

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None), logger=dict(interval=10))
