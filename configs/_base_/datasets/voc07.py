# The data sets of PASCAL VOC 2007, without pipelines: voc07_224.py, voc07_448.py and voc07_512.py add those.
# A class whose every object in an image is marked difficult is a negative in training and ignored in evaluation.
# Images without any other object are kept; filter_empty=True leaves them out.
data_root = 'data/VOCdevkit/VOC2007'
train_dataset = dict(type='mmlattn.VOCBox', data_root=data_root, split='trainval')
test_dataset = dict(type='mmlattn.VOCBox', data_root=data_root, split='test', test_mode=True)
