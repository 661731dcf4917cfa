# PASCAL VOC 2007 at 512 x 512. Images whose every object is marked difficult are left out of training.
_base_ = ['./multi_label_512.py', './voc07.py']

data_preprocessor = dict(num_classes=20)
train_dataloader = dict(dataset=dict(_base_.train_dataset, filter_empty=True))
val_dataloader = dict(dataset=_base_.test_dataset)
test_dataloader = val_dataloader
