# PASCAL VOC 2007, otherwise as coco14_224.py. Pictures whose every object is marked difficult have no label and stay.
_base_ = './coco14_224.py'

data_root = 'data/VOCdevkit/VOC2007'
data_preprocessor = dict(num_classes=20)

test_pipeline = [
    *_base_.test_pipeline[:-1],
    dict(type='PackInputs', algorithm_keys=('gt_boxes', 'gt_box_labels', 'gt_label_difficult')),
]

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmlattn.VOCBox',
        data_root=data_root,
        split='trainval',
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmlattn.VOCBox',
        data_root=data_root,
        split='test',
        test_mode=True,
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
