from .hooks import (
    ClassNamesHook,
    CollectDirHook,
    CompleteWeightsHook,
    EvidenceVisualizationHook,
    RegionDiagnosticsHook,
    ReproducibilityHook,
)
from .loops import StreamTrainLoop

__all__ = [
    'ClassNamesHook',
    'CollectDirHook',
    'CompleteWeightsHook',
    'EvidenceVisualizationHook',
    'RegionDiagnosticsHook',
    'ReproducibilityHook',
    'StreamTrainLoop',
]
