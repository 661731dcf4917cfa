from .metrics.label_set_report import LabelSetReport
from .metrics.localization import CorLoc, PointingGame
from .metrics.multi_label_report import MultiLabelReport
from .metrics.region_quality import RegionQuality
from .metrics.scale_accuracy import ScaleAccuracy
from .metrics.voc_submission import VOCSubmission

__all__ = [
    'CorLoc', 'LabelSetReport', 'MultiLabelReport', 'PointingGame', 'RegionQuality', 'ScaleAccuracy', 'VOCSubmission'
]  # fmt: skip
