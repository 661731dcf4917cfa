from .label_set_report import LabelSetReport
from .localization import CorLoc, PointingGame
from .multi_label_report import MultiLabelReport
from .region_quality import RegionQuality
from .scale_accuracy import ScaleAccuracy

__all__ = ['CorLoc', 'LabelSetReport', 'MultiLabelReport', 'PointingGame', 'RegionQuality', 'ScaleAccuracy']
