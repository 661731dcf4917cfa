"""Attention-92, CIFAR-10 with 10 % of the training labels wrong, all else as without."""

_base_ = 'ran_attention92_cifar10.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmlattn.NoisyLabels',
        kind='symmetric',
        level=0.1,
        seed=0,
        dataset=_base_.train_dataloader.dataset,
    )
)
