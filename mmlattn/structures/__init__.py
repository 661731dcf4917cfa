from .decisions import Decision, read_decision, with_decision
from .evidence import EVIDENCE_FIELDS, attention_peaks, set_attention_maps, set_regions, set_trunk_masks
from .known_labels import KnownLabels, known_label_tensors, read_known_labels, set_known_labels
from .label_rules import LabelRules, check_label_rules, read_label_rules
from .labels import (
    check_sets,
    label_matrix,
    listed_labels,
    select_labels,
    selection_mask,
    true_class,
    true_classes,
)

__all__ = [
    'EVIDENCE_FIELDS', 'Decision', 'KnownLabels', 'LabelRules', 'attention_peaks', 'check_label_rules', 'check_sets',
    'known_label_tensors', 'label_matrix', 'listed_labels', 'read_decision', 'read_known_labels', 'read_label_rules',
    'select_labels', 'selection_mask', 'set_attention_maps', 'set_known_labels', 'set_regions',
    'set_trunk_masks', 'true_class', 'true_classes', 'with_decision',
]  # fmt: skip
