# NUS-WIDE's 81 concepts, otherwise as coco14_224.py; of the splits in use the one that its own files define and that
# has labels throughout. What else there is, and what to do about missing pictures: docs/datasets.md.
_base_ = './coco14_224.py'

data_root = 'data/NUS-WIDE'
data_preprocessor = dict(num_classes=81)

test_pipeline = [*_base_.test_pipeline[:-1], dict(type='PackInputs')]

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmlattn.NUSWide',
        data_root=data_root,
        split='train',
        protocol='official_labeled',
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmlattn.NUSWide',
        data_root=data_root,
        split='test',
        protocol='official_labeled',
        test_mode=True,
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
