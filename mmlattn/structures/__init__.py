from .evidence import EVIDENCE_FIELDS, attention_peaks, set_attention_maps, set_regions, set_trunk_masks
from .label_selection import select_labels

__all__ = [
    'EVIDENCE_FIELDS', 'attention_peaks', 'select_labels', 'set_attention_maps', 'set_regions', 'set_trunk_masks',
]  # fmt: skip
