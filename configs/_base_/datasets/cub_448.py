# CUB-200-2011 at 448 x 448, with the box around each bird.
_base_ = './fine_grained_448.py'

data_root = 'data/CUB_200_2011'
data_preprocessor = dict(num_classes=200)
train_dataloader = dict(dataset=dict(type='mmlattn.CUBBox', data_root=data_root, split='train'))
val_dataloader = dict(dataset=dict(type='mmlattn.CUBBox', data_root=data_root, split='test', test_mode=True))
test_dataloader = val_dataloader
