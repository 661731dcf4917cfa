from .backbones import ResidualAttentionNet, ResidualAttentionNet_CIFAR
from .heads import CSRAHead

__all__ = ['CSRAHead', 'ResidualAttentionNet', 'ResidualAttentionNet_CIFAR']
