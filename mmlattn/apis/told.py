"""How well a model names labels with and without one of them being known, by itself and by counting."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader

from mmlattn.engine.label_counts import count_labels, picture_labels
from mmlattn.evaluation.functional import average_precision, label_set_report
from mmlattn.evaluation.functional.known_labels import draw_known, given_known, without_known
from mmlattn.evaluation.functional.multi_label import mean_defined
from mmlattn.models.views.decision import decide_labels, deciding_head
from mmlattn.models.views.stored_decision import apply_decision
from mmlattn.structures.known_labels import set_known_labels
from mmlattn.structures.label_rules import LabelRules
from mmlattn.structures.labels import check_sets, label_matrix, label_sets, listed_labels

#: What is judged: the head without the known label, with it, and by counting.
FREE, TOLD, COUNTED = 'without', 'told', 'counted'


@torch.no_grad()
def judge_known(
    model: ImageClassifier, loader: DataLoader, ratios: np.ndarray, seeds: Sequence[int]
) -> dict[str, list[dict[str, float]]]:
    """Draw one label of each picture for each seed, and judge the others.

    Args:
        model (ImageClassifier): Multi-label. One whose head takes constraints is told the label, what others say is
            changed by counting. A stored decision on labels, see ``structures/decisions.py``, is kept to.
        loader (DataLoader): Of the pictures.
        ratios (ndarray): (C, C), of the training labels, see
            :func:`mmlattn.evaluation.functional.known_labels.odds_ratios`.
        seeds (Sequence[int]): Of the draws.

    Returns:
        dict[str, list[dict]]: For :data:`FREE`, and for :data:`TOLD` or else :data:`COUNTED`, one dict for each seed:
        ``mAP``, ``exact``, ``CF1`` and ``OF1`` in per cent, of the labels that are not known.

    Raises:
        UserError: If labels are soft, or the scores are no probabilities.
    """
    model.eval()
    num_classes = model.head.num_classes
    draws = [np.random.default_rng(seed) for seed in seeds]
    takes_known = hasattr(deciding_head(model.head), 'rules')
    columns: dict[tuple[str, int], list] = {}
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        feats = model.extract_feat(data['inputs'])
        truth = label_matrix(data['data_samples'], num_classes).cpu()
        check_sets(truth, 'the worth of known labels')
        targets = truth.numpy().astype(np.int8)
        free = _predict(model, feats, [DataSample() for _ in targets])
        for number, rng in enumerate(draws):
            known = draw_known(targets, rng)
            rest = without_known(targets, known)
            if takes_known:
                way, found = TOLD, _predict(model, feats, [_knowing(label) for label in known])
            else:
                counted = given_known(free[0], known, ratios)
                way, found = COUNTED, (counted, _decide(model, counted))
            columns.setdefault((FREE, number), []).append((*free, rest))
            columns.setdefault((way, number), []).append((*found, rest))
    judged: dict[str, list] = {}
    for (way, _), batches in columns.items():
        judged.setdefault(way, []).append(_judge(*map(np.concatenate, zip(*batches, strict=True))))
    return judged


def training_sets(dataset: Any, num_classes: int) -> np.ndarray:
    """The label sets of a data set, (M, C) bool, in the order of the indices.

    Raises:
        UserError: If it cannot tell its labels, or has one outside of 0 to C - 1.
    """
    count_labels(dataset, num_classes)  # sees to it that they are those of the head
    return label_sets(picture_labels(dataset), num_classes)


def _knowing(label: int) -> DataSample:
    sample = DataSample()
    if label >= 0:
        set_known_labels(sample, LabelRules(present=(int(label),)))
    return sample


def _predict(model: ImageClassifier, feats: Any, samples: list[DataSample]) -> tuple[np.ndarray, np.ndarray]:
    """Scores (B, C) and label sets (B, C) bool."""
    found = apply_decision(model.head.predict(feats, samples), getattr(model, '_decision', None))
    scores = torch.stack([sample.pred_score for sample in found]).double().cpu().numpy()
    labels = listed_labels(found, scores.shape[1], 'pred_label')
    return scores, label_sets((row.tolist() for row in labels), scores.shape[1])


def _decide(model: ImageClassifier, scores: np.ndarray) -> np.ndarray:
    """The label sets (B, C) that the model's rule makes of other scores than its own."""
    decision = getattr(model, '_decision', None)
    chosen = None if decision is None else decision.select(torch.from_numpy(scores))
    if chosen is not None:
        return chosen.numpy()
    labels = decide_labels(model.head, torch.from_numpy(scores))
    return label_sets((row.tolist() for row in labels), scores.shape[1])


def _judge(scores: np.ndarray, sets: np.ndarray, targets: np.ndarray) -> Mapping[str, float]:
    shares = label_set_report(sets, targets).shares
    found = dict(mAP=mean_defined(average_precision(scores, targets)))
    found |= {name: shares[name] for name in ('exact', 'CF1', 'OF1')}
    return {name: 100 * float(value) for name, value in found.items()}
