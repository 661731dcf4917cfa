from .hooks import (
    ClassNamesHook,
    CollectDirHook,
    CompleteWeightsHook,
    EvidenceVisualizationHook,
    ReproducibilityHook,
)
from .loops import StreamTrainLoop

__all__ = [
    'ClassNamesHook',
    'CollectDirHook',
    'CompleteWeightsHook',
    'EvidenceVisualizationHook',
    'ReproducibilityHook',
    'StreamTrainLoop',
]
