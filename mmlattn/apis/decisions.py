"""Choosing the decision of a model: what it predicted on a validation set, as arrays, and what is made of it.

How candidates are compared stands in ``mmlattn/evaluation/functional/tuning.py``, what a checkpoint keeps in
``mmlattn/structures/decisions.py``, and what it makes of predictions in ``mmlattn/models/views/stored_decision.py``.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmpretrain.models.heads import ClsHead, MultiLabelClsHead
from scipy.special import expit, logit
from torch import nn

from mmlattn.evaluation.functional import calibration
from mmlattn.evaluation.functional.calibration import Reliability, expected_calibration_error, reliability
from mmlattn.evaluation.functional.multi_label import class_rates, label_counts
from mmlattn.evaluation.functional.tuning import OWN, Target, Tuned, fold_numbers, mean_with_error, tune
from mmlattn.models.views.decision import deciding_head, head_of
from mmlattn.models.views.stored_decision import DECIDED, undecidable
from mmlattn.structures.decisions import Decision, calibrate, log_scores
from mmlattn.structures.labels import check_sets, label_matrix, listed_labels, true_class
from mmlattn.utils.errors import UserError


class Predicted(NamedTuple):
    """Of N pictures: scores (N, C) float32, targets (N, C) int8, and the labels of the model's own rule, (N, C)."""

    scores: np.ndarray
    targets: np.ndarray
    own: np.ndarray


class SoftmaxTuned(NamedTuple):
    """The scale 1 / T of a model of a single label; log-loss and ECE of its best class, out of fold, and reliability.

    ``scale`` is 1 where no other one does better by more than the spread.
    """

    scale: float
    before: dict[str, float]
    after: dict[str, float]
    gain: float
    spread: float
    reliabilities: dict[str, Reliability]


def is_single_label(model: nn.Module) -> bool:
    """Whether the head of a classifier takes the one best class.

    Raises:
        UserError: If it decides on sets of labels, for which thresholds mean nothing.
    """
    head = head_of(model)
    if head is None:
        raise UserError(f'{type(model).__name__} has no head whose scores could be calibrated')
    head = deciding_head(head)
    if problem := undecidable(head):
        raise UserError(
            f'{problem}: there are no thresholds to choose, and no single score that a calibration could change '
            'without changing the sets. Its own settings are in test_cfg of the head, see docs/cnn_rnn.md'
        )
    return (
        isinstance(head, ClsHead) and not isinstance(head, MultiLabelClsHead) and not hasattr(head, 'select')
    )


def read_predictions(samples: Sequence[Mapping], source: str) -> Predicted:
    """Arrays of predictions, as dicts.

    Raises:
        UserError: If they lack scores in [0, 1], or labels to compare with, or were made by a stored decision or
            by thresholds that somebody gave.
    """
    num_classes = None
    for sample in samples:
        path = sample.get('img_path') or 'a picture'
        if sample.get(DECIDED) is not None:
            raise UserError(
                f"{source}: scores and labels of {path} are not the model's own ({sample[DECIDED]}): test again with "
                '--ignore-decision and no --threshold'
            )
        scores = sample.get('pred_score')
        if torch.is_tensor(scores) and scores.dim() == 1:
            num_classes = num_classes or len(scores)
        if not torch.is_tensor(scores) or scores.shape != (num_classes,):
            raise UserError(f'{source}: {path} has no pred_score with one score for each class')
        if ((scores < 0) | (scores > 1)).any():
            raise UserError(
                f'{source}: scores of {path} reach from {scores.min():.3g} to {scores.max():.3g}, expected '
                'probabilities in [0, 1]: thresholds are chosen on what a sigmoid or softmax gives'
            )
    scores = torch.stack([sample['pred_score'].float().cpu() for sample in samples])
    targets = label_matrix(samples, num_classes)
    check_sets(targets, 'the choice of thresholds')
    own = torch.zeros(scores.shape, dtype=torch.bool)
    for row, labels in zip(own, listed_labels(samples, num_classes, 'pred_label'), strict=True):
        row[labels.cpu()] = True
    return Predicted(scores.numpy(), targets.cpu().numpy().astype(np.int8), own.numpy())


def own_threshold(model: nn.Module, predicted: Predicted) -> float | None:
    """The one threshold that is the whole of a head's own rule; None where it takes the best k, too or instead."""
    threshold = getattr(deciding_head(head_of(model)), 'thr', None)
    if threshold is None or ((predicted.scores >= np.float32(threshold)) != predicted.own).any():
        return None
    return float(threshold)


