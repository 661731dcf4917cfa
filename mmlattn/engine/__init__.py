from .hooks import (
    ClassNamesHook,
    CollectDirHook,
    CompleteWeightsHook,
    EvidenceVisualizationHook,
    RACNNPhaseHook,
    RegionDiagnosticsHook,
    ReproducibilityHook,
)
from .loops import StreamTrainLoop
from .phase_schedule import PhaseSchedule

__all__ = [
    'ClassNamesHook',
    'CollectDirHook',
    'CompleteWeightsHook',
    'EvidenceVisualizationHook',
    'PhaseSchedule',
    'RACNNPhaseHook',
    'RegionDiagnosticsHook',
    'ReproducibilityHook',
    'StreamTrainLoop',
]
