from .backbones import ResidualAttentionNet, ResidualAttentionNet_CIFAR, ResidualAttentionWrapper
from .heads import CSRAHead

__all__ = ['CSRAHead', 'ResidualAttentionNet', 'ResidualAttentionNet_CIFAR', 'ResidualAttentionWrapper']