def decide_on(
    predicted: Predicted,
    classes: Sequence[str],
    threshold: float | None,
    target: Target,
    split: str,
    **options,
) -> tuple[Decision, Tuned]:
    """Choose a decision.

    Args:
        predicted (Predicted): On the pictures to choose by.
        classes (Sequence[str]): C names.
        threshold (float, optional): See :func:`own_threshold`.
        target (Target): What thresholds are for.
        split (str): What to call the pictures.
        **options: Of :func:`mmlattn.evaluation.functional.tuning.tune`.
    """
    tuned = tune(*predicted, target, **options)
    scale, shift = (np.asarray(values, float).tolist() for values in tuned.calibration)
    thresholds = tuned.thresholds
    if tuned.scope == OWN and threshold is not None:
        # The same decisions on calibrated scores: both rise together.
        own = torch.full((len(classes),), threshold, dtype=torch.float32)
        calibrated = own if tuned.calibration_name == 'none' else calibrate(own, scale, shift).float()
        thresholds = calibrated.numpy()
    decision = Decision(
        classes=classes,
        thresholds=[] if thresholds is None else [float(t) for t in thresholds],
        scale=scale,
        shift=shift,
        criterion=str(target) if tuned.scope != OWN else "the model's own rule",
        split=split,
        pictures=len(predicted.scores),
        scope=tuned.scope,
        calibration=tuned.calibration_name,
    )
    return decision, tuned


def class_table(predicted: Predicted, decision: Decision, tuned: Tuned) -> list[dict]:
    """One row for each class: its numbers, its threshold and scale, and its rates before and after.

    ``held_out`` rates are those of decisions on folds that nothing was fitted to, ``tuned`` those of the stored
    thresholds on the very pictures that they were chosen on.
    """
    decided = decision.select(torch.from_numpy(tuned.probabilities))
    decided = predicted.own if decided is None else decided.numpy()
    known = predicted.targets >= 0
    rates = {
        name: class_rates(label_counts(made, predicted.targets))
        for name, made in dict(own=predicted.own, held_out=tuned.held_out, tuned=decided).items()
    }
    rows = []
    for c, name in enumerate(decision.classes):
        row = dict(
            label=name,
            positives=int((predicted.targets[:, c] == 1).sum()),
            known=int(known[:, c].sum()),
            threshold=decision.thresholds[c] if decision.thresholds else None,
            score_threshold=score_threshold(decision, c),
            scale=decision.scale[c],
            shift=decision.shift[c],
        )
        for made, values in rates.items():
            row |= {f'{rate}_{made}': float(values[rate][c]) for rate in ('precision', 'recall', 'F1')}
        rows.append(row)
    return rows


def score_threshold(decision: Decision, index: int) -> float | None:
    """The threshold of a class on the model's own scores, for who has no use for calibrated ones."""
    if not decision.thresholds:
        return None
    threshold = decision.thresholds[index]
    if not 0 < threshold < 1 or decision.calibration == 'none':
        return threshold
    return float(expit((logit(threshold) - decision.shift[index]) / decision.scale[index]))


def reliabilities(predicted: Predicted, tuned: Tuned) -> dict[str, Reliability]:
    """Before and after, on the pictures of the choice."""
    return {
        "the model's scores": reliability(predicted.scores, predicted.targets),
        f'calibrated ({tuned.calibration_name})': reliability(tuned.probabilities, predicted.targets),
    }


def tune_softmax(samples: Sequence[Mapping], folds: int, seed: int) -> SoftmaxTuned:
    """The temperature of a model of a single label.

    Raises:
        UserError: If a sample has no one label.
    """
    scores = torch.stack([sample['pred_score'].float().cpu() for sample in samples])
    labels = np.array([true_class(sample, scores.shape[1]) for sample in samples])
    logs = log_scores(scores).numpy()
    numbers = fold_numbers((labels[:, None] == np.arange(logs.shape[1])).astype(int), folds, seed)
    outside = np.zeros_like(logs)
    for number in np.unique(numbers):
        out = numbers == number
        outside[out] = calibration.fit_softmax_temperature(logs[~out], labels[~out]) * logs[out]
    before, after = (calibration.softmax_losses(values, labels) for values in (logs, outside))
    gain, spread = mean_with_error(before - after)
    scale = calibration.fit_softmax_temperature(logs, labels) if gain > spread else 1.0
    own, held_out, fitted = (_best_and_right(values, labels) for values in (logs, outside, scale * logs))
    return SoftmaxTuned(
        scale,
        dict(log_loss=float(before.mean()), ECE=expected_calibration_error(*own)),
        dict(log_loss=float(after.mean()), ECE=expected_calibration_error(*held_out)),
        gain,
        spread,
        {"the model's scores": reliability(*own), f'temperature {1 / scale:.2f}': reliability(*fitted)},
    )


def _best_and_right(logs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probability of the best class of each picture, (N, 1), and whether it is the label, (N, 1) int."""
    probability, best = (part.numpy()[:, None] for part in torch.from_numpy(logs).softmax(dim=1).max(dim=1))
    return probability, (best == labels[:, None]).astype(int)
