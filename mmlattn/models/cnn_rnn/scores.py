"""From label paths to one score of each label, all in [0, 1] (the paper does not say how it ranks labels)."""

import torch
from torch import Tensor

from .beam_search import ALIVE, Beams

__all__ = ['first_scores', 'marginals', 'noisy_or_scores', 'step_max_scores']


def marginals(beams: Beams) -> Tensor:
    """P(c among the labels), estimated from the paths found: sum of P(path) with c / sum of P(path).

    Exact if ``beams`` holds all paths; 0 where an image has none.

    Args:
        beams (Beams): From ``beam_search``.

    Returns:
        Tensor: Shape (B, C), of the log-probabilities' dtype.
    """
    log_probs = beams.log_probs
    best = log_probs.amax(dim=1, keepdim=True)
    weights = torch.where(log_probs > ALIVE, log_probs - best, -torch.inf).exp()
    shares = weights / weights.sum(dim=1, keepdim=True).clamp(min=1)  # the best alone has 1
    return (shares[..., None] * beams.labels).sum(dim=1).clamp(max=1)


def first_scores(step_log_probs: Tensor) -> Tensor:
    """P(l_1 = c): good for decoders trained in random order, blind to rare labels under a fixed one.

    Args:
        step_log_probs (Tensor): log P(l_t | what is on the path before t), shape (B, T, C + 1), END last.

    Returns:
        Tensor: Shape (B, C).
    """
    return step_log_probs[:, 0, :-1].exp()


def step_max_scores(step_log_probs: Tensor, lengths: Tensor) -> Tensor:
    """max_t P(l_t = c) along a path, up to and with the step at which it ends.

    Args:
        step_log_probs (Tensor): As for ``first_scores``; the steps behind the end are left out.
        lengths (Tensor): Labels on each path, shape (B,).

    Returns:
        Tensor: Shape (B, C).
    """
    return _step_probs(step_log_probs, lengths).amax(dim=1)


def noisy_or_scores(step_log_probs: Tensor, lengths: Tensor) -> Tensor:
    """1 - prod_t (1 - P(l_t = c)) along a path; arguments and result as for ``step_max_scores``."""
    scores, *later = _step_probs(step_log_probs, lengths).unbind(dim=1)
    for probs in later:  # keeps the digits of small probabilities, which 1 - (1 - p) would lose
        scores = scores + probs * (1 - scores)
    return scores


def _step_probs(step_log_probs: Tensor, lengths: Tensor) -> Tensor:
    """P(l_t = c), shape (B, T, C), 0 behind the end."""
    steps = torch.arange(step_log_probs.shape[1], device=lengths.device)
    reached = steps <= lengths[:, None]
    return step_log_probs[..., :-1].exp() * reached[..., None]
