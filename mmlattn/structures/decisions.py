"""How scores become calibrated probabilities and labels: chosen once on a validation set, kept with the weights.

C is the number of classes. A checkpoint has its decision, plain numbers, lists and texts, as
``meta['mmlattn_decision']``. Training writes ``meta`` anew, so no checkpoint saved later has it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, NoReturn

import torch
from torch import Tensor

from mmlattn.utils.errors import UserError

from .labels import selection_mask

#: Where ``meta`` of a checkpoint has it.
DECISION = 'mmlattn_decision'
ACTIVATIONS = ('sigmoid', 'softmax')
#: The logit of a score of 1 is that of the next number below it in float32; that of 0 that of the smallest one.
_LOWEST, _HIGHEST = float(torch.finfo(torch.float32).tiny), 1 - 2.0**-24


@dataclass(frozen=True)
class Decision:
    """Calibration and thresholds of a model.

    The probability of a class is sigmoid(scale logit(score) + shift), and the class is predicted where that is at
    least its threshold. Of a model for a single label (softmax) it is softmax(scale log(scores)), with one scale for
    all classes, 1 / T; the best class stays the best.

    Args:
        classes (Sequence[str]): C names.
        thresholds (Sequence[float]): C probabilities in [0, 1]; infinity is never reached. None at all: the head's
            own rule takes the labels, from its own scores.
        scale, shift (Sequence[float]): C numbers each, the scales above 0.
        criterion (str): What the thresholds were chosen for, such as ``'f1'``.
        split (str): The pictures that they were chosen on.
        pictures (int): How many there were.
        activation (str): ``'sigmoid'``, or ``'softmax'`` of a single label.
        scope (str): Whose thresholds won, such as ``'class'``; for people only.
        calibration (str): Whose probabilities won, such as ``'temperature'``; for people only.

    Raises:
        UserError: For anything else.
    """

    classes: Sequence[str]
    thresholds: Sequence[float]
    scale: Sequence[float]
    shift: Sequence[float]
    criterion: str
    split: str
    pictures: int
    activation: str = 'sigmoid'
    scope: str = 'class'
    calibration: str = 'none'

    def __post_init__(self) -> None:
        """Check everything, and keep it as tuples."""
        for name in ('criterion', 'split', 'activation', 'scope', 'calibration'):
            if not isinstance(getattr(self, name), str):
                _wrong(f'{name} is {getattr(self, name)!r:.60}, not a text')
        if self.activation not in ACTIVATIONS:
            _wrong(f'activation is {self.activation!r:.60}, not one of {", ".join(ACTIVATIONS)}')
        if not isinstance(self.pictures, Integral) or isinstance(self.pictures, bool) or self.pictures < 1:
            _wrong(f'pictures is {self.pictures!r:.60}, not a number of 1 or more')
        object.__setattr__(self, 'pictures', int(self.pictures))
        for name in ('classes', 'thresholds', 'scale', 'shift'):
            value = getattr(self, name)
            if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
                _wrong(f'{name} is a {type(value).__name__}, not a list')
        names = tuple(self.classes)
        # Names may repeat, as ImageNet's two cranes do.
        if not names or not all(isinstance(n, str) for n in names):
            _wrong('classes are no names')
        object.__setattr__(self, 'classes', names)
        for name, low in dict(thresholds=0.0, scale=0.0, shift=-math.inf).items():
            values = _numbers(name, getattr(self, name))
            if len(values) != len(names) and not (name == 'thresholds' and not values):
                _wrong(f'{name} has {len(values)} numbers for {len(names)} classes')
            sound = all(low <= v < math.inf or (v == math.inf and name == 'thresholds') for v in values)
            if not sound or (name == 'scale' and 0.0 in values):
                _wrong(f'{name} holds a number out of range')
            object.__setattr__(self, name, values)
        if any(1 < threshold < math.inf for threshold in self.thresholds):
            _wrong('thresholds holds a number out of range')
        if self.activation == 'softmax' and (self.thresholds or any(self.shift) or len(set(self.scale)) > 1):
            _wrong('a softmax has one scale, no shift and no thresholds')

    @property
    def calibrates(self) -> bool:
        """Whether probabilities are other numbers than scores."""
        return any(s != 1 for s in self.scale) or any(self.shift)

    def calibrate(self, scores: Tensor) -> Tensor:
        """Probabilities (..., C) of the scores (..., C) that the model gives, in their precision; NaN stays NaN."""
        if not self.calibrates:
            return scores
        return calibrate(scores, self.scale, self.shift, self.activation).to(scores.dtype)

    def threshold_tensor(self) -> Tensor | None:
        """The thresholds (C,), float32, on calibrated probabilities; None for the head's own rule."""
        return torch.tensor(self.thresholds, dtype=torch.float32) if self.thresholds else None

    def select(self, probabilities: Tensor) -> Tensor | None:
        """Which classes reach their thresholds, (..., C) bool; None for the head's own rule."""
        return selection_mask(probabilities, self.threshold_tensor()) if self.thresholds else None

    def never_named(self) -> list[str]:
        """The classes whose threshold is never reached."""
        return [n for n, t in zip(self.classes, self.thresholds, strict=False) if math.isinf(t)]

    def summary(self) -> str:
        """What it is, in one line."""
        labels = (
            f'thresholds ({self.scope}) for {self.criterion}' if self.thresholds else "the head's own rule"
        )
        scores = '' if self.calibration == 'none' else f' and calibration ({self.calibration})'
        return f'{labels}{scores}, chosen on {self.pictures} pictures of {self.split}'


