# NABirds at 448 x 448. with_boxes=True in the test data set reads the boxes too.
_base_ = './fine_grained_448.py'

data_root = 'data/nabirds'
data_preprocessor = dict(num_classes=555)
train_dataloader = dict(dataset=dict(type='mmlattn.NABirds', data_root=data_root, split='train'))
val_dataloader = dict(dataset=dict(type='mmlattn.NABirds', data_root=data_root, split='test', test_mode=True))
test_dataloader = val_dataloader
