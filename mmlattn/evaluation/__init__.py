from .metrics import CorLoc, MultiLabelReport, PointingGame

__all__ = ['CorLoc', 'MultiLabelReport', 'PointingGame']
