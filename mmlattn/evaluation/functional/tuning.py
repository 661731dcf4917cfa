"""Which calibration and which thresholds to take: what does best on pictures that it was not fitted to.

Pictures are split into folds of like label frequencies (Sechidis, Tsoumakas and Vlahavas, "On the stratification of
multi-label data", ECML 2011). Each candidate is fitted to all folds but one and judged on that one, for each fold;
the decisions on all pictures together give its score. Candidates are listed from the plainest, which has the fewest
numbers to fit, to the freest. The best one is taken, unless a plainer one is worse by no more than the spread of the
difference: the one-standard-error rule (Breiman et al., "Classification and regression trees", 1984). So what does
not pay is not taken, and where nothing pays the model keeps its own rule.

``scores`` (N, C) float32 in [0, 1], ``targets`` (N, C) with 1 present, 0 absent, -1 unknown.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from mmlattn.structures.decisions import calibrate, logits
from mmlattn.utils.errors import UserError

from . import calibration, thresholds
from .bootstrap import bootstrap_rates, draw_pictures
from .calibration import Calibration
from .multi_label import LabelCounts, class_rates, label_counts, mean_defined, precision_recall_f1

OWN, GLOBAL, CLASS = 'own', 'global', 'class'
#: Positives at which the threshold of a class and the common one count alike.
STRENGTHS = (100, 30, 10)
SCOPES = ('class', 'global', 'both')
CALIBRATIONS = ('auto', 'none', 'temperature', 'platt')
LEAST_PICTURES = 10
_ROUNDS = 200


@dataclass(frozen=True)
class Target:
    """What thresholds are chosen for: ``kind`` 'f1', or 'precision' or 'recall' of at least ``least``."""

    kind: str
    least: float = 0.0

    @classmethod
    def parse(cls, text: str) -> 'Target':
        """From 'f1', 'precision=0.9' or 'recall=0.8'.

        Raises:
            UserError: For anything else.
        """
        kind, _, number = text.partition('=')
        try:
            least = float(number) if number else 0.0
        except ValueError:
            least = np.nan
        if not (text == 'f1' or (kind in ('precision', 'recall') and 0 < least <= 1)):
            raise UserError(
                f'the target must be f1, precision=P or recall=R with P or R above 0 and at most 1, got {text!r}'
            )
        return cls(kind, least)

    def __str__(self) -> str:
        return self.kind if self.kind == 'f1' else f'{self.kind}={self.least:g}'


class Row(NamedTuple):
    """A candidate out of fold: its rates or losses, and how far it is from the first one, with the spread of that."""

    name: str
    values: dict[str, float]
    gain: float
    spread: float


class Tuned(NamedTuple):
    """What was taken.

    ``thresholds`` (C,) are on the calibrated ``probabilities`` (N, C) float32, or None for the model's own rule;
    ``held_out`` (N, C) bool are its decisions out of fold.
    """

    calibration_name: str
    calibration: Calibration
    calibrations: list[Row]
    scope: str
    thresholds: np.ndarray | None
    scopes: list[Row]
    probabilities: np.ndarray
    held_out: np.ndarray
    folds: int


def tune(
    scores: np.ndarray,
    targets: np.ndarray,
    own: np.ndarray,
    target: Target = Target('f1'),
    scope: str = 'both',
    calibrate_by: str = 'auto',
    folds: int = 5,
    seed: int = 0,
) -> Tuned:
    """Choose a calibration and thresholds.

    Args:
        scores (ndarray): (N, C); NaN is never predicted.
        targets (ndarray): (N, C).
        own (ndarray): (N, C) bool, what the model predicts by its own rule.
        target (Target): What for.
        scope (str): 'class', 'global', or 'both', where the model's own rule is a candidate too, for 'f1'.
        calibrate_by (str): Of :data:`CALIBRATIONS`; 'auto' compares all.
        folds (int): At least 2.
        seed (int): Of the folds and the spreads.

    Raises:
        UserError: For too few pictures, or no positive.
    """
    scores, targets = np.asarray(scores, dtype=np.float32), np.asarray(targets)
    if len(scores) < LEAST_PICTURES or not (targets == 1).any():
        raise UserError(
            f'{len(scores)} pictures with {int((targets == 1).sum())} positive labels are too few to choose '
            f'thresholds by: {LEAST_PICTURES} pictures or more are needed, and labels in them'
        )
    numbers = fold_numbers(targets, folds, seed)
    raw = np.nan_to_num(logits(torch.from_numpy(scores)).numpy())
    known = np.where(np.isnan(scores), -1, targets)
    fits = calibration_fits(calibrate_by)
    name, rows = _best_calibration(raw, known, numbers, fits)
    fit = fits[name]

    judged = {}
    for number in np.unique(numbers):
        out = numbers == number
        fitted = fit(raw[~out], known[~out])
        inside, outside = (_probabilities(scores[part], fitted, name) for part in (~out, out))
        for candidate, chosen in candidate_thresholds(inside, targets[~out], target, scope).items():
            judged.setdefault(candidate, np.zeros(scores.shape, bool))[out] = outside >= chosen
    judged = {OWN: own} | judged
    winner, compared = _best_scope(judged, targets, target, scope, seed)
    fitted = fit(raw, known)
    probabilities = _probabilities(scores, fitted, name)
    chosen = candidate_thresholds(probabilities, targets, target, scope)
    return Tuned(
        name, fitted, rows, winner, chosen.get(winner), compared, probabilities, judged[winner],
        len(np.unique(numbers)),
    )  # fmt: skip


class Half(NamedTuple):
    """What was chosen on one half of the pictures, on the other half, where ``spread`` is that of the gain in CF1."""

    scope: str
    calibration_name: str
    own: dict[str, float]
    tuned: dict[str, float]
    spread: float


def try_halves(
    scores: np.ndarray, targets: np.ndarray, own: np.ndarray, seeds: int = 5, **options
) -> list[Half]:
    """Choose on one half of the pictures and measure on the other one, for each of several draws of the halves.

    Arguments are those of :func:`tune`; ``seeds`` says how many draws.
    """
    found = []
    for seed in range(seeds):
        inside = fold_numbers(targets, 2, seed) == 0
        tuned = tune(scores[inside], targets[inside], own[inside], **options)
        outside, truth = own[~inside], targets[~inside]
        decided = outside
        if tuned.thresholds is not None:
            held = np.asarray(scores[~inside], dtype=np.float32)
            decided = _probabilities(held, tuned.calibration, tuned.calibration_name) >= tuned.thresholds
        draws = draw_pictures(len(truth), _ROUNDS, seed)
        sampled = bootstrap_rates([outside, decided], truth, draws, lambda rates: rates['CF1'])
        rates = [precision_recall_f1(label_counts(made, truth)) for made in (outside, decided)]
        spread = float((sampled[:, 1] - sampled[:, 0]).std())
        found.append(Half(tuned.scope, tuned.calibration_name, *rates, spread))
    return found


def fold_numbers(targets: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each picture, (N,), with like shares of the positives of each class in all of them.

    Raises:
        UserError: For more folds than there are pictures.
    """
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
    from sklearn.model_selection import StratifiedKFold

    present = (targets == 1).astype(int)
    several = present.shape[1] > 1
    splitter = (MultilabelStratifiedKFold if several else StratifiedKFold)(
        n_splits=folds, shuffle=True, random_state=seed
    )
    numbers = np.zeros(len(targets), int)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of classes with fewer positives than folds
        parts = splitter.split(np.zeros(len(targets)), present if several else present[:, 0])
        try:
            for number, (_, out) in enumerate(parts):
                numbers[out] = number
        except ValueError as error:
            raise UserError(f'{len(targets)} pictures are too few for {folds} folds: {error}') from error
    return numbers


