# The data sets of COCO 2014, without pipelines: coco14_224.py, coco14_448.py and coco14_512.py add those.
data_root = 'data/coco/'
train_dataset = dict(
    type='mmlattn.COCOMultiLabel',
    data_root=data_root,
    ann_file='annotations/instances_train2014.json',
    data_prefix='train2014',
)
test_dataset = dict(
    type='mmlattn.COCOMultiLabel',
    data_root=data_root,
    ann_file='annotations/instances_val2014.json',
    data_prefix='val2014',
    test_mode=True,
)
