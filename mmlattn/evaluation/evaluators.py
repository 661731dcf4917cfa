"""What can be said of an evaluator before anything is tested: which values it gives, and which it can not."""

import copy
import itertools
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric, Evaluator

from mmlattn.utils.errors import UserError

from .metrics.class_table import TableMetric

NUM_CLASSES, LOOKS = 20, 5
_WHOLE = [[0.0, 0.0, 1.0, 1.0]]


def metric_names(metric: BaseMetric) -> set[str]:
    """The names of the values that a metric gives, its prefix included.

    A copy of the metric is asked with two made-up samples of each kind of label and of evidence. Nothing is logged
    or written.

    Returns:
        set[str]: None are known of a metric that is neither ours nor mmpretrain's, or of no labels.
    """
    if type(metric).__module__.partition('.')[0] not in ('mmlattn', 'mmpretrain'):
        return set()  # it could do anything, such as write a file
    for labels, evidence in itertools.product(_labels(), _evidence()):
        probe = copy.deepcopy(metric)
        probe.dataset_meta = None
        if isinstance(probe, TableMetric):
            probe.per_class = False
        if hasattr(probe, 'out_file'):
            probe.out_file = None
        try:
            with warnings.catch_warnings(), np.errstate(all='ignore'):
                warnings.simplefilter('ignore')
                probe.process({}, [dict(_SAMPLE, **labels, **evidence) for _ in range(2)])
                values = probe.compute_metrics(probe.results)
        except Exception:
            # Whatever a metric meets in samples that it is not made for.
            continue
        return {f'{metric.prefix}/{name}' if metric.prefix else name for name in values}
    return set()


def leave_out_evidence(evaluator: Evaluator) -> list[str]:
    """Take out the metrics that judge where a model looked, for scores that were averaged over several looks.

    Returns:
        list[str]: Names of their classes.

    Raises:
        UserError: If no other is left.
    """
    out = [metric for metric in evaluator.metrics if getattr(metric, 'reads_evidence', False)]
    names = [type(metric).__name__ for metric in out]
    if out and len(out) == len(evaluator.metrics):
        raise UserError(
            f'test_evaluator has {", ".join(names)} only, and averaged scores have looked nowhere: add a metric of '
            "scores or labels, such as dict(type='mmlattn.MultiLabelReport') or dict(type='Accuracy')"
        )
    evaluator.metrics = [metric for metric in evaluator.metrics if metric not in out]
    return names


def check_metric_names(metrics: Sequence[BaseMetric], where: str) -> None:
    """See that no two metrics give a value of the same name, which mmengine would find after the whole test.

    Args:
        metrics (Sequence[BaseMetric]): Those of one evaluator.
        where (str): What the message calls the evaluator.

    Raises:
        UserError: Naming the first two.
    """
    owners: dict[str, int] = {}
    for number, metric in enumerate(metrics):
        names = metric_names(metric)
        if both := sorted(names & owners.keys()):
            first = owners[both[0]]
            one, other = (f'{where}.{n} ({type(metrics[n]).__name__})' for n in (first, number))
            raise UserError(
                f'{one} and {other} both give {both[0]}: give one of them a name of its own, {where}.{number}.prefix='
                f"'{metric.prefix or 'second'}-2', or leave it out"
            )
        owners |= dict.fromkeys(names, number)


_SAMPLE = dict(
    pred_score=torch.linspace(0.9, 0.1, NUM_CLASSES),
    img_path='a.jpg',
    img_shape=(8, 8),
    ori_shape=(8, 8),
    scale_factor=(1.0, 1.0),
    gt_boxes=torch.tensor(_WHOLE),
    gt_box_labels=torch.tensor([0]),
    gt_label_difficult=torch.tensor([], dtype=torch.long),
)


def _labels() -> list[dict]:
    """Label sets with all classes, so that none is absent, and single labels."""
    every, one = torch.arange(NUM_CLASSES), torch.tensor([0])
    sets = dict(gt_label=every, pred_label=every, gt_score=torch.ones(NUM_CLASSES))
    return [sets, dict(gt_label=one, pred_label=one)]


def _evidence() -> list[dict]:
    regions, scores = torch.tensor(_WHOLE * LOOKS), torch.ones(LOOKS, NUM_CLASSES)
    looks = dict(regions=regions, region_scores=scores)
    return [
        dict(attention_maps=torch.ones(NUM_CLASSES, 1, 1)),
        looks,
        dict(looks, region_names=tuple('12345'), fused_scores=scores[1:]),
    ]
