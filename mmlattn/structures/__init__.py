from .evidence import EVIDENCE_FIELDS, attention_peaks, set_attention_maps

__all__ = ['EVIDENCE_FIELDS', 'attention_peaks', 'set_attention_maps']
