from .decision import decide_labels
from .multi_crop_classifier import MultiCropClassifier
from .racnn import RACNN

__all__ = ['RACNN', 'MultiCropClassifier', 'decide_labels']
