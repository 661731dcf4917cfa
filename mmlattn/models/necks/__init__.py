from .st_lstm import STLSTM

__all__ = ['STLSTM']
