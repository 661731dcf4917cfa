from .metrics import CorLoc, MultiLabelReport, PointingGame, RegionQuality, ScaleAccuracy

__all__ = ['CorLoc', 'MultiLabelReport', 'PointingGame', 'RegionQuality', 'ScaleAccuracy']
