from .evidence import EVIDENCE_FIELDS, attention_peaks, set_attention_maps, set_regions, set_trunk_masks
from .known_labels import KnownLabels, read_known_labels, set_known_labels
from .label_rules import LabelRules, RuleTensors, check_label_rules, read_label_rules
from .label_selection import select_labels

__all__ = [
    'EVIDENCE_FIELDS', 'KnownLabels', 'LabelRules', 'RuleTensors', 'attention_peaks', 'check_label_rules',
    'read_known_labels', 'read_label_rules', 'select_labels', 'set_attention_maps', 'set_known_labels',
    'set_regions', 'set_trunk_masks',
]  # fmt: skip
