from .st_lstm import STLSTM
from .vgg_fc import VGGFCNeck

__all__ = ['STLSTM', 'VGGFCNeck']
