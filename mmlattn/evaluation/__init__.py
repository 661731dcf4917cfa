from .metrics import CorLoc, LabelSetReport, MultiLabelReport, PointingGame, RegionQuality, ScaleAccuracy

__all__ = ['CorLoc', 'LabelSetReport', 'MultiLabelReport', 'PointingGame', 'RegionQuality', 'ScaleAccuracy']
