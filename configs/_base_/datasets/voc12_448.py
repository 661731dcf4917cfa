# PASCAL VOC 2012 at 448 x 448; its test set has no annotations, so testing writes what the test server takes.
# For a submission train on all there is: --cfg-options train_dataloader.dataset.split=trainval
_base_ = './multi_label_448.py'

data_root = 'data/VOCdevkit/VOC2012'
data_preprocessor = dict(num_classes=20)
train_dataloader = dict(dataset=dict(type='mmlattn.VOCBox', data_root=data_root, split='train'))
val_dataloader = dict(dataset=dict(type='mmlattn.VOCBox', data_root=data_root, split='val', test_mode=True))
test_dataloader = dict(
    dataset=dict(
        type='mmlattn.VOCBox',
        data_root=data_root,
        split='test',
        data_prefix='JPEGImages',  # and no annotations
        test_mode=True,
    )
)
# Weights of ImageNet are data of others, and those are the second competition.
test_evaluator = [dict(type='mmlattn.VOCSubmission', out_dir='voc12_submission', competition='comp2')]
