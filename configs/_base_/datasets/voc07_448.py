# PASCAL VOC 2007 at 448 x 448.
_base_ = ['./multi_label_448.py', './voc07.py']

data_preprocessor = dict(num_classes=20)
train_dataloader = dict(dataset=_base_.train_dataset)
val_dataloader = dict(dataset=_base_.test_dataset)
test_dataloader = val_dataloader
