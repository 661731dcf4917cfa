"""Beam search over label paths, for all images and beams at once.

Wang et al., "CNN-RNN: A Unified Framework for Multi-label Image Classification", CVPR 2016, section 3.4. A path is a
sequence of labels and END, and its probability is the product of its steps'. With labels on the path masked before
the softmax, the probabilities of all ordered subsets sum to 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmlattn.models.layers.precision import widen
from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError

from .constraints import LabelConstraints, allowed, implied

__all__ = ['ALIVE', 'DEAD', 'END_MODES', 'Beams', 'beam_search', 'is_traced']

DEAD = -1e9
"""Log-probability of what cannot be: finite, since exporters and differences of infinities are not to be trusted."""

ALIVE = -1e8
"""Anything below is DEAD; sums of log-probabilities with one DEAD in them are."""

END_MODES = ('always', 'compete')

_CHECK_EVERY = 4  # steps; asking whether all images are done waits for the device

Step = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]


class Beams(NamedTuple):
    """The best paths of B images, M each, best first.

    =============  ==============  ===============================================================================
    field          shape           meaning
    =============  ==============  ===============================================================================
    ``paths``      (B, M, T) long  labels in order of emission, END (= C) behind the last
    ``lengths``    (B, M) long     how many labels
    ``log_probs``  (B, M)          log P(path), float32 (float64 for float64 logits), DEAD where there is no path
    ``labels``     (B, M, C) bool  the labels as a set
    =============  ==============  ===============================================================================
    """

    paths: Tensor
    lengths: Tensor
    log_probs: Tensor
    labels: Tensor


class _Live(NamedTuple):
    """Paths not yet ended: ids (B, W, t), log P (B, W), labels used (B, W, C + 1)."""

    paths: Tensor
    log_probs: Tensor
    used: Tensor


class _Limits(NamedTuple):
    """Fewest and most labels, numbers or (B,); no image has more than ``last``."""

    least: int | Tensor
    most: int | Tensor
    last: int


def beam_search(
    step: Step,
    tokens: Tensor,
    state: tuple[Tensor, ...],
    num_labels: int,
    *,
    width: int,
    min_len: int | Tensor = 0,
    max_len: int | Tensor | None = None,
    end_mode: str = 'always',
    mask_emitted: bool = True,
    constraints: LabelConstraints | None = None,
    length_penalty: float = 0.0,
    early_stop: bool = True,
) -> Beams:
    """The most probable label paths.

    Each step extends every live path by every label and keeps the best ``width``. With ``end_mode='always'`` every
    live path also goes, with END behind it, to the finished ones, of which the best ``width`` are kept. 'compete' is
    the paper's letter: END competes with the labels, and takes the slot of a live path where it wins. A search as
    wide as there are paths finds all of them, either way.

    Length limits are part of the process: END is masked before the softmax until ``min_len``, and a path of
    ``max_len`` labels ends with probability 1, so that the probabilities of all paths still sum to 1. Constraints are
    conditions on the path: applied after the softmax, they leave paths out and change no other's probability. So that
    a label known to be present is found however improbable it is, live paths compete only with those that have
    emitted as many of the known labels: ``width`` of each number are kept.

    The search stops as soon as no live path of any image can get among the finished, however it goes on: its
    log-probability only falls, and ``length_penalty`` lifts its rank at most to log P / (``max_len`` + 1) **
    ``length_penalty``. So stopping early never changes the result.

    For ``torch.compile(fullgraph=True)`` and export give ``max_len`` as a number. All steps are then taken, and
    constraints are refused, since how many paths are kept depends on them.

    Args:
        step (Callable): From the last ids (B, W), long, and the state to the logits (B, W, C + 1), END last, and the
            new state. W is 1 at first, then ``width`` (times one more than the most labels known to be present).
        tokens (Tensor): The ids to start with, shape (B, 1), long.
        state (tuple[Tensor, ...]): What ``step`` carries from step to step, each (B, 1, ...).
        num_labels (int): C; labels are 0 to C - 1, END is C.
        width (int): Beams, 1 or more; also how many paths are returned.
        min_len (int | Tensor): Fewest labels, a number or (B,), long. Where it is above ``max_len``, that one holds.
        max_len (int | Tensor, optional): Most labels, a number or (B,), long. Defaults to C, which is also the upper
            bound unless labels may repeat.
        end_mode (str): 'always' or 'compete'.
        mask_emitted (bool): Whether a label is emitted only once, which training must do as well.
        constraints (LabelConstraints, optional): What is known of the labels.
        length_penalty (float): Finished paths are ranked by log P / (number of labels + 1) ** ``length_penalty``, so
            that above 0 longer ones gain; ``log_probs`` stay log P. Live paths, equally long, are ranked by log P.
        early_stop (bool): Whether to look, every fourth step, if all images are done.

    Returns:
        Beams: T is the upper bound of the lengths. All log-probabilities of an image are DEAD if no path meets its
        constraints or, with constraints and a ``min_len`` or their ``count``, if none was found.

    Raises:
        UserError: For numbers out of range, or constraints while the search is being compiled or exported.
    """
    check_whole('width', width, 1)
    check_whole('num_labels', num_labels, 1)
    check_choice('end_mode', end_mode, END_MODES)
    check_number('length_penalty', length_penalty, 0)
    limits = _limits(min_len, max_len, num_labels, mask_emitted)
    known, banks = _known(constraints)
    live, finished = _start(tokens, num_labels, width)
    for t in range(limits.last):
        logits, state = step(tokens, state)
        log_probs = _step_log_probs(logits, live.used, t, limits, mask_emitted)
        if known is not None:
            log_probs = log_probs.masked_fill(~_possible(known, live.used, t, limits), DEAD)
        totals = _settle(live.log_probs[..., None] + log_probs)
        if end_mode == 'always':
            finished = _keep_best(finished, live.paths, totals[..., -1], t, num_labels, length_penalty)
            totals = totals[..., :-1]
        best, parents, tokens = _extend(totals, width, banks, known)
        state = tuple(_pick(part, parents) for part in state)
        live = _append(live, parents, tokens, best)
        if end_mode == 'compete':
            ended = tokens == num_labels
            finished = _keep_best(
                finished, live.paths, best.masked_fill(~ended, DEAD), t, num_labels, length_penalty
            )
            live = live._replace(log_probs=best.masked_fill(ended, DEAD))
        look = early_stop and t % _CHECK_EVERY == _CHECK_EVERY - 1 and not is_traced()
        if look and _decided(live.log_probs, finished, limits, length_penalty):
            break
    else:
        log_probs = live.log_probs
        if known is not None:
            log_probs = log_probs.masked_fill(
                ~_possible(known, live.used, limits.last, limits)[..., -1], DEAD
            )
        finished = _keep_best(finished, live.paths, log_probs, limits.last, num_labels, length_penalty)
    return _result(finished, num_labels, limits.last)


def is_traced() -> bool:
    """Whether what runs here is being recorded, so that nothing may depend on values."""
    return torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export() or torch.jit.is_tracing()


def _limits(min_len: int | Tensor, max_len: int | Tensor | None, num_labels: int, once: bool) -> _Limits:
    """Check the limits; a path without repetitions has at most C labels."""
    if not isinstance(min_len, Tensor):
        check_whole('min_len', min_len, 0)
    if isinstance(max_len, Tensor):
        if is_traced():
            raise UserError(
                'max_len must be a number, not a tensor, for the search to be compiled or exported'
            )
        most = max_len.clamp(max=num_labels) if once else max_len
        return _Limits(min_len, most, int(most.max()))
    most = num_labels if max_len is None else max_len
    check_whole('max_len', most, 0)
    most = min(most, num_labels) if once else most
    if not isinstance(min_len, Tensor) and min_len > most:
        raise UserError(f'min_len must not be above max_len and the number of labels, {most}, got {min_len}')
    return _Limits(min_len, most, most)


def _known(constraints: LabelConstraints | None) -> tuple[LabelConstraints | None, int]:
    """The constraints with what they imply, and how many banks of beams they need."""
    if constraints is None:
        return None, 1
    if is_traced():
        raise UserError(
            'constraints cannot be compiled or exported: how many beams they need depends on them'
        )
    known = implied(constraints)
    return known, 1 + int(known.present.sum(dim=1).max())


def _start(tokens: Tensor, num_labels: int, width: int) -> tuple[_Live, Beams]:
    """One empty path, with the start token before it, and no finished ones."""
    paths, alive = tokens[..., None], torch.zeros_like(tokens, dtype=torch.float32)
    used = torch.zeros_like(paths, dtype=torch.bool).expand(-1, -1, num_labels + 1)
    none = (alive + DEAD).expand(-1, width)
    finished = Beams(paths.expand(-1, width, -1), torch.zeros_like(none, dtype=torch.long), none, None)
    return _Live(paths, alive, used), finished


def _step_log_probs(logits: Tensor, used: Tensor, t: int, limits: _Limits, mask_emitted: bool) -> Tensor:
    """The log-probabilities of what comes next, shape (B, W, C + 1), DEAD for what cannot."""
    is_end = torch.arange(logits.shape[-1], device=logits.device) == logits.shape[-1] - 1
    blocked = used if mask_emitted else torch.zeros_like(used)
    if isinstance(limits.least, Tensor):
        blocked = blocked | (is_end & (t < limits.least[:, None, None]))
    elif t < limits.least:
        blocked = blocked | is_end
    logits = widen(logits)
    # Masked again after it: where everything is masked, the softmax is uniform.
    log_probs = logits.masked_fill(blocked, DEAD).log_softmax(dim=-1).masked_fill(blocked, DEAD)
    if not isinstance(limits.most, Tensor):
        return log_probs
    full = t >= limits.most[:, None, None]
    return log_probs.masked_fill(full & is_end, 0.0).masked_fill(full & ~is_end, DEAD)


def _possible(known: LabelConstraints, used: Tensor, t: int, limits: _Limits) -> Tensor:
    """What may come next under the constraints, shape (B, W, C + 1)."""
    most = limits.most
    room = most[:, None] - t if isinstance(most, Tensor) else torch.full((1, 1), most - t, device=used.device)
    if known.count is None:
        labels, end = allowed(known, used[..., :-1], room)
    else:
        count = known.count[:, None]
        labels, end = allowed(known, used[..., :-1], torch.where(count < 0, room, room.minimum(count - t)))
        end = end & ((count < 0) | (count == t))
    return torch.cat([labels, end[..., None]], dim=-1)


def _settle(log_probs: Tensor) -> Tensor:
    """A sum with DEAD in it is DEAD again."""
    return log_probs.masked_fill(log_probs < ALIVE, DEAD)


def _extend(
    totals: Tensor, width: int, banks: int, known: LabelConstraints | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The best extensions of each bank: log P, the paths they extend, and by what, each (B, banks * width).

    ``totals`` is (B, W, V), V = C or C + 1 with END. The paths of bank k have emitted k of the known labels, and lie
    at k * width and behind. A known label takes a path to the next bank.
    """
    size = totals.shape[-1]
    if banks == 1:
        best, index = _top(totals.flatten(1), width)
        return best, (index // size).masked_fill(best < ALIVE, 0), index % size
    slots = min(width, totals.shape[1])
    present = F.pad(known.present, (0, size - known.present.shape[1]))[:, None, None]
    by_bank = totals.unflatten(1, (-1, slots))
    missing = banks - by_bank.shape[1]
    stay = F.pad(by_bank.masked_fill(present, DEAD), (0, 0, 0, 0, 0, missing), value=DEAD)
    move = F.pad(by_bank.masked_fill(~present, DEAD), (0, 0, 0, 0, 1, missing - 1), value=DEAD)
    best, index = _top(torch.cat([stay, move], dim=2).flatten(2), width)
    slot = index // size
    bank = torch.arange(banks, device=slot.device)[:, None] - (slot >= slots).long()
    parents = (bank * slots + slot % slots).masked_fill(best < ALIVE, 0)
    return best.flatten(1), parents.flatten(1), (index % size).flatten(1)


def _top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """``topk`` over the last dimension, filled up with DEAD where there are fewer."""
    best, index = F.pad(scores, (0, count), value=DEAD).topk(count)
    return best, index


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """The rows of x (B, W, ...) at index (B, N), shape (B, N, ...)."""
    first = torch.arange(x.shape[0], device=x.device)[:, None] * x.shape[1]
    rows = x.flatten(0, 1).index_select(0, (first + index).flatten())  # several times as fast as x[index]
    return rows.reshape(-1, index.shape[1], *x.shape[2:])


def _append(live: _Live, parents: Tensor, tokens: Tensor, log_probs: Tensor) -> _Live:
    """The paths at ``parents``, each with one more token."""
    emitted = tokens[..., None] == torch.arange(live.used.shape[-1], device=tokens.device)
    paths = torch.cat([_pick(live.paths, parents), tokens[..., None]], dim=-1)
    return _Live(paths, log_probs, _pick(live.used, parents) | emitted)


def _keep_best(
    finished: Beams, paths: Tensor, log_probs: Tensor, length: int, end: int, penalty: float
) -> Beams:
    """The best of what is finished and of ``paths``, which have ``length`` labels."""
    old = F.pad(finished.paths, (0, paths.shape[-1] - finished.paths.shape[-1]), value=end)
    paths = torch.cat([old, paths], dim=1)
    lengths = torch.cat([finished.lengths, torch.full_like(log_probs, length, dtype=torch.long)], dim=1)
    log_probs = torch.cat([finished.log_probs, log_probs], dim=1)
    index = _rank(log_probs, lengths, penalty).topk(old.shape[1]).indices
    return Beams(_pick(paths, index), lengths.gather(1, index), log_probs.gather(1, index), None)


def _rank(log_probs: Tensor, lengths: int | Tensor, penalty: float) -> Tensor:
    """What finished paths are ranked by."""
    return log_probs if penalty == 0 else _settle(log_probs) / (lengths + 1) ** penalty


def _decided(live: Tensor, finished: Beams, limits: _Limits, penalty: float) -> Tensor:
    """Whether no live path of any image can get among the finished."""
    best = live.amax(dim=1)
    hope = _rank(best, limits.most, penalty)
    least = _rank(finished.log_probs, finished.lengths, penalty).amin(dim=1)
    return ((hope < least) | (best < ALIVE)).all()


def _result(finished: Beams, end: int, last: int) -> Beams:
    """Without the start token, at full length, dead paths empty, and the labels as sets."""
    dead = finished.log_probs < ALIVE
    paths = F.pad(finished.paths, (0, last + 1 - finished.paths.shape[-1]), value=end)[..., 1:]
    paths = paths.masked_fill(dead[..., None], end)
    counts = torch.zeros_like(finished.log_probs[..., None].expand(-1, -1, end + 1), dtype=torch.long)
    labels = counts.scatter(2, paths, torch.ones_like(paths))[..., :-1] > 0
    return Beams(paths, finished.lengths.masked_fill(dead, 0), finished.log_probs, labels)
