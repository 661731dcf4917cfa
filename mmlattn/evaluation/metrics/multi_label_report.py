"""One metric for everything a multi-label paper reports."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from mmlattn.evaluation.functional.checks import check_results, check_topk
from mmlattn.evaluation.functional.multi_label import CONVENTIONS, multi_label_report
from mmlattn.evaluation.functional.ranking import mean_ap_at
from mmlattn.registry import METRICS
from mmlattn.utils.arguments import check_choice, check_number
from mmlattn.utils.arrays import as_array
from mmlattn.utils.errors import UserError

from .class_table import TableMetric


@METRICS.register_module()
class MultiLabelReport(TableMetric):
    """mAP, and per-class and overall precision, recall and F1 at a threshold and at top-k, in one pass.

    In percent, under the prefix ``multi-label/``; ``docs/metrics.md`` says what each value means. Definitions,
    sources and the conventions of other codes stand in ``mmlattn/evaluation/functional/multi_label.py``.

    Each data sample needs ``pred_score`` (C,) and a ground truth as ``mmlattn/structures/labels.py`` reads it. To
    reach the metric, ``gt_label_ignore`` or VOC's ``gt_label_difficult`` must be among ``meta_keys`` or
    ``algorithm_keys`` of ``PackInputs``. One result is kept for each sample, so that evaluation on several processes
    is exact.

    Args:
        threshold (float): A label is predicted where its score is at least this. The thresholds of a decision in the
            checkpoint take its place, see ``StoredDecisionHook``.
        topk (Sequence[int]): The k of each top-k block.
        convention (str): ``'mmlattn'``, or whose numbers to reproduce: ``'csra'``, ``'csra_wider'``,
            ``'mlgcn'``, ``'mmpretrain'``.
        map_at (Sequence[int]): Each k, such as 10, adds ``mAP10_sample`` and ``mAP10_class``: average precision when
            an image names only its 10 best labels, averaged over images or over classes; see
            ``mmlattn/evaluation/functional/ranking.py``.
        **kwargs: ``per_class``, ``out_file`` and ``unknown`` of :class:`TableMetric`, and those of mmengine's
            ``BaseMetric``.
    """

    default_prefix = 'multi-label'

    def __init__(
        self,
        threshold: float = 0.5,
        topk: Sequence[int] = (3,),
        convention: str = 'mmlattn',
        map_at: Sequence[int] = (),
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        check_choice('convention', convention, CONVENTIONS)
        check_number('threshold', threshold)
        check_topk(topk)
        check_topk(map_at, 'map_at')
        self.threshold, self.topk, self.convention = threshold, tuple(topk), convention
        self.map_at = tuple(map_at)

    def use_thresholds(self, threshold: float | Sequence[float]) -> None:
        """Take another threshold, or one for each class, such as those of a decision in the checkpoint."""
        self.threshold = threshold

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep (scores, targets) of each sample: float32 and int8 arrays of shape (C,)."""
        if any('pred_score' not in sample for sample in data_samples):
            raise UserError('a data sample has no pred_score: the head must predict scores of labels')
        scores = as_array(torch.stack([sample['pred_score'] for sample in data_samples]).float())
        self.results += zip(scores, self.read_targets(data_samples, scores.shape[1]), strict=True)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the report from the results of all processes."""
        check_results(results)
        scores, targets = (np.stack(column) for column in zip(*results, strict=True))
        classes = self.class_names(scores.shape[1])
        result = multi_label_report(scores, targets, self.threshold, self.topk, self.convention)
        shares = result.summary | mean_ap_at(scores, targets, self.map_at, self.convention)
        metrics = {name: 100 * value for name, value in shares.items()}
        absent = np.flatnonzero(result.per_class['positives'] == 0)
        metrics['absent_classes'] = len(absent)
        if len(absent):
            names = ', '.join(classes[c] for c in absent[:10]) + ', ...' * (len(absent) > 10)
            print_log(f'{len(absent)} of {len(classes)} classes have no positive: {names}', 'current')
        self.publish(result.per_class, metrics)
        return metrics
