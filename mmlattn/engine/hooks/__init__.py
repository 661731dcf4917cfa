from .class_names import ClassNamesHook
from .collect_dir import CollectDirHook
from .complete_weights import CompleteWeightsHook
from .evidence_visualization import EvidenceVisualizationHook
from .label_constraints import LabelConstraintsHook, constrained
from .label_frequency import LabelFrequencyHook, count_labels
from .racnn_phase import RACNNPhaseHook
from .region_diagnostics import RegionDiagnosticsHook
from .reproducibility import ReproducibilityHook

__all__ = [
    'ClassNamesHook',
    'CollectDirHook',
    'CompleteWeightsHook',
    'EvidenceVisualizationHook',
    'LabelConstraintsHook',
    'LabelFrequencyHook',
    'RACNNPhaseHook',
    'RegionDiagnosticsHook',
    'ReproducibilityHook',
    'constrained',
    'count_labels',
]
