# Stanford Dogs, otherwise as CUB. Its pictures come from ImageNet, so weights from there may have seen them.
# with_boxes=True in the test data set reads the boxes too.
_base_ = './cub_448.py'

data_root = 'data/stanford_dogs'
data_preprocessor = dict(num_classes=120)

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmlattn.StanfordDogs',
        data_root=data_root,
        split='train',
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmlattn.StanfordDogs',
        data_root=data_root,
        split='test',
        test_mode=True,
        pipeline=_base_.test_pipeline,
    )
)
test_dataloader = val_dataloader
