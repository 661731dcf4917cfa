# Stanford Cars, otherwise as CUB.
_base_ = './cub_448.py'

data_root = 'data/stanford_cars'
data_preprocessor = dict(num_classes=196)

train_dataloader = dict(
    dataset=dict(
        _delete_=True, type='StanfordCars', data_root=data_root, split='train', pipeline=_base_.train_pipeline
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True, type='StanfordCars', data_root=data_root, split='test', pipeline=_base_.test_pipeline
    )
)
test_dataloader = val_dataloader
