"""What is reported of a head: its numbers on the test split for each seed, and how far it is from the first one.

The threshold of a class comes from the val split alone (``evaluation/functional/tuning.py``, scores as they are).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmlattn.evaluation.functional.bootstrap import bootstrap_mean_ap, draw_pictures
from mmlattn.evaluation.functional.calibration import expected_calibration_error
from mmlattn.evaluation.functional.label_sets import label_set_report
from mmlattn.evaluation.functional.tuning import tune
from mmlattn.utils.errors import UserError

from .grid import Outcome, mean_average_precision
from .training import Predictions

ROUNDS = 1000
#: Of each seed, in [0, 1]. ``own``: labels by the head's own rule, a score of 0.5 unless it has another; ``tuned``:
#: by thresholds that were tuned on val.
METRICS = (
    'mAP', 'CF1_own', 'OF1_own', 'exact_own', 'CF1_tuned', 'OF1_tuned', 'exact_tuned', 'ECE', 'pointing',
)  # fmt: skip


class Difference(NamedTuple):
    """To the first head in mAP, in pairs of a seed: mean, middle 95 % over draws of the pictures, seeds won."""

    mean: float
    low: float
    high: float
    won: int


class Row(NamedTuple):
    """Of one head: values (S,) of each metric for S seeds, NaN where there is none, and the paired difference."""

    outcome: Outcome
    values: dict[str, np.ndarray]
    difference: Difference | None


def score_all(outcomes: Sequence[Outcome], val_targets: np.ndarray, test_targets: np.ndarray) -> list[Row]:
    """A row for each head, in order; differences are to the first one."""
    weights = draw_pictures(len(test_targets), ROUNDS, seed=0)
    # (rounds, seeds) of the first one and of each of the others.
    drawn = [
        np.stack([bootstrap_mean_ap(found.scores, test_targets, weights) for found in outcome.test], axis=1)
        for outcome in outcomes
    ]
    rows: list[Row] = []
    for outcome, own_draws in zip(outcomes, drawn, strict=True):
        values = [
            seed_metrics(val, test, val_targets, test_targets)
            for val, test in zip(outcome.val, outcome.test, strict=True)
        ]
        table = {name: np.array([found[name] for found in values]) for name in METRICS}
        difference = None
        if rows:
            difference = paired_difference(table['mAP'], rows[0].values['mAP'], own_draws, drawn[0])
        rows.append(Row(outcome, table, difference))
    return rows


def seed_metrics(
    val: Predictions, test: Predictions, val_targets: np.ndarray, test_targets: np.ndarray
) -> dict[str, float]:
    """Every metric of one trained head; see :data:`METRICS`."""
    # Only the threshold rule is looked for: calibration has a column of its own.
    tuned = tune(val.scores, val_targets, val.own, calibrate_by='none')
    decided = test.own if tuned.thresholds is None else test.scores >= tuned.thresholds
    found = dict(
        mAP=mean_average_precision(test.scores, test_targets),
        ECE=expected_calibration_error(test.scores, test_targets),
        pointing=np.nan if test.pointing is None else test.pointing['present'] / 100,
    )
    for rule, labels in (('own', test.own), ('tuned', decided)):
        shares = label_set_report(labels, test_targets).shares
        found |= {f'{name}_{rule}': shares[name] for name in ('CF1', 'OF1', 'exact')}
    return found


def paired_difference(
    ours: np.ndarray, first: np.ndarray, our_draws: np.ndarray, first_draws: np.ndarray
) -> Difference:
    """Of mAP (S,) and of mAP on draws (R, S).

    Raises:
        UserError: If the numbers of seeds differ and there is more than one of the one that has fewer.
    """
    seeds = min(len(ours), len(first))
    if seeds < max(len(ours), len(first)) and seeds > 1:
        raise UserError(f'{len(ours)} and {len(first)} seeds make no pairs: compare heads of the same seeds')
    apart = (our_draws[:, :seeds] - first_draws[:, :seeds]).mean(axis=1)
    low, high = np.nanquantile(apart, [0.025, 0.975])
    difference = ours[:seeds] - first[:seeds]
    return Difference(float(difference.mean()), float(low), float(high), int((difference > 0).sum()))
