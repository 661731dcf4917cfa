from .coco_multilabel import COCOMultiLabel
from .cub_box import CUBBox
from .noisy_labels import NoisyLabels
from .plain_multilabel import PlainMultiLabel
from .seeded import SeededDataset
from .stream_sampler import StreamIndex, StreamSampler
from .voc_box import VOCBox

__all__ = [
    'COCOMultiLabel',
    'CUBBox',
    'NoisyLabels',
    'PlainMultiLabel',
    'SeededDataset',
    'StreamIndex',
    'StreamSampler',
    'VOCBox',
]
