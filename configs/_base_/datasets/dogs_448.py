# Stanford Dogs at 448 x 448. Its pictures come from ImageNet, so weights from there may have seen them.
# with_boxes=True in the test data set reads the boxes too.
_base_ = './fine_grained_448.py'

data_root = 'data/stanford_dogs'
data_preprocessor = dict(num_classes=120)
train_dataloader = dict(dataset=dict(type='mmlattn.StanfordDogs', data_root=data_root, split='train'))
val_dataloader = dict(
    dataset=dict(type='mmlattn.StanfordDogs', data_root=data_root, split='test', test_mode=True)
)
test_dataloader = val_dataloader
