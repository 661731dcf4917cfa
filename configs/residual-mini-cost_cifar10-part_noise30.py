"""The network without masks that costs as much, 30 % of its training labels wrong, as in docs/label_noise.md."""

_base_ = 'residual-mini-cost_cifar10-part.py'

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
