"""What runs around training and testing: hooks, and training as a function of the seed."""

from .hooks.checkpoint_checks import CheckpointChecksHook
from .hooks.class_names import ClassNamesHook
from .hooks.collect_dir import CollectDirHook
from .hooks.complete_weights import CompleteWeightsHook
from .hooks.config_checks import ConfigChecksHook
from .hooks.evidence_visualization import EvidenceVisualizationHook
from .hooks.finite_loss import FiniteLossHook
from .hooks.finite_scores import FiniteScoresHook
from .hooks.label_checks import LabelChecksHook
from .hooks.label_constraints import LabelConstraintsHook
from .hooks.label_frequency import LabelFrequencyHook
from .hooks.racnn_phase import RACNNPhaseHook
from .hooks.region_diagnostics import RegionDiagnosticsHook
from .hooks.safe_checkpoint import SafeCheckpointHook
from .hooks.share_buffers import ShareBuffersHook
from .hooks.stop_signal import StopSignalHook
from .hooks.stored_decision import StoredDecisionHook
from .hooks.unreadable_pictures import UnreadablePicturesHook
from .optim.mixed_precision import MixedPrecisionOptimWrapper
from .optim.warm_up import WarmUpLR
from .reproducibility import (
    ReproducibilityHook,
    ResumableEpochLoop,
    SeededDataset,
    StreamSampler,
    StreamTrainLoop,
)
from .samplers import ClassAwareSampler

__all__ = [
    'CheckpointChecksHook',
    'ClassAwareSampler',
    'ClassNamesHook',
    'CollectDirHook',
    'CompleteWeightsHook',
    'ConfigChecksHook',
    'EvidenceVisualizationHook',
    'FiniteLossHook',
    'FiniteScoresHook',
    'LabelChecksHook',
    'LabelConstraintsHook',
    'LabelFrequencyHook',
    'MixedPrecisionOptimWrapper',
    'RACNNPhaseHook',
    'RegionDiagnosticsHook',
    'ReproducibilityHook',
    'ResumableEpochLoop',
    'SafeCheckpointHook',
    'SeededDataset',
    'ShareBuffersHook',
    'StopSignalHook',
    'StoredDecisionHook',
    'StreamSampler',
    'StreamTrainLoop',
    'UnreadablePicturesHook',
    'WarmUpLR',
]  # fmt: skip
