from .localization import (
    SeenInMaps,
    SeenInRegions,
    best_iou,
    cell_centres,
    covered_share,
    has_area,
    inside_any,
    map_box,
)
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

__all__ = [
    'CONVENTIONS', 'Convention', 'MultiLabelResult', 'SeenInMaps', 'SeenInRegions', 'average_precision', 'best_iou',
    'cell_centres', 'covered_share', 'has_area', 'inside_any', 'label_counts', 'map_box', 'multi_label_report',
    'precision_recall_f1', 'select_labels',
]  # fmt: skip
