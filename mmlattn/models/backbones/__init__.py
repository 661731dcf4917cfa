from .residual_attention_net import ResidualAttentionNet, ResidualAttentionNet_CIFAR

__all__ = ['ResidualAttentionNet', 'ResidualAttentionNet_CIFAR']
