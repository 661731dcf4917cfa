from .evidence import EVIDENCE_FIELDS, attention_peaks, set_attention_maps, set_regions, set_trunk_masks

__all__ = ['EVIDENCE_FIELDS', 'attention_peaks', 'set_attention_maps', 'set_regions', 'set_trunk_masks']
