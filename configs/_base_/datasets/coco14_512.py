# COCO 2014 at 512 x 512. Images without any annotation are left out of training only.
_base_ = ['./multi_label_512.py', './coco14.py']

data_preprocessor = dict(num_classes=80)
train_dataloader = dict(dataset=dict(_base_.train_dataset, filter_empty=True))
val_dataloader = dict(dataset=_base_.test_dataset)
test_dataloader = val_dataloader
