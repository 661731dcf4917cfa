"""Which classes a picture has, and which of them a model predicts: one rule for heads, metrics, hooks and inferencer.

A sample is a ``DataSample``, or a mapping as metrics get it. C is the number of classes, B that of samples. Of each
class a sample says whether it is present (1), absent (0) or ignored (-1); batch augmentations such as Mixup say
something in between. ``gt_score`` (C,) says so directly. Without it ``gt_label`` lists the present classes. A class
in ``gt_label_ignore``, or in VOC's ``gt_label_difficult``, is ignored unless it is present. So the present classes
are those above 0; who can read nothing in between asks :func:`check_sets`.

Metrics ignore both kinds. A loss leaves out what is unknown (``gt_label_ignore``, or -1 in ``gt_score``), and takes
VOC's difficult objects, which are there but hard to see, for absent, as every published recipe does:
:func:`training_targets`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmlattn.utils.errors import UserError

UNKNOWN_FIELDS = ('gt_label_ignore',)
"""What lists classes that a loss leaves out."""

IGNORED_FIELDS = (*UNKNOWN_FIELDS, 'gt_label_difficult')
"""What lists classes that metrics leave out."""

UNKNOWN = ('mask', 'negative')
"""What an unknown label is: left out, or taken for absent. ``unknown`` is the name of the setting everywhere."""


def selection_mask(
    scores: Tensor, threshold: Tensor | float | None = None, topk: int | None = None
) -> Tensor:
    """Which classes are predicted: those that reach their threshold and are among the ``topk`` best.

    Args:
        scores (Tensor): Shape (..., C). NaN is never predicted.
        threshold (Tensor | float, optional): For all classes, or of shape (C,), in the precision of the scores.
        topk (int, optional): At least 1; more than C is C. Of equal scores the lower class is the better one.

    Returns:
        Tensor: Shape (..., C), bool.
    """
    if topk is not None and topk < 1:
        raise UserError(f'topk must be at least 1, got {topk}')
    scores = scores if scores.is_floating_point() else scores.float()
    if threshold is None:
        mask = ~scores.isnan()
    else:
        mask = scores >= torch.as_tensor(threshold, dtype=scores.dtype, device=scores.device)
    if topk is not None and topk < scores.shape[-1]:
        ranked = scores.nan_to_num(-torch.inf, torch.inf, -torch.inf)
        last = ranked.topk(topk).values[..., -1:]
        best = ranked >= last
        crowded = best.sum(dim=-1, dtype=torch.int32) > topk
        if crowded.any():
            # Of those that tie with the last, the lower classes take the places that the better ones leave.
            tied, better = ranked[crowded] == last[crowded], ranked[crowded] > last[crowded]
            places = topk - better.sum(dim=-1, keepdim=True)
            best[crowded] = better | (tied & (tied.cumsum(dim=-1) <= places))
        mask = mask & best
    return mask


def select_labels(scores: Tensor, threshold: Tensor | float | None = None, topk: int | None = None) -> Tensor:
    """The predicted classes of one picture, scores of shape (C,): their indices, ascending; see `selection_mask`."""
    return selection_mask(scores, threshold, topk).nonzero()[:, 0]


def best_first(scores: Tensor, labels: Tensor) -> Tensor:
    """Predicted classes of one picture, (n,), by their scores of (C,), the best first; of equal ones the lower."""
    labels = labels.sort().values
    return labels[scores[labels].argsort(descending=True, stable=True)]


def listed_labels(
    data_samples: Sequence, num_classes: int | None = None, field: str = 'gt_label'
) -> list[Tensor]:
    """The classes that a field such as ``gt_label`` or ``pred_label`` lists, in its order: (n,) long for each sample.

    Raises:
        UserError: If a sample lacks the field, or has anything in it but whole numbers of 0 to C - 1.
    """
    listed = []
    for sample in data_samples:
        if sample.get(field) is None:
            raise UserError(
                f'{_name(sample)} has no {field}: use a data set that lists the labels of its pictures'
            )
        values = torch.as_tensor(sample.get(field)).reshape(-1)
        labels = values.long()
        if values.dtype == torch.bool or (values.is_floating_point() and (labels != values).any()):
            raise UserError(f'{field} of {_name(sample)} must hold indices of classes, got {values.tolist()}')
        listed.append(labels)
    # One look at all labels: a GPU is waited for once.
    if listed and _outside(torch.cat(listed), num_classes).any():
        wrong = next(i for i, labels in enumerate(listed) if _outside(labels, num_classes).any())
        expected = 'classes count from 0'
        if num_classes is not None:
            expected = f'the model scores {num_classes} classes (0 to {num_classes - 1})'
        raise UserError(
            f'{field} holds {listed[wrong].tolist()} but {expected}: set num_classes of model.head and of '
            f'data_preprocessor, or mend the annotation of {_name(data_samples[wrong])}'
        )
    return listed


def label_sets(labels: Iterable[Iterable[int]], num_classes: int) -> np.ndarray:
    """The classes listed for each of N pictures, as :func:`listed_labels` has them, as (N, C) bool."""
    rows = [list(row) for row in labels]
    sets = np.zeros((len(rows), num_classes), bool)
    for row, listed in zip(sets, rows, strict=True):
        row[listed] = True
    return sets


def label_matrix(
    data_samples: Sequence, num_classes: int, ignored_fields: Sequence[str] = IGNORED_FIELDS
) -> Tensor:
    """What each sample says of each class: (B, C) float32, 1 present, 0 absent, -1 ignored, or a value in between.

    Args:
        data_samples (Sequence): Samples.
        num_classes (int): C.
        ignored_fields (Sequence[str]): Whose classes are ignored unless they are present.

    Raises:
        UserError: If a sample has neither ``gt_score`` nor ``gt_label``, or one that does not fit the classes, or for
            no samples at all.
    """
    _check_some(data_samples)
    unscored = [sample for sample in data_samples if sample.get('gt_score') is None]
    for sample in unscored:
        if sample.get('gt_label') is None:
            raise UserError(f'a data sample has neither gt_label nor gt_score: {_name(sample)}')
    listed = iter(_one_hot(unscored, num_classes, 'gt_label'))
    targets = torch.stack(
        [next(listed) if s.get('gt_score') is None else _read_scores(s, num_classes) for s in data_samples]
    )
    for field in ignored_fields:
        rows = [row for row, sample in enumerate(data_samples) if _lists_any(sample, field)]
        if rows:
            ignored = torch.stack(_one_hot([data_samples[row] for row in rows], num_classes, field))
            told = targets[rows]
            targets[rows] = told.masked_fill((told == 0) & (ignored.to(told.device) > 0), -1)
    sound = ((targets >= 0) & (targets <= 1)) | (targets == -1)
    if not sound.all():
        raise UserError(
            f'gt_score must be 1 (present), 0 (absent), -1 (ignored) or in between 0 and 1, got '
            f'{targets[~sound].unique()[:5].tolist()}'
        )
    return targets


def training_targets(data_samples: Sequence, num_classes: int, unknown: str = 'mask') -> Tensor:
    """The targets of a loss: (B, C) float32 as of :func:`label_matrix`, -1 where the loss must not look.

    VOC's difficult objects are absent. With ``unknown='negative'`` so is all that is unknown.

    Raises:
        UserError: As :func:`label_matrix`, and with ``unknown='mask'`` for pictures that a batch augmentation has
            mixed where labels are unknown: the mixture does not say of which picture it does not know a label.
    """
    if unknown == 'negative':
        return label_matrix(data_samples, num_classes).clamp(min=0)
    targets = label_matrix(data_samples, num_classes, UNKNOWN_FIELDS)
    if any(_lists_any(sample, field) for sample in data_samples for field in UNKNOWN_FIELDS):
        _check_unmixed(data_samples, num_classes)
    return targets


def _check_unmixed(data_samples: Sequence, num_classes: int) -> None:
    for sample in data_samples:
        if sample.get('gt_score') is None or sample.get('gt_label') is None:
            continue
        labels = listed_labels([sample], num_classes)[0]
        if (torch.as_tensor(sample.get('gt_score'))[labels] < 1).any():
            raise UserError(
                f'labels of {_name(sample)} are mixed with those of another picture, and some of this batch are '
                'unknown: take batch augmentations such as Mixup and CutMix out of the config, or set '
                "unknown='negative' of the head"
            )


def check_sets(targets: Tensor, reader: str) -> None:
    """Raises ``UserError`` for soft values in targets (B, C), which ``reader``, named in the message, cannot take."""
    soft = (targets > 0) & (targets < 1)
    if soft.any():
        raise UserError(
            f'{reader} takes sets of labels: gt_score must be 1 (present), 0 (absent) or -1 (ignored), got values '
            f'between 0 and 1: {targets[soft].unique()[:5].tolist()}: take batch augmentations such as Mixup and '
            'CutMix, or label smoothing, out of the config'
        )


def true_class(sample: Any, num_classes: int) -> int:
    """The one class in ``gt_label``; raises ``UserError`` for none, several, or one that is not of the C classes."""
    unlabelled = sample.get('gt_label') is None
    labels = [] if unlabelled else listed_labels([sample], num_classes)[0].tolist()
    if len(labels) != 1:
        raise UserError(
            f'gt_label of {_name(sample)} must be one of the {num_classes} classes that the model scores, got '
            f'{labels}: use a data set of a single label'
        )
    return labels[0]


def true_classes(data_samples: Sequence, num_classes: int) -> Tensor:
    """The one class of each picture, for training: (B,) long, or (B, C) soft targets where samples have ``gt_score``.

    Values are looked at on the CPU only: a GPU would have to be waited for in every step.

    Raises:
        UserError: If a sample has anything but one label, or targets that do not sum to 1.
    """
    _check_some(data_samples)
    field, shape = ('gt_score', (num_classes,)) if 'gt_score' in data_samples[0] else ('gt_label', (1,))
    for sample in data_samples:
        value = sample.get(field)
        if value is None or tuple(value.shape) != shape:
            raise UserError(
                f'one label for each picture is needed, {field} of shape {shape}, got '
                f'{None if value is None else tuple(value.shape)} of {_name(sample)}: use a data set of a single '
                'label; for several labels each there are CSRAHead, STLSTMHead and CNNRNNHead'
            )
    values = [sample.get(field) for sample in data_samples]
    targets = torch.cat(values) if field == 'gt_label' else torch.stack(values)
    if targets.device.type != 'cpu':
        return targets
    if field == 'gt_label' and _outside(targets, num_classes).any():
        raise UserError(
            f'labels must be 0 to {num_classes - 1}, got {targets.tolist()}: set num_classes of model.head and of '
            'data_preprocessor to the number of classes'
        )
    if field == 'gt_score' and not ((targets.float().sum(dim=1) - 1).abs() <= 1e-3).all():
        raise UserError(
            'gt_score must sum to 1 for each picture, as one label or a mixture of labels does; got sums '
            f'{targets.sum(dim=1).tolist()[:4]}'
        )
    return targets


def _check_some(data_samples: Sequence) -> None:
    if not len(data_samples):
        raise UserError('a batch without pictures has no labels to learn from: leave such batches out')


def _lists_any(sample: Any, field: str) -> bool:
    value = sample.get(field)
    return value is not None and torch.as_tensor(value).numel() > 0


def _outside(labels: Tensor, num_classes: int | None) -> Tensor:
    return (labels < 0) if num_classes is None else (labels < 0) | (labels >= num_classes)


def _read_scores(sample: Any, num_classes: int) -> Tensor:
    score = torch.as_tensor(sample.get('gt_score')).float()
    if tuple(score.shape) != (num_classes,):
        raise UserError(
            f'gt_score must be ({num_classes},), got {tuple(score.shape)} of {_name(sample)}: set num_classes of '
            'model.head and of data_preprocessor to the number of classes'
        )
    return score


def _one_hot(data_samples: Sequence, num_classes: int, field: str) -> list[Tensor]:
    listed = listed_labels(data_samples, num_classes, field)
    return [torch.zeros(num_classes, device=labels.device).index_fill(0, labels, 1) for labels in listed]


def _name(sample: Any) -> str:
    """What messages call a sample."""
    return str(sample.get('img_path') or 'a data sample')