def calibrate(
    scores: Tensor, scale: Sequence[float], shift: Sequence[float], activation: str = 'sigmoid'
) -> Tensor:
    """Probabilities, float64, of scores p (..., C): sigmoid(scale logit(p) + shift), or softmax(scale log(p))."""
    scale, shift = (torch.as_tensor(v, dtype=torch.float64, device=scores.device) for v in (scale, shift))
    if activation == 'softmax':
        return (scale * log_scores(scores)).softmax(dim=-1)
    return (scale * logits(scores) + shift).sigmoid()


def logits(scores: Tensor) -> Tensor:
    """The logit of each score of [0, 1], float64 and finite; NaN stays NaN."""
    return scores.double().clamp(_LOWEST, _HIGHEST).logit()


def log_scores(scores: Tensor) -> Tensor:
    """The logarithm of each score of [0, 1], float64 and finite; NaN stays NaN."""
    return scores.double().clamp(min=_LOWEST).log()


def read_decision(checkpoint: Any) -> Decision | None:
    """The decision in a checkpoint, as it was loaded; None if it has none.

    Raises:
        UserError: If it has one that is damaged.
    """
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    stored = meta.get(DECISION) if isinstance(meta, Mapping) else None
    if stored is None:
        return None
    if not isinstance(stored, Mapping):
        _wrong(f'it is a {type(stored).__name__}, not a dict')
    fields = Decision.__dataclass_fields__
    missing = [name for name in fields if name not in stored]
    if missing or stored.keys() - fields.keys():
        _wrong(f'it has {", ".join(map(str, stored)) or "nothing"}, not {", ".join(fields)}')
    never = stored['thresholds']
    if isinstance(never, (list, tuple)):
        stored = dict(stored, thresholds=[math.inf if t is None else t for t in never])
    return Decision(**stored)


def with_decision(checkpoint: Mapping, decision: Decision) -> dict:
    """A checkpoint with this decision, in the place of any other; the one given is left as it is."""
    if 'state_dict' not in checkpoint:
        checkpoint = dict(state_dict=dict(checkpoint))
    plain = {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(decision).items()}
    # None, not infinity: json has none either.
    plain['thresholds'] = [None if math.isinf(t) else t for t in plain['thresholds']]
    return dict(checkpoint, meta=dict(checkpoint.get('meta') or {}, **{DECISION: plain}))


def _numbers(name: str, values: Sequence) -> tuple[float, ...]:
    if not all(isinstance(v, Real) and not isinstance(v, bool) for v in values):
        _wrong(f'{name} holds something that is no number')
    return tuple(map(float, values))


def _wrong(problem: str) -> NoReturn:
    raise UserError(
        f'the stored decision is damaged: {problem}. Choose it anew with tools/analysis_tools/tune_thresholds.py'
    )
