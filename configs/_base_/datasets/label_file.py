# Your own pictures and a file of their labels, as tools/new_project.py writes it, in ImageNet's colours.
# A file that inherits this adds data_root, data_prefix, the pipelines and num_classes. docs/own_data.md says how.
_base_ = './multi_label_448.py'

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])

labels = dict(type='mmlattn.MultiLabelFile', ann_file='labels.csv')
train_dataloader = dict(num_workers=2, dataset=dict(labels, split='train'))
val_dataloader = dict(num_workers=2, dataset=dict(labels, split='val', test_mode=True))
test_dataloader = dict(num_workers=2, dataset=dict(labels, split='test', test_mode=True))
