from .multi_label import (
    CONVENTIONS,
    Convention,
    MultiLabelResult,
    average_precision,
    label_counts,
    multi_label_report,
    precision_recall_f1,
    select_labels,
)
from .pointing import cell_centres, inside_any

__all__ = [
    'CONVENTIONS', 'Convention', 'MultiLabelResult', 'average_precision', 'cell_centres', 'inside_any',
    'label_counts', 'multi_label_report', 'precision_recall_f1', 'select_labels',
]  # fmt: skip
