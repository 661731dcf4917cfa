"""A narrow Attention-56, 30 % of its training labels wrong: the comparison in docs/label_noise.md."""

_base_ = 'ran_attention56-mini_cifar10-part.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmlattn.NoisyLabels',
        kind='symmetric',
        level=0.3,
        seed=0,
        dataset=_base_.train_dataloader.dataset,
    )
)
