"""One metric for everything about the predicted set of labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmlattn.evaluation.functional.checks import check_results
from mmlattn.evaluation.functional.label_sets import label_set_report
from mmlattn.registry import METRICS
from mmlattn.structures.labels import check_sets, label_matrix, listed_labels
from mmlattn.utils.arguments import check_whole
from mmlattn.utils.errors import UserError

from .class_table import TableMetric


@METRICS.register_module()
class LabelSetReport(TableMetric):
    """How well the labels that a model decided on fit the true ones, as sets.

    Each data sample needs ``pred_label`` (n,), indices in any order, maybe none, and a ground truth as
    ``mmlattn/structures/labels.py`` reads it. Ignored labels count neither for nor against. One result is kept for
    each sample, so that evaluation on several processes is exact. Under the prefix ``label-set/``, shares in percent:

    * ``CP CR CF1 OP OR OF1 macro_F1``: precision, recall and F1, per class and overall.
    * ``exact``: images whose set is exactly right; ``sample_F1``: mean F1 of an image, 100 if both sets are empty.
    * ``length_error``, ``length_abs_error``: mean of predicted less true number of labels, and of its size;
      ``mean_length``, ``gt_length``: mean predicted and true number. Numbers of labels, not percent.
    * ``duplicates``: images whose ``pred_label`` names a label twice; it counts once in all other numbers.
    * ``cooccurrence_error``: pairs of labels, predicted and true ones together, without a counterpart on the other
      side; 0 if every pair is predicted as often as it is true, 100 if no pair is ever both.
    * ``impossible_pairs``: predicted pairs of labels that no evaluated image has together.

    The last two are NaN where there is no pair to be a share of. Formulas and sources stand in
    ``mmlattn/evaluation/functional/label_sets.py``.

    Args:
        num_classes (int, optional): C. By default that of the data set's ``classes`` or else of ``pred_score``.
        **kwargs: ``per_class`` and ``out_file`` of :class:`TableMetric`, and those of mmengine's ``BaseMetric``.
    """

    default_prefix = 'label-set'

    def __init__(self, num_classes: int | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        if num_classes is not None:
            check_whole('num_classes', num_classes, 1)
        self.num_classes = num_classes

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep of each sample the set (C,) bool, the targets (C,) int8, and whether a label is named twice."""
        for sample in data_samples:
            if sample.get('pred_label') is None:
                raise UserError(
                    'a data sample has no pred_label: the head must decide on labels, as multi-label heads do; '
                    'test-time augmentation averages scores and decides on none'
                )
            num_classes = self._count_classes(sample)
            labels = listed_labels([sample], num_classes, 'pred_label')[0].numpy()
            predicted = np.zeros(num_classes, bool)
            predicted[labels] = True
            targets = label_matrix([sample], num_classes)
            check_sets(targets, 'LabelSetReport')
            repeats = bool(predicted.sum() < labels.size)
            self.results.append((predicted, targets[0].numpy().astype(np.int8), repeats))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the report from the results of all processes."""
        check_results(results)
        predicted, targets, repeats = (np.stack(column) for column in zip(*results, strict=True))
        report = label_set_report(predicted, targets)
        shares = report.shares | dict(duplicates=float(repeats.mean()))
        metrics = {name: 100 * value for name, value in shares.items()} | report.lengths
        self.publish(report.per_class, metrics)
        return metrics

    def _count_classes(self, sample: Mapping) -> int:
        names, scores = (self.dataset_meta or {}).get('classes'), sample.get('pred_score')
        counts = {
            'num_classes of LabelSetReport': self.num_classes,
            'the classes of the data set': len(names) if names else None,
            'pred_score of the model': None if scores is None else len(scores),
        }
        counts = {source: count for source, count in counts.items() if count is not None}
        if len(set(counts.values())) != 1:
            got = ', '.join(f'{source} {count}' for source, count in counts.items()) or 'nothing says one'
            raise UserError(
                f'there must be one number of classes, got: {got}. Set num_classes of model.head and of '
                'data_preprocessor to the number of classes, and num_classes here only if nothing else tells it'
            )
        return next(iter(counts.values()))
