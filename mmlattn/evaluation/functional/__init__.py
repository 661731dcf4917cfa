from .label_sets import LabelSetResult, label_set_report
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
from .ranking import class_ap_at, mean_ap_at, sample_ap_at
from .regions import boxes_in_center_crop, region_overlaps
from .scales import class_ranks, exit_scales, scale_accuracy

__all__ = [
    'CONVENTIONS', 'Convention', 'LabelSetResult', 'MultiLabelResult', 'SeenInMaps', 'SeenInRegions',
    'average_precision', 'best_iou', 'boxes_in_center_crop', 'cell_centres', 'class_ap_at', 'class_ranks',
    'covered_share', 'exit_scales', 'has_area', 'inside_any', 'label_counts', 'label_set_report', 'map_box',
    'mean_ap_at', 'multi_label_report', 'precision_recall_f1', 'region_overlaps', 'sample_ap_at', 'scale_accuracy',
    'select_labels',
]  # fmt: skip
