# COCO 2014 at 448 x 448. As in the CSRA code, images without any annotation are left out.
_base_ = ['./multi_label_448.py', './coco14.py']

data_preprocessor = dict(num_classes=80)
train_dataloader = dict(dataset=dict(_base_.train_dataset, filter_empty=True))
val_dataloader = dict(dataset=dict(_base_.test_dataset, filter_empty=True))
test_dataloader = val_dataloader
