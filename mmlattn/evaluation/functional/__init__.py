from .label_sets import label_set_report
from .multi_label import average_precision, multi_label_report
from .ranking import mean_ap_at

__all__ = ['average_precision', 'label_set_report', 'mean_ap_at', 'multi_label_report']
