from .hooks import (
    ClassNamesHook,
    CollectDirHook,
    CompleteWeightsHook,
    EvidenceVisualizationHook,
    LabelConstraintsHook,
    LabelFrequencyHook,
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
    'LabelConstraintsHook',
    'LabelFrequencyHook',
    'PhaseSchedule',
    'RACNNPhaseHook',
    'RegionDiagnosticsHook',
    'ReproducibilityHook',
    'StreamTrainLoop',
]
