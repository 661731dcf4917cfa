from .decision import decide_labels
from .multi_crop_classifier import MultiCropClassifier

__all__ = ['MultiCropClassifier', 'decide_labels']