def candidate_thresholds(
    probabilities: np.ndarray, targets: np.ndarray, target: Target, scope: str = 'both'
) -> dict[str, np.ndarray]:
    """Thresholds (C,) of each candidate, from the plainest to the freest.

    A class without a positive has the common threshold. Pulled thresholds are candidates for F1 alone: a rate that
    must be reached is not reached any more by a threshold that is moved.
    """
    swept = thresholds.sweep(probabilities, targets)
    if target.kind == 'f1':
        common, each = thresholds.best_common_f1(swept), thresholds.best_f1(swept)
    else:
        reach = dict(precision=thresholds.reach_precision, recall=thresholds.reach_recall)[target.kind]
        common = float(reach(thresholds.sweep(*thresholds.pooled(probabilities, targets)), target.least)[0])
        each = reach(swept, target.least)
    found = {}
    if scope != 'class':
        found[GLOBAL] = np.full(len(each), common)
    if scope != 'global':
        strengths = (*STRENGTHS, 0) if target.kind == 'f1' else (0,)
        for strength in strengths:
            name = f'shrunk {strength}' if strength else CLASS
            found[name] = thresholds.shrink(each, common, swept.positives, strength)
    # Compared in the precision of the probabilities.
    return {name: values.astype(probabilities.dtype) for name, values in found.items()}


