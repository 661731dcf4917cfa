# FGVC-Aircraft's 100 variants, otherwise as CUB; training and validation pictures are for training.
_base_ = './cub_448.py'

data_root = 'data/fgvc-aircraft-2013b'
data_preprocessor = dict(num_classes=100)

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='FGVCAircraft',
        data_root=data_root,
        split='trainval',
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True, type='FGVCAircraft', data_root=data_root, split='test', pipeline=_base_.test_pipeline
    )
)
test_dataloader = val_dataloader
