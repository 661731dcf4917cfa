"""What a sample says and how right it is, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from mmlattn.structures.frames import frame_sizes

__all__ = ['ShownClass', 'Wording', 'label_outcomes']


@dataclass(frozen=True)
class ShownClass:
    """A class whose evidence is drawn.

    Args:
        label (int): Its index.
        outcome (str): Key of ``OUTCOME_COLORS``.
        name (str): Its name.
        caption (str): Name and score.
        boxes (Tensor): Shape (N, 4), true boxes of the class, xyxy in [0, 1] of the picture.
    """

    label: int
    outcome: str
    name: str
    caption: str
    boxes: Tensor


@dataclass(frozen=True)
class Wording:
    """How a sample is put into words.

    Args:
        sample (DataSample): As for :func:`sample_panels`.
        classes (Sequence[str], optional): As there.
        draw_gt (bool): As there.
        draw_score (bool): As there.
    """

    sample: DataSample
    classes: Sequence[str] | None
    draw_gt: bool
    draw_score: bool

    def name(self, label: int) -> str:
        """Name of a class."""
        return str(self.classes[label]) if self.classes is not None else f'class {label}'

    def caption(self, label: int, scores: Tensor | None) -> str:
        """Name of a class and its score, of ``scores`` (C,)."""
        return self.name(label) + (f'  {scores[label]:.2f}' if self.draw_score and scores is not None else '')

    def best(self, scores: Tensor) -> tuple[str, str]:
        """Caption and outcome of the class with the highest of ``scores`` (C,)."""
        if not scores.isfinite().all():
            return 'scores not finite', 'predicted'
        label = int(scores.argmax())
        return self.caption(label, scores), self.outcome(label)

    def outcome(self, label: int) -> str:
        """Whether it is right to predict a class, a key of ``OUTCOME_COLORS``."""
        return _outcome(label, self.sample, self.draw_gt)

    def true_boxes(self) -> Tensor:
        """All true boxes, shape (N, 4), if they may be drawn and lie where they did in the original picture."""
        known = self.draw_gt and 'gt_label' in self.sample and 'gt_boxes' in self.sample
        shown = known and _keeps_frame(self.sample)
        return torch.as_tensor(self.sample.gt_boxes) if shown else torch.zeros(0, 4)

    def describe(self, label: int, outcome: str) -> ShownClass:
        """A predicted or true class."""
        boxes = torch.zeros(0, 4)
        if self.draw_gt and 'gt_boxes' in self.sample and _keeps_frame(self.sample):
            own = torch.as_tensor(self.sample.gt_box_labels) == label
            boxes = torch.as_tensor(self.sample.gt_boxes)[own]
        caption = self.caption(label, self.sample.get('pred_score'))
        return ShownClass(label, outcome, self.name(label), caption, boxes)


def label_outcomes(sample: DataSample, draw_gt: bool = True, draw_pred: bool = True) -> dict[int, str]:
    """Compare predicted with true labels.

    Args:
        sample (DataSample): Any of ``pred_label``, ``pred_score``, ``gt_label``, ``gt_label_ignore``.
        draw_gt (bool): Whether to look at the ground truth.
        draw_pred (bool): Whether to look at the prediction.

    Returns:
        dict[int, str]: 'correct', 'wrong', 'missed' or 'ignored' for each class that is predicted or true, best
        score first; 'predicted' for all when there is no truth to compare with.
    """
    predicted = set(sample.pred_label.tolist()) if draw_pred and 'pred_label' in sample else set()
    outcomes = {label: _outcome(label, sample, draw_gt) for label in predicted}
    if draw_gt and 'gt_label' in sample:
        outcomes |= dict.fromkeys(set(sample.gt_label.tolist()) - predicted, 'missed')
    scores = sample.pred_score.tolist() if 'pred_score' in sample else None
    return dict(sorted(outcomes.items(), key=lambda item: (-scores[item[0]] if scores else 0, item[0])))


def _keeps_frame(sample: DataSample) -> bool:
    """Whether the network saw the whole picture, unflipped, as far as the sample tells; true boxes fit that only."""
    if 'ori_shape' not in sample or 'img_shape' not in sample:
        return not sample.get('flip')
    resized, shown = frame_sizes(dict(sample.metainfo_items()))
    return not sample.get('flip') and bool((np.abs(shown - resized) <= 1).all())


def _outcome(label: int, sample: DataSample, draw_gt: bool) -> str:
    """Whether it is right to predict a class."""
    if not draw_gt or 'gt_label' not in sample:
        return 'predicted'
    if label in sample.gt_label.tolist():
        return 'correct'
    return 'ignored' if label in sample.get('gt_label_ignore', torch.zeros(0)).tolist() else 'wrong'
