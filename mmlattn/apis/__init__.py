from .inferencer import MultiLabelInferencer
from .loading import load_model, without_crops

__all__ = ['MultiLabelInferencer', 'load_model', 'without_crops']
