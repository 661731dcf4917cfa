from .backbones import ResidualAttentionNet, ResidualAttentionNet_CIFAR, ResidualAttentionWrapper
from .classifiers import MultiCropClassifier
from .heads import CSRAHead, RegionConstraintWrapper, STLSTMHead
from .losses import RegionConstraintLoss, SoftmaxL2Loss
from .necks import STLSTM

__all__ = [
    'STLSTM',
    'CSRAHead',
    'MultiCropClassifier',
    'RegionConstraintLoss',
    'RegionConstraintWrapper',
    'ResidualAttentionNet',
    'ResidualAttentionNet_CIFAR',
    'ResidualAttentionWrapper',
    'STLSTMHead',
    'SoftmaxL2Loss',
]
