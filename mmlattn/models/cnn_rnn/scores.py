"""From label paths to one score of each label, in [0, 1] (the paper does not say how it ranks labels).

``step_log_probs`` are log P(l_t | what is on the path before t) of a path, shape (B, T, C + 1), END last, and
``lengths`` (B,) how many labels it has. Steps behind the end of a path are left out. Results are (B, C).
"""

import torch
from torch import Tensor

from .beam_search import Beams
from .paths import ALIVE


def marginals(beams: Beams) -> Tensor:
    """P(c among the labels), estimated from the paths found: sum of P(path) with c / sum of P(path).

    Exact if ``beams`` holds all paths; 0 where a picture has none.
    """
    log_probs = beams.log_probs
    best = log_probs.amax(dim=1, keepdim=True)
    weights = torch.where(log_probs > ALIVE, log_probs - best, -torch.inf).exp()
    # The best path alone has weight 1.
    shares = weights / weights.sum(dim=1, keepdim=True).clamp(min=1)
    return (shares[..., None] * beams.labels).sum(dim=1).clamp(max=1)


def first_scores(step_log_probs: Tensor) -> Tensor:
    """P(l_1 = c): good for decoders trained in random order, blind to rare labels under a fixed one."""
    return step_log_probs[:, 0, :-1].exp()


def step_max_scores(step_log_probs: Tensor, lengths: Tensor) -> Tensor:
    """max_t P(l_t = c) along a path, up to and with the step at which it ends."""
    return _step_probs(step_log_probs, lengths).amax(dim=1)


def noisy_or_scores(step_log_probs: Tensor, lengths: Tensor) -> Tensor:
    """1 - prod_t (1 - P(l_t = c)) along a path, up to and with the step at which it ends."""
    scores, *later = _step_probs(step_log_probs, lengths).unbind(dim=1)
    # Keeps the digits of small probabilities, which 1 - (1 - p) would lose.
    for probs in later:
        scores = scores + probs * (1 - scores)
    return scores


def _step_probs(step_log_probs: Tensor, lengths: Tensor) -> Tensor:
    """P(l_t = c), shape (B, T, C), 0 behind the end."""
    steps = torch.arange(step_log_probs.shape[1], device=lengths.device)
    reached = steps <= lengths[:, None]
    return step_log_probs[..., :-1].exp() * reached[..., None]
