# PASCAL VOC 2007, otherwise as COCO 2014. A class whose every object in an image is marked difficult is a negative in
# training and ignored in evaluation. Images without any other object are kept; filter_empty=True leaves them out.
_base_ = './coco14_448.py'

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
