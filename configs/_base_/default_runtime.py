# What every run has: hooks, visualizer, seed.
default_scope = 'mmpretrain'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3, save_best='auto'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='mmlattn.EvidenceVisualizationHook', enable=False),
    pictures=dict(type='mmlattn.UnreadablePicturesHook', on_error='raise'),
)
# Randomness is a function of (seed, epoch, index) for data and of (seed, iteration, rank) for the model.
custom_hooks = [dict(type='mmlattn.ReproducibilityHook'), dict(type='mmlattn.ClassNamesHook')]

env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork'), dist_cfg=dict(backend='nccl'))
visualizer = dict(type='mmlattn.EvidenceVisualizer', vis_backends=[dict(type='LocalVisBackend')])
randomness = dict(seed=0, deterministic=False)
log_level = 'INFO'
load_from = None
resume = False
