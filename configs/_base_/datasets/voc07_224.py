# PASCAL VOC 2007 at 224 x 224.
_base_ = ['./multi_label_224.py', './voc07.py']

data_preprocessor = dict(num_classes=20)
train_dataloader = dict(dataset=_base_.train_dataset)
val_dataloader = dict(dataset=_base_.test_dataset)
test_dataloader = val_dataloader
