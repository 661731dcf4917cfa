from .backbones import ResidualAttentionNet, ResidualAttentionNet_CIFAR, ResidualAttentionWrapper
from .classifiers import MultiCropClassifier
from .heads import CSRAHead, RegionConstraintWrapper, ScaledLinearClsHead, STLSTMHead
from .localizers import APN, ActivationLocalizer
from .losses import PairwiseRankLoss, RegionConstraintLoss, SoftmaxL2Loss
from .necks import STLSTM

__all__ = [
    'APN',
    'STLSTM',
    'ActivationLocalizer',
    'CSRAHead',
    'MultiCropClassifier',
    'PairwiseRankLoss',
    'RegionConstraintLoss',
    'RegionConstraintWrapper',
    'ResidualAttentionNet',
    'ResidualAttentionNet_CIFAR',
    'ResidualAttentionWrapper',
    'STLSTMHead',
    'ScaledLinearClsHead',
    'SoftmaxL2Loss',
]
