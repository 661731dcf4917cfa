from .hooks import ClassNamesHook, CollectDirHook, EvidenceVisualizationHook, ReproducibilityHook
from .loops import StreamTrainLoop

__all__ = [
    'ClassNamesHook',
    'CollectDirHook',
    'EvidenceVisualizationHook',
    'ReproducibilityHook',
    'StreamTrainLoop',
]
