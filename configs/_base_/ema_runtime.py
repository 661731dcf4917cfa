# default_runtime.py with a moving average of the weights, which is what is tested and kept. Its decay of 0.9997 is
# that of Ridnik et al., ICCV 2021.
_base_ = './default_runtime.py'

custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook', momentum=3e-4, priority='ABOVE_NORMAL')]
