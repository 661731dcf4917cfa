"""How scores become labels, as plain numbers: calibration, thresholds, the best k, or the path of a decoder."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmpretrain.models.heads import ClsHead, MultiLabelClsHead
from torch import nn

from mmlattn.models.views.decision import decide_labels, deciding_head, head_of
from mmlattn.structures.decisions import Decision, calibrate
from mmlattn.structures.labels import selection_mask
from mmlattn.utils.errors import UserError


def label_rule(
    model: nn.Module, num_classes: int, decision: Decision | None = None, threshold: float | None = None
) -> dict:
    """The rule by which a model's labels are taken, as the metadata of a file have it.

    Args:
        model (nn.Module): A classifier.
        num_classes (int): C.
        decision (Decision, optional): The one stored with the weights.
        threshold (float, optional): For all classes, in the place of any other.

    Returns:
        dict: ``rule``: 'threshold': a class is predicted where its value is at least its number in ``thresholds`` (C
        numbers, null is never reached; null for all: no limit) and, with ``topk``, among the best k, of equal ones
        the first; 'best': the class of the best score; 'path': the labels in the output ``label_path``. ``reads``
        says whether these values are 'scores' or 'probabilities', calibrated by ``calibration`` (null: they are the
        same): sigmoid(scale logit(score) + shift), or for the activation softmax softmax(scale log(score)).
    """
    thresholds = None
    if threshold is not None:
        thresholds = [float(threshold)] * num_classes
    elif decision is not None and decision.thresholds:
        thresholds = [None if np.isinf(t) else float(t) for t in decision.thresholds]
    if thresholds is None:
        rule = dict(_own_rule(model, num_classes), reads='scores')
    else:
        rule = dict(rule='threshold', thresholds=thresholds, topk=None, reads='probabilities')
    calibration = None
    if decision is not None and decision.calibrates:
        calibration = dict(
            activation=decision.activation, scale=list(decision.scale), shift=list(decision.shift)
        )
    return dict(rule, calibration=calibration, chosen=None if decision is None else decision.summary())


def _own_rule(model: nn.Module, num_classes: int) -> dict:
    """The rule of the head; what a head says of itself is tried on scores."""
    head = head_of(model)
    head = None if head is None else deciding_head(head)
    if hasattr(head, 'rules'):
        decoding = head.decoding
        if decoding.set_from == 'path':
            return dict(rule='path', thresholds=None, topk=None)
        tried = [(decoding.thr, decoding.topk)]
    elif isinstance(head, MultiLabelClsHead) or hasattr(head, 'select'):
        thr, topk = getattr(head, 'thr', None), getattr(head, 'topk', None)
        tried = [(thr, topk), (thr, None if thr is not None else topk)]
    elif head is None or isinstance(head, ClsHead):
        return dict(rule='best', thresholds=None, topk=None)
    else:
        raise UserError(
            f'{type(head).__name__} does not tell how it takes labels: give it a method select(scores)'
        )
    scores = torch.rand(50, num_classes, generator=torch.Generator().manual_seed(0))
    wanted = [set(labels.tolist()) for labels in decide_labels(head, scores)]
    for thr, topk in tried:
        topk = topk if topk is None or topk < num_classes else None
        rows = [set(row.nonzero()[:, 0].tolist()) for row in selection_mask(scores, thr, topk)]
        if rows == wanted:
            return dict(
                rule='threshold', thresholds=None if thr is None else [float(thr)] * num_classes, topk=topk
            )
    raise UserError(
        f'{type(head).__name__} takes labels neither by thr nor by topk, so no plain rule is known: give --threshold'
    )


def probabilities_of(scores: np.ndarray, rule: Mapping[str, Any]) -> np.ndarray:
    """Calibrated probabilities, (B, C) float32, of scores (B, C)."""
    known = rule['calibration']
    if known is None:
        return scores
    found = calibrate(torch.from_numpy(scores), known['scale'], known['shift'], known['activation'])
    return found.float().numpy()


def labels_of(outputs: Mapping[str, np.ndarray], rule: Mapping[str, Any]) -> list[list[int]]:
    """The labels that a rule takes from the outputs of a file, for each picture."""
    scores = outputs['scores']
    if rule['rule'] == 'path':
        return [[label for label in path if label >= 0] for path in outputs['label_path'].tolist()]
    if rule['rule'] == 'best':
        return [[label] for label in scores.argmax(axis=1).tolist()]
    values = probabilities_of(scores, rule) if rule['reads'] == 'probabilities' else scores
    mask = selection_mask(torch.from_numpy(values), _as_tensor(rule['thresholds']), rule['topk'])
    return [row.nonzero()[:, 0].tolist() for row in mask]


def _as_tensor(thresholds: Sequence[float | None] | None) -> torch.Tensor | None:
    if thresholds is None:
        return None
    return torch.tensor([torch.inf if value is None else value for value in thresholds])
