from .residual_attention_net import ResidualAttentionNet, ResidualAttentionNet_CIFAR
from .residual_attention_wrapper import ResidualAttentionWrapper

__all__ = ['ResidualAttentionNet', 'ResidualAttentionNet_CIFAR', 'ResidualAttentionWrapper']
