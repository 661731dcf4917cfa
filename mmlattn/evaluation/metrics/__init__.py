from .corloc import CorLoc
from .multi_label_report import MultiLabelReport
from .pointing_game import PointingGame
from .region_quality import RegionQuality
from .scale_accuracy import ScaleAccuracy

__all__ = ['CorLoc', 'MultiLabelReport', 'PointingGame', 'RegionQuality', 'ScaleAccuracy']