def calibration_fits(which: str) -> dict[str, Callable[[np.ndarray, np.ndarray], Calibration]]:
    """How to fit each candidate, from the plainest to the freest."""
    fits = dict(none=lambda z, _: calibration.no_calibration(z), temperature=calibration.fit_temperature)
    fits['common platt'] = calibration.fit_common_platt
    for strength in (100, 10, 1):
        fits[f'platt {strength}'] = lambda z, y, s=strength: calibration.fit_platt(z, y, s)
    return {
        name: fit
        for name, fit in fits.items()
        if which == 'auto' or name == which or (which == 'platt' and 'platt' in name)
    }


def mean_with_error(values: np.ndarray) -> tuple[float, float]:
    """The mean of (N,) and its standard error."""
    return float(values.mean()), float(values.std() / np.sqrt(len(values)))


def _probabilities(scores: np.ndarray, fitted: Calibration, name: str) -> np.ndarray:
    """As a stored decision gives them."""
    if name == 'none':
        return scores
    return calibrate(torch.from_numpy(scores), fitted.scale, fitted.shift).float().numpy()


def _best_calibration(
    raw: np.ndarray, targets: np.ndarray, numbers: np.ndarray, fits: Mapping[str, Callable]
) -> tuple[str, list[Row]]:
    # All are compared with the scores as they are, candidate or not.
    plain = 'none' if 'none' in fits else OWN
    outside = {plain: raw} | {name: np.zeros_like(raw) for name in fits if name != plain}
    for number in np.unique(numbers):
        out = numbers == number
        for name in outside.keys() - {plain}:
            outside[name][out] = fits[name](raw[~out], targets[~out])(raw[out])
    losses, counts = {}, None
    rows = []
    for name, values in outside.items():
        losses[name], counts = calibration.picture_losses(values, targets)
        probabilities = torch.from_numpy(values).sigmoid().numpy()
        errors = calibration.class_calibration_errors(probabilities, targets)
        found = dict(
            log_loss=calibration.log_loss(values, targets),
            ECE=calibration.expected_calibration_error(probabilities, targets),
            class_ECE=float(np.nanmean(errors)),
        )
        rows.append(Row(name, found, *mean_with_error((losses[plain] - losses[name]) / counts.mean())))

    def lead(best: str, other: str) -> tuple[float, float]:
        return mean_with_error(losses[other] - losses[best])

    best = min(fits, key=lambda name: losses[name].sum())
    return _plainest(list(fits), best, lead), rows


def _best_scope(
    judged: Mapping[str, np.ndarray], targets: np.ndarray, target: Target, scope: str, seed: int
) -> tuple[str, list[Row]]:
    names = list(judged)
    draws = draw_pictures(len(targets), _ROUNDS, seed)
    sampled = bootstrap_rates(list(judged.values()), targets, draws, lambda rates: rates['CF1'])
    rows, found = [], {}
    for index, (name, decided) in enumerate(judged.items()):
        counts = label_counts(decided, targets)
        found[name] = precision_recall_f1(counts) | _reached(counts)
        apart = sampled[:, index] - sampled[:, 0]
        gain = found[name]['CF1'] - found[OWN]['CF1']
        rows.append(Row(name, found[name], float(gain), float(apart.std())))
    if target.kind != 'f1':
        rate, other = ('precision', 'CR') if target.kind == 'precision' else ('recall', 'CP')
        allowed = [name for name in names if name != OWN]
        return max(allowed, key=lambda n: (min(found[n][rate], target.least), found[n][other])), rows
    allowed = names if scope == 'both' else [name for name in names if name != OWN]
    best = max(allowed, key=lambda name: found[name]['CF1'])

    def lead(best: str, other: str) -> tuple[float, float]:
        apart = sampled[:, names.index(best)] - sampled[:, names.index(other)]
        return found[best]['CF1'] - found[other]['CF1'], float(apart.std())

    return _plainest(allowed, best, lead), rows


def _plainest(names: Sequence[str], best: str, lead: Callable[[str, str], tuple[float, float]]) -> str:
    """The first name whose distance to the best one is within the spread of the distance."""
    for name in names:
        distance, spread = (0.0, 0.0) if name == best else lead(best, name)
        if distance <= spread:
            return name
    return best


def _reached(counts: LabelCounts) -> dict[str, float]:
    """Mean precision of the classes that are predicted and have a positive, and mean recall.

    CP takes 0 as the precision of a class that is never predicted, which is no miss of a precision.
    """
    rates = class_rates(counts)
    named = counts.positives > 0
    return {name: float(np.nan_to_num(mean_defined(rates[name][named]))) for name in ('precision', 'recall')}
