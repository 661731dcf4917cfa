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

__all__ = [
    'MAX_TEMPERATURE',
    'PAPER_TEMPERATURES',
    'attention_maps',
    'class_scores',
    'inverse_norms',
    'pooled_terms',
    'residual_attention',
    'to_feature_map',
]
