# default_runtime.py with training in phases; their lengths are the variable `phases`.
_base_ = './default_runtime.py'

custom_hooks = [*_base_.custom_hooks, dict(type='mmlattn.RACNNPhaseHook')]
# In each phase a part of the model rests.
find_unused_parameters = True
