"""One metric for everything a multi-label paper reports."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmlattn.evaluation.functional import CONVENTIONS, mean_ap_at, multi_label_report
from mmlattn.evaluation.functional.checks import as_array, check_threshold, check_topk
from mmlattn.evaluation.metrics.class_table import check_table_file, publish_table
from mmlattn.registry import METRICS
from mmlattn.utils.errors import UserError

__all__ = ['MultiLabelReport', 'read_labels', 'read_target']


@METRICS.register_module()
class MultiLabelReport(BaseMetric):
    """mAP, and per-class and overall precision, recall and F1 at a threshold and at top-k, in one pass.

    Values are in percent, as in mmpretrain. Names, under the prefix ``multi-label/``: ``mAP CP CR CF1 OP OR OF1
    macro_F1``; all but mAP again with ``_top3`` (the three best labels of each image, whatever their score) and
    ``_top3_thr`` (those of them that also reach the threshold, which is what CSRA's and ML-GCN's code call
    "top-3"); and ``absent_classes``, the number of classes without a positive. Such classes have no AP and no
    recall and stay out of every mean over classes. The definitions and their sources stand in
    :mod:`mmlattn.evaluation.functional.multi_label`, next to the conventions of other codes.

    Each data sample needs ``pred_score`` (C,), and ``gt_label`` (indices) or ``gt_score`` (C,) of 1, 0 and -1.
    Labels in ``gt_label_ignore`` or VOC's ``gt_label_difficult`` that are not in ``gt_label`` are ignored; to
    reach the metric these fields must be among ``meta_keys`` or ``algorithm_keys`` of ``PackInputs``. One
    result is kept for each sample, so that evaluation on several processes is exact.

    Args:
        threshold (float): A label is predicted where its score is at least this. Defaults to 0.5.
        topk (Sequence[int]): The k of each top-k block. Defaults to (3, ).
        convention (str): ``'mmlattn'``, or whose numbers to reproduce: ``'csra'``, ``'csra_wider'``,
            ``'mlgcn'``, ``'mmpretrain'``. Defaults to ``'mmlattn'``.
        per_class (bool): Whether to log a table with one row for each class. Defaults to False.
        out_file (str, optional): A ``.csv`` (the table) or ``.json`` (table and summary) to write after each
            evaluation. An existing file is kept and the new one gets a number. Defaults to None.
        map_at (Sequence[int]): Each k, such as 10, adds ``mAP10_sample`` and ``mAP10_class``: average precision when
            an image names only its 10 best labels, averaged over images or over classes; see
            :mod:`mmlattn.evaluation.functional.ranking`. Defaults to ().
        collect_device (str): ``'cpu'`` or ``'gpu'``. Defaults to ``'cpu'``.
        prefix (str, optional): Instead of ``multi-label``.

    Raises:
        UserError: On a bad option here; later, if a sample lacks a field or a label lies outside the classes.
    """

    default_prefix = 'multi-label'

    def __init__(
        self,
        threshold: float = 0.5,
        topk: Sequence[int] = (3,),
        convention: str = 'mmlattn',
        per_class: bool = False,
        out_file: str | None = None,
        map_at: Sequence[int] = (),
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if convention not in CONVENTIONS:
            raise UserError(f'convention must be one of {sorted(CONVENTIONS)}, got {convention!r}')
        check_threshold(threshold)
        check_topk(topk)
        check_topk(map_at, 'map_at')
        check_table_file(out_file)
        self.threshold, self.topk, self.convention = threshold, tuple(topk), convention
        self.map_at = tuple(map_at)
        self.per_class, self.out_file = per_class, out_file

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep (scores, targets) of each sample: float32 and int8 arrays of shape (C,)."""
        if any('pred_score' not in sample for sample in data_samples):
            raise UserError('a data sample has no pred_score: the head must predict scores of labels')
        scores = as_array(torch.stack([sample['pred_score'] for sample in data_samples]).float())
        self.results += [
            (score, read_target(sample, len(score)))
            for score, sample in zip(scores, data_samples, strict=True)
        ]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the report from the results of all processes."""
        if not results:
            raise UserError('there is nothing to evaluate: the data set of this evaluator is empty')
        scores, targets = (np.stack(column) for column in zip(*results, strict=True))
        classes = (self.dataset_meta or {}).get('classes') or [str(c) for c in range(scores.shape[1])]
        if len(classes) != scores.shape[1]:
            raise UserError(
                f'the model scores {scores.shape[1]} classes but the data set has {len(classes)}: set num_classes '
                'of model.head and of data_preprocessor to the number of classes'
            )
        result = multi_label_report(scores, targets, self.threshold, self.topk, self.convention)
        shares = result.summary | mean_ap_at(scores, targets, self.map_at, self.convention)
        metrics = {name: 100 * value for name, value in shares.items()}
        metrics['absent_classes'] = len(result.absent)
        if len(result.absent):
            names = ', '.join(classes[c] for c in result.absent[:10])
            more = ', ...' if len(result.absent) > 10 else ''
            print_log(
                f'{len(result.absent)} of {len(classes)} classes have no positive: {names}{more}', 'current'
            )
        publish_table(result.per_class, classes, metrics, self.per_class, self.out_file)
        return metrics


def read_target(sample: Mapping, num_classes: int) -> np.ndarray:
    """What a data sample says about each class.

    Args:
        sample (Mapping): A data sample as a dict.
        num_classes (int): C.

    Returns:
        ndarray: (C,) int8: 1 present, 0 absent, -1 ignored.

    Raises:
        UserError: If there is no ground truth, or a label is no whole number of ``range(C)``.
    """
    target = np.zeros(num_classes, np.int8)
    for name in ('gt_label_ignore', 'gt_label_difficult'):
        target[read_labels(sample, name, num_classes)] = -1
    if 'gt_score' in sample:
        score = as_array(sample['gt_score'])
        if score.shape != target.shape or not np.isin(score, (-1, 0, 1)).all():
            raise UserError(
                f'gt_score must be ({num_classes},) of 1 (present), 0 (absent) and -1 (ignored), got shape '
                f'{score.shape} and values {np.unique(score)[:5]}'
            )
        target[score != 0] = score[score != 0]
    elif 'gt_label' in sample:
        target[read_labels(sample, 'gt_label', num_classes)] = 1
    else:
        raise UserError(f'a data sample has neither gt_label nor gt_score: {sample.get("img_path", sample)}')
    return target


def read_labels(sample: Mapping, name: str, num_classes: int) -> np.ndarray:
    """Labels that a field of a data sample holds.

    Args:
        sample (Mapping): A data sample as a dict.
        name (str): The field; one that is missing or None holds none.
        num_classes (int): C.

    Returns:
        ndarray: (n,) int64 in [0, C), in the field's order.

    Raises:
        UserError: If the field holds anything but whole numbers of ``range(C)``.
    """
    labels = sample.get(name)
    given = as_array([] if labels is None else labels)
    labels = given.astype(np.int64)
    if given.dtype == bool or (labels != given).any():
        raise UserError(
            f'{name} of {sample.get("img_path", "an image")} must hold indices of classes, got {given.tolist()}'
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise UserError(
            f'{name} holds {labels.tolist()} but the model scores {num_classes} classes (0 to '
            f'{num_classes - 1}): set num_classes of model.head and of data_preprocessor, or mend the '
            f'annotation of {sample.get("img_path", "this image")}'
        )
    return labels
