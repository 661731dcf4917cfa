"""Data sets, whose annotation files are checked while loading."""

from .coco_multilabel import COCOMultiLabel
from .crop_to_box import CropAroundBoxes, CropToBox
from .cub_box import CUBBox
from .multi_label_file import MultiLabelFile
from .nabirds import NABirds
from .noisy_labels import NoisyLabels
from .nus_wide import NUSWide
from .plain_multilabel import PlainMultiLabel
from .stanford_dogs import StanfordDogs
from .view_crop import ViewCrop
from .voc_box import VOCBox
from .wider_attribute import WIDERAttribute

__all__ = [
    'COCOMultiLabel', 'CUBBox', 'CropAroundBoxes', 'CropToBox', 'MultiLabelFile', 'NABirds', 'NUSWide', 'NoisyLabels',
    'PlainMultiLabel', 'StanfordDogs', 'VOCBox', 'ViewCrop', 'WIDERAttribute',
]  # fmt: skip
