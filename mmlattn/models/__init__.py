from .backbones import ResidualAttentionNet, ResidualAttentionNet_CIFAR, ResidualAttentionWrapper
from .classifiers import RACNN, MultiCropClassifier
from .heads import (
    CNNRNNHead,
    CSRAHead,
    RegionConstraintWrapper,
    ScaledLinearClsHead,
    ScaleFusionHead,
    STLSTMHead,
)
from .localizers import APN, ActivationLocalizer
from .losses import PairwiseRankLoss, RegionConstraintLoss, SoftmaxL2Loss
from .necks import STLSTM, VGGFCNeck
from .tta import DecidingTTA

__all__ = [
    'APN',
    'RACNN',
    'STLSTM',
    'ActivationLocalizer',
    'CNNRNNHead',
    'CSRAHead',
    'DecidingTTA',
    'MultiCropClassifier',
    'PairwiseRankLoss',
    'RegionConstraintLoss',
    'RegionConstraintWrapper',
    'ResidualAttentionNet',
    'ResidualAttentionNet_CIFAR',
    'ResidualAttentionWrapper',
    'STLSTMHead',
    'ScaleFusionHead',
    'ScaledLinearClsHead',
    'SoftmaxL2Loss',
    'VGGFCNeck',
]
