"""One metric for everything about the predicted set of labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmlattn.evaluation.functional.checks import check_results
from mmlattn.evaluation.functional.label_sets import label_set_report
from mmlattn.registry import METRICS
from mmlattn.structures.labels import listed_labels
from mmlattn.utils.errors import UserError

from .class_table import TableMetric


@METRICS.register_module()
class LabelSetReport(TableMetric):
    """How well the labels that a model decided on fit the true ones, as sets.

    Each data sample needs ``pred_label`` (n,), indices in any order, maybe none, and a ground truth as
    ``mmlattn/structures/labels.py`` reads it. Ignored labels count neither for nor against. One result is kept for
    each sample, so that evaluation on several processes is exact. Values stand under the prefix ``label-set/``,
    shares in percent; ``docs/metrics.md`` says what each means, and formulas and sources stand in
    ``mmlattn/evaluation/functional/label_sets.py``. The number of classes is that of the data set's ``classes`` or
    else of ``pred_score``.

    Args:
        **kwargs: ``per_class``, ``out_file`` and ``unknown`` of :class:`TableMetric`, and those of mmengine's
            ``BaseMetric``.
    """

    default_prefix = 'label-set'

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
            targets = self.read_targets([sample], num_classes)[0]
            repeats = bool(predicted.sum() < labels.size)
            self.results.append((predicted, targets, repeats))

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
        if not names and scores is None:
            raise UserError('nothing says how many classes there are: neither the data set nor a pred_score')
        return len(self.class_names(len(names if scores is None else scores)))
