"""What a sample says and how right it is, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from mmlattn.structures.frames import keeps_frame
from mmlattn.structures.labels import IGNORED_FIELDS, label_matrix, listed_labels
from mmlattn.utils.errors import UserError


@dataclass(frozen=True)
class Wording:
    """How a sample is put into words; without ``classes`` they are numbered, and what is not drawn is not told."""

    sample: DataSample
    classes: Sequence[str] | None = None
    draw_gt: bool = True
    draw_pred: bool = True
    draw_score: bool = True

    @cached_property
    def present(self) -> list[int] | None:
        """True classes in the order of the data set; None if there is no truth to tell."""
        if self.draw_gt and 'gt_label' in self.sample:
            return listed_labels([self.sample])[0].tolist()
        if self.draw_gt and 'gt_score' in self.sample:
            return (label_matrix([self.sample], len(self.sample.gt_score))[0] > 0).nonzero()[:, 0].tolist()
        return None

    @cached_property
    def ignored(self) -> set[int]:
        """Classes of which it is not known whether they are there."""
        fields = [field for field in IGNORED_FIELDS if self.sample.get(field) is not None]
        unknown = [listed_labels([self.sample], field=field)[0] for field in fields]
        if 'gt_score' in self.sample:
            unknown.append((self.sample.gt_score < 0).nonzero()[:, 0])
        return {label for labels in unknown for label in labels.tolist()}

    def name(self, label: int) -> str:
        """Name of a class, in one line."""
        if self.classes is None:
            return f'class {label}'
        if label >= len(self.classes):
            raise UserError(
                f'a sample has the class {label}, but there are only {len(self.classes)} class names: give the names '
                'of the data set that the model was trained with'
            )
        return ' '.join(str(self.classes[label]).split()) or f'class {label}'

    def caption(self, label: int, scores: Tensor | None = None) -> str:
        """Name of a class and its score, of ``scores`` (C,) or else those of the prediction."""
        scores = self.sample.get('pred_score') if scores is None else scores
        return self.name(label) + (f'  {scores[label]:.2f}' if self.draw_score and scores is not None else '')

    def best(self, scores: Tensor) -> tuple[str, str]:
        """Caption and outcome of the class with the highest of ``scores`` (C,)."""
        if not scores.isfinite().all():
            return 'scores not finite', 'predicted'
        label = int(scores.argmax())
        return self.caption(label, scores), self.outcome(label)

    def outcome(self, label: int) -> str:
        """Whether it is right to predict a class: 'correct', 'wrong', 'ignored', or 'predicted' without a truth."""
        if self.present is None:
            return 'predicted'
        if label in self.present:
            return 'correct'
        return 'ignored' if label in self.ignored else 'wrong'

    @cached_property
    def outcomes(self) -> dict[int, str]:
        """The outcome of each class that is predicted, 'missed' for those that should be; best score first."""
        predicted = self.draw_pred and 'pred_label' in self.sample
        predicted = set(self.sample.pred_label.tolist()) if predicted else set()
        outcomes = {label: self.outcome(label) for label in predicted}
        outcomes |= dict.fromkeys(set(self.present or ()) - predicted, 'missed')
        scores = (
            self.sample.pred_score.nan_to_num(-torch.inf).tolist() if 'pred_score' in self.sample else None
        )
        return dict(sorted(outcomes.items(), key=lambda item: (-scores[item[0]] if scores else 0, item[0])))

    def true_boxes(self, label: int | None = None) -> Tensor:
        """True boxes, of one class or all, (N, 4), if they may be told and the network saw the whole picture."""
        if not self.draw_gt or 'gt_boxes' not in self.sample or not keeps_frame(self.sample):
            return torch.zeros(0, 4)
        boxes = torch.as_tensor(self.sample.gt_boxes)
        return boxes if label is None else boxes[torch.as_tensor(self.sample.gt_box_labels) == label]
