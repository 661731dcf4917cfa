from .attention_module import AttendedStage, AttentionModule
from .class_specific_pooling import (
    MAX_TEMPERATURE,
    PAPER_TEMPERATURES,
    attention_maps,
    class_scores,
    inverse_norms,
    pooled_terms,
    residual_attention,
)
from .feature_layout import to_feature_map
from .mask_recording import record_masks
from .residual_units import InceptionUnit, PreActUnit, ResidualUnit, ResNeXtUnit
from .soft_mask import (
    FUSIONS,
    MASK_ACTIVATIONS,
    EncoderDecoder,
    LocalConvolutions,
    MaskHead,
    SoftMask,
    attention_residual_learning,
    channel_attention,
    mixed_attention,
    naive_attention_learning,
    pooling,
    spatial_attention,
)

__all__ = [
    'FUSIONS',
    'MASK_ACTIVATIONS',
    'MAX_TEMPERATURE',
    'PAPER_TEMPERATURES',
    'AttendedStage',
    'AttentionModule',
    'EncoderDecoder',
    'InceptionUnit',
    'LocalConvolutions',
    'MaskHead',
    'PreActUnit',
    'ResNeXtUnit',
    'ResidualUnit',
    'SoftMask',
    'attention_maps',
    'attention_residual_learning',
    'channel_attention',
    'class_scores',
    'inverse_norms',
    'mixed_attention',
    'naive_attention_learning',
    'pooled_terms',
    'pooling',
    'record_masks',
    'residual_attention',
    'spatial_attention',
    'to_feature_map',
]
