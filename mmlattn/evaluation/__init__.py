from .metrics import MultiLabelReport, PointingGame

__all__ = ['MultiLabelReport', 'PointingGame']
