# COCO 2017 at 448 x 448: the pictures of COCO 2014, divided into train and val in another way.
_base_ = './coco14_448.py'

train_dataloader = dict(
    dataset=dict(ann_file='annotations/instances_train2017.json', data_prefix='train2017')
)
val_dataloader = dict(dataset=dict(ann_file='annotations/instances_val2017.json', data_prefix='val2017'))
test_dataloader = val_dataloader
