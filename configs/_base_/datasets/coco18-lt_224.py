# The photographs of coco18_224.py; tools/dataset_converters/long_tail.py chose which of them to train on. What is
# measured while training is measured on the test pictures.
_base_ = './coco18_224.py'

train_dataloader = dict(dataset=dict(ann_file='annotations/long_tail.json'))
val_dataloader = _base_.test_dataloader
