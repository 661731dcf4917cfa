from .corloc import CorLoc
from .label_set_report import LabelSetReport
from .multi_label_report import MultiLabelReport
from .pointing_game import PointingGame
from .region_quality import RegionQuality
from .scale_accuracy import ScaleAccuracy

__all__ = ['CorLoc', 'LabelSetReport', 'MultiLabelReport', 'PointingGame', 'RegionQuality', 'ScaleAccuracy']
