"""Probabilities that mean what they say: of the labels given with 0.7, seven of ten are right.

``logits`` are (N, C), those of the scores of a model, and ``targets`` (N, C) with 1 present, 0 absent, -1 unknown; an
unknown label counts nowhere. A calibration is a scale and a shift of the logits of each class, (C,) each: the
probability is sigmoid(scale logit + shift).

* Temperature: one scale 1 / T for all, no shift (Guo et al., "On calibration of modern neural networks", ICML 2017).
* Platt: scale and shift (Platt, "Probabilistic outputs for support vector machines", 1999), for all classes together
  or for each. Those of each class are pulled to those of all by (strength / 2) ((a - a_0)^2 + (b - b_0)^2) beside the
  sum of the log-losses, which many pictures outweigh and few do not.

Scales stay positive, so that the order of the pictures within a class, and AP, do not change.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logsumexp

#: Beyond it single precision knows 0 and 1 only, and one wrong label would outweigh all others in a fit.
MOST = 17.0
_SCALES, _SHIFTS = (0.05, 20.0), (-30.0, 30.0)


class Calibration(NamedTuple):
    """Scale and shift of the logits of each class, (C,) each."""

    scale: np.ndarray
    shift: np.ndarray

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated logits (N, C)."""
        return self.scale * logits + self.shift


class Reliability(NamedTuple):
    """Of each bin of probabilities, (B,): mean probability, share of labels that are present, and number of labels.

    The first two are NaN for an empty bin.
    """

    confidence: np.ndarray
    frequency: np.ndarray
    count: np.ndarray


def no_calibration(logits: np.ndarray) -> Calibration:
    """The scores as they are."""
    return Calibration(np.ones(logits.shape[1]), np.zeros(logits.shape[1]))


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> Calibration:
    """One scale for all classes, of the smallest log-loss."""
    known = targets >= 0
    z, y = np.clip(logits[known], -MOST, MOST), targets[known]
    found = minimize_scalar(
        lambda s: _losses(np.exp(s) * z, y).sum(), bounds=np.log(_SCALES), method='bounded'
    )
    return Calibration(np.full(logits.shape[1], np.exp(found.x)), np.zeros(logits.shape[1]))


def fit_common_platt(logits: np.ndarray, targets: np.ndarray) -> Calibration:
    """One scale and one shift for all classes."""
    known = targets >= 0
    scale, shift = _fit_line(logits[known], targets[known], (1.0, 0.0), 0.0)
    return Calibration(np.full(logits.shape[1], scale), np.full(logits.shape[1], shift))


def fit_platt(logits: np.ndarray, targets: np.ndarray, strength: float) -> Calibration:
    """Scale and shift of each class, pulled to those of all; a class without known labels has those of all."""
    common = fit_common_platt(logits, targets)
    lines = []
    for c in range(logits.shape[1]):
        known = targets[:, c] >= 0
        lines.append(
            _fit_line(logits[known, c], targets[known, c], (common.scale[c], common.shift[c]), strength)
        )
    return Calibration(*np.array(lines).T)


def fit_softmax_temperature(log_scores: np.ndarray, labels: np.ndarray) -> float:
    """The scale 1 / T of log-probabilities (N, C) of a single label (N,), of the smallest log-loss."""
    found = minimize_scalar(
        lambda s: softmax_losses(np.exp(s) * log_scores, labels).sum(),
        bounds=np.log(_SCALES),
        method='bounded',
    )
    return float(np.exp(found.x))


def softmax_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log-loss of each picture, (N,), of a single label (N,)."""
    return logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]


def picture_losses(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the log-losses of the known labels of each picture, and their number, (N,) each."""
    known = targets >= 0
    losses = _losses(np.where(known, logits, 0), np.where(known, targets, 0))
    return np.where(known, losses, 0).sum(axis=1), known.sum(axis=1)


def log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """The mean log-loss of all known labels; NaN without any."""
    losses, counts = picture_losses(logits, targets)
    return float(losses.sum() / counts.sum()) if counts.any() else np.nan


def reliability(probabilities: np.ndarray, targets: np.ndarray, bins: int = 15) -> Reliability:
    """All known labels in bins of equal width."""
    known = targets >= 0
    p, y = np.asarray(probabilities, dtype=np.float64)[known], targets[known]
    place = np.clip((p * bins).astype(int), 0, bins - 1)
    count, sums, hits = (np.bincount(place, weights, bins) for weights in (None, p, y))
    with np.errstate(invalid='ignore'):
        return Reliability(sums / count, hits / count, count.astype(int))


def expected_calibration_error(probabilities: np.ndarray, targets: np.ndarray, bins: int = 15) -> float:
    """ECE (Guo et al., ICML 2017): mean over labels of |frequency - confidence| of their bin; NaN without any."""
    found = reliability(probabilities, targets, bins)
    gaps = np.nan_to_num(np.abs(found.frequency - found.confidence))
    return float((gaps * found.count).sum() / found.count.sum()) if found.count.any() else np.nan


def class_calibration_errors(probabilities: np.ndarray, targets: np.ndarray, bins: int = 15) -> np.ndarray:
    """ECE of each class, (C,); NaN where no label is known."""
    return np.array(
        [
            expected_calibration_error(p, y, bins)
            for p, y in zip(np.asarray(probabilities).T, np.asarray(targets).T, strict=True)
        ]
    )


def _losses(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, logits) - targets * logits


def _fit_line(
    logits: np.ndarray, targets: np.ndarray, centre: tuple[float, float], strength: float
) -> tuple[float, float]:
    """Scale and shift of one column of known labels."""
    if not len(logits):
        return centre
    z, y, middle = np.clip(logits, -MOST, MOST), targets.astype(np.float64), np.array(centre)

    def objective(line: np.ndarray) -> tuple[float, np.ndarray]:
        value = line[0] * z + line[1]
        error, apart = expit(value) - y, line - middle
        loss = _losses(value, y).sum() + strength / 2 * (apart @ apart)
        return loss / len(z), (np.array([error @ z, error.sum()]) + strength * apart) / len(z)

    start = np.clip(middle, *np.array([_SCALES, _SHIFTS]).T)
    found = minimize(objective, start, jac=True, method='L-BFGS-B', bounds=[_SCALES, _SHIFTS])
    return float(found.x[0]), float(found.x[1])
