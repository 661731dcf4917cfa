from .coco_multilabel import COCOMultiLabel
from .cub_box import CUBBox
from .nabirds import NABirds
from .noisy_labels import NoisyLabels
from .nus_wide import NUSWide
from .plain_multilabel import PlainMultiLabel
from .seeded import SeededDataset
from .stanford_dogs import StanfordDogs
from .stream_sampler import StreamIndex, StreamSampler
from .voc_box import VOCBox

__all__ = [
    'COCOMultiLabel',
    'CUBBox',
    'NABirds',
    'NUSWide',
    'NoisyLabels',
    'PlainMultiLabel',
    'SeededDataset',
    'StanfordDogs',
    'StreamIndex',
    'StreamSampler',
    'VOCBox',
]
