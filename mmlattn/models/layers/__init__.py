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
from .feature_crops import (
    CROPS,
    FeatureWindow,
    boxes_from_windows,
    cut_windows,
    feature_windows,
    maps_from_windows,
)
from .feature_layout import to_feature_map
from .lstm_cell import LSTMCell
from .mask_recording import record_masks
from .recurrent_regions import STLSTMOutput, discover_regions
from .region_anchors import FIRST_ANCHORS, LOC_PARAMS, circle_anchors, region_anchors, unbounded_scale
from .region_constraints import (
    anchor_penalty,
    boundary_penalty,
    overlap_penalty,
    pairwise_iou,
    positive_penalty,
    scale_penalty,
)
from .residual_units import InceptionUnit, PreActUnit, ResidualUnit, ResNeXtUnit
from .score_fusion import SCORE_FUSIONS, fuse_scores, fusion_weights
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
from .softmax_l2 import softmax_l2
from .spatial_transformer import (
    boxes_to_theta,
    sample_regions,
    theta_to_boxes,
    theta_to_grid,
    theta_to_matrix,
)

__all__ = [
    'CROPS',
    'FIRST_ANCHORS',
    'FUSIONS',
    'LOC_PARAMS',
    'MASK_ACTIVATIONS',
    'MAX_TEMPERATURE',
    'PAPER_TEMPERATURES',
    'SCORE_FUSIONS',
    'AttendedStage',
    'AttentionModule',
    'EncoderDecoder',
    'FeatureWindow',
    'InceptionUnit',
    'LSTMCell',
    'LocalConvolutions',
    'MaskHead',
    'PreActUnit',
    'ResNeXtUnit',
    'ResidualUnit',
    'STLSTMOutput',
    'SoftMask',
    'anchor_penalty',
    'attention_maps',
    'attention_residual_learning',
    'boundary_penalty',
    'boxes_from_windows',
    'boxes_to_theta',
    'channel_attention',
    'circle_anchors',
    'class_scores',
    'cut_windows',
    'discover_regions',
    'feature_windows',
    'fuse_scores',
    'fusion_weights',
    'inverse_norms',
    'maps_from_windows',
    'mixed_attention',
    'naive_attention_learning',
    'overlap_penalty',
    'pairwise_iou',
    'pooled_terms',
    'pooling',
    'positive_penalty',
    'record_masks',
    'region_anchors',
    'residual_attention',
    'sample_regions',
    'scale_penalty',
    'softmax_l2',
    'spatial_attention',
    'theta_to_boxes',
    'theta_to_grid',
    'theta_to_matrix',
    'to_feature_map',
    'unbounded_scale',
]
