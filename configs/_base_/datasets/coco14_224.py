# COCO 2014 at 224 x 224. Images without any annotation stay in: they teach a decoder when to say nothing.
_base_ = ['./multi_label_224.py', './coco14.py']

data_preprocessor = dict(num_classes=80)
train_dataloader = dict(dataset=_base_.train_dataset)
val_dataloader = dict(dataset=_base_.test_dataset)
test_dataloader = val_dataloader
