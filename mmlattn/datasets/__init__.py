"""Data sets, whose annotation files are checked while loading."""

from .coco_multilabel import COCOMultiLabel
from .cub_box import CUBBox
from .nabirds import NABirds
from .noisy_labels import NoisyLabels
from .nus_wide import NUSWide
from .plain_multilabel import PlainMultiLabel
from .stanford_dogs import StanfordDogs
from .voc_box import VOCBox

__all__ = [
    'COCOMultiLabel', 'CUBBox', 'NABirds', 'NUSWide', 'NoisyLabels', 'PlainMultiLabel', 'StanfordDogs', 'VOCBox'
]  # fmt: skip
