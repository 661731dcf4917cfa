from .corloc import CorLoc
from .multi_label_report import MultiLabelReport
from .pointing_game import PointingGame

__all__ = ['CorLoc', 'MultiLabelReport', 'PointingGame']
