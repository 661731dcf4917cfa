from .inferencer import MultiLabelInferencer

__all__ = ['MultiLabelInferencer']
