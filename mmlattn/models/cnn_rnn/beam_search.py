"""Beam search over label paths, for all pictures and beams at once (Wang et al., CNN-RNN, CVPR 2016, section 3.4).

A path is labels and END, and its probability is the product of its steps'. When a path ends, and whether END takes
the place of a label, is decided in ``beam_search`` alone. B is the number of pictures, W of live paths of each, M of
finished ones, C of labels.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmlattn.utils.arguments import check_choice, check_whole
from mmlattn.utils.errors import UserError

from .constraints import LabelConstraints, allowed
from .paths import ALIVE, DEAD, path_log_probs

END_MODES = ('always', 'compete')

CHECK_EVERY = 4
"""Steps; asking whether all pictures are done waits for the device."""


class Beams(NamedTuple):
    """The best paths, best first."""

    paths: Tensor
    """(B, M, T) long, labels in order of emission, END behind the last."""
    lengths: Tensor
    """(B, M) long, how many labels."""
    log_probs: Tensor
    """(B, M), log P(path), at least float32, ``DEAD`` where there is no path."""
    labels: Tensor
    """(B, M, C) bool, the labels as a set."""


class _Live(NamedTuple):
    """Paths that have not ended: START and ids (B, W, t), their log P (B, W), the labels on them (B, W, C)."""

    paths: Tensor
    log_probs: Tensor
    used: Tensor


class _Finished(NamedTuple):
    """Paths that have ended: START, ids and END (B, M, t), and their log P (B, M), best first."""

    paths: Tensor
    log_probs: Tensor


def beam_search(
    step: Callable[[Tensor, tuple], tuple[Tensor, tuple]],
    tokens: Tensor,
    state: tuple[Tensor, ...],
    num_classes: int,
    *,
    width: int,
    min_len: int = 0,
    max_len: int | None = None,
    end_mode: str = 'always',
    constraints: LabelConstraints | None = None,
) -> Beams:
    """Find the most probable label paths.

    Each step extends every live path by every label and keeps the best ``width``; as wide as there are paths it finds
    all of them. The limits are part of the process: END is masked before the softmax until ``min_len``, and a path of
    ``max_len`` labels ends with probability 1, so the probabilities of all paths still sum to 1.

    Constraints are conditions on the path: applied after the softmax, they leave paths out and change no other's
    probability. So that a label known to be present is found however improbable it is, live paths compete only with
    those that have emitted as many of the present labels: ``width`` of each number are kept.

    The search stops once no live path can get among the finished ones, since its probability only falls. While it is
    compiled or exported all steps are taken, and constraints are refused: how many paths are kept depends on them.

    Args:
        step (Callable): From the last ids (B, W) long and the state to logits (B, W, C + 1), END last, and the new
            state. W is 1 at first.
        tokens (Tensor): START, shape (B, 1) long.
        state (tuple[Tensor, ...]): What ``step`` carries from step to step, each (B, 1, ...).
        num_classes (int): C.
        width (int): Beams; also M, how many paths are returned.
        min_len (int): Fewest labels.
        max_len (int, optional): T, most labels; C where it is more, and by default.
        end_mode (str): 'always': every live path also goes, with END behind it, to the finished ones. 'compete', the
            paper's letter: END competes with the labels and takes the place of a live path where it wins.
        constraints (LabelConstraints, optional): What is known of the labels, from ``implied``.

    Returns:
        Beams: All ``DEAD`` for a picture if no path meets its constraints or, with constraints and a ``min_len`` or
        their ``count``, if none was found.

    Raises:
        UserError: For numbers out of range, or constraints while the search is compiled or exported.
    """
    last = _check(num_classes, width, min_len, max_len, end_mode)
    banks = 1 if constraints is None else _count_banks(constraints)
    live, finished = _start(tokens, num_classes, width)
    for t in range(last):
        logits, state = step(tokens, state)
        log_probs = path_log_probs(logits, live.used, may_end=t >= min_len)
        totals = _condition(live.log_probs[..., None] + log_probs, constraints, live.used, last - t)
        if end_mode == 'always':
            finished = _keep_best(finished, live.paths, totals[..., -1], num_classes)
            totals = totals[..., :-1]
        best, parents, tokens = _extend(totals, width, banks, constraints)
        state = tuple(_pick(part, parents) for part in state)
        live = _append(live, parents, tokens, best)
        if end_mode == 'compete':
            ended = tokens == num_classes
            finished = _keep_best(finished, live.paths, best.masked_fill(~ended, DEAD), num_classes)
            live = live._replace(log_probs=best.masked_fill(ended, DEAD))
        look = t % CHECK_EVERY == CHECK_EVERY - 1 and not is_traced()
        if look and _decided(live, finished):
            break
    else:
        # Behind max_len labels END is certain.
        log_probs = live.log_probs
        if constraints is not None:
            log_probs = log_probs.masked_fill(~allowed(constraints, live.used, 0)[1], DEAD)
        finished = _keep_best(finished, live.paths, log_probs, num_classes)
    return _result(finished, num_classes, last)


def is_traced() -> bool:
    """Whether what runs here is being recorded, so that nothing may depend on values."""
    return torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export() or torch.jit.is_tracing()


def _check(num_classes: int, width: int, min_len: int, max_len: int | None, end_mode: str) -> int:
    """Check the settings; the most labels that a path may have."""
    check_whole('width', width, 1)
    check_whole('num_classes', num_classes, 1)
    check_whole('min_len', min_len, 0)
    check_choice('end_mode', end_mode, END_MODES)
    if max_len is not None:
        check_whole('max_len', max_len, 0)
    most = num_classes if max_len is None else min(max_len, num_classes)
    if min_len > most:
        raise UserError(f'min_len must not be above max_len and the number of labels, {most}, got {min_len}')
    return most


def _start(tokens: Tensor, num_classes: int, width: int) -> tuple[_Live, _Finished]:
    """One empty path, and no finished ones."""
    paths, alive = tokens[..., None], torch.zeros_like(tokens, dtype=torch.float32)
    used = torch.zeros_like(paths, dtype=torch.bool).expand(-1, -1, num_classes)
    return _Live(paths, alive, used), _Finished(paths.expand(-1, width, -1), (alive + DEAD).expand(-1, width))


def _condition(totals: Tensor, constraints: LabelConstraints | None, used: Tensor, room: int) -> Tensor:
    """Leave out extensions (B, W, C + 1) that constraints forbid; sums with ``DEAD`` in them are ``DEAD`` again."""
    dead = totals < ALIVE
    if constraints is not None:
        labels, end = allowed(constraints, used, room)
        dead = dead | ~torch.cat([labels, end[..., None]], dim=-1)
    return totals.masked_fill(dead, DEAD)


def _count_banks(constraints: LabelConstraints) -> int:
    """How many banks of beams there are: one for each number of present labels that a path can have emitted."""
    if is_traced():
        raise UserError('constraints cannot be compiled or exported: the number of beams depends on them')
    return 1 + int(constraints.present.sum(dim=1).max())


def _extend(
    totals: Tensor, width: int, banks: int, constraints: LabelConstraints | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The best extensions of each bank: log P, the paths they extend, and by what, each (B, banks * width).

    ``totals`` is (B, W, V), V = C or C + 1 with END. The paths of bank k have emitted k of the present labels, and
    lie at k * width and behind. A present label takes a path to the next bank.
    """
    size = totals.shape[-1]
    if banks == 1:
        # Filled up where there are fewer.
        best, index = F.pad(totals.flatten(1), (0, width), value=DEAD).topk(width)
        return best, (index // size).masked_fill(best < ALIVE, 0), index % size
    slots = min(width, totals.shape[1])
    present = F.pad(constraints.present, (0, size - constraints.present.shape[1]))[:, None, None]
    by_bank = totals.unflatten(1, (-1, slots))
    missing = banks - by_bank.shape[1]
    stay = F.pad(by_bank.masked_fill(present, DEAD), (0, 0, 0, 0, 0, missing), value=DEAD)
    move = F.pad(by_bank.masked_fill(~present, DEAD), (0, 0, 0, 0, 1, missing - 1), value=DEAD)
    best, index = F.pad(torch.cat([stay, move], dim=2).flatten(2), (0, width), value=DEAD).topk(width)
    slot = index // size
    bank = torch.arange(banks, device=slot.device)[:, None] - (slot >= slots).long()
    parents = (bank * slots + slot % slots).masked_fill(best < ALIVE, 0)
    return best.flatten(1), parents.flatten(1), (index % size).flatten(1)


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """The rows of x (B, W, ...) at index (B, N), shape (B, N, ...)."""
    first = torch.arange(x.shape[0], device=x.device)[:, None] * x.shape[1]
    # Several times as fast as x[index].
    rows = x.flatten(0, 1).index_select(0, (first + index).flatten())
    return rows.reshape(-1, index.shape[1], *x.shape[2:])


def _append(live: _Live, parents: Tensor, tokens: Tensor, log_probs: Tensor) -> _Live:
    """The paths at ``parents``, each with one more token."""
    emitted = tokens[..., None] == torch.arange(live.used.shape[-1], device=tokens.device)
    paths = torch.cat([_pick(live.paths, parents), tokens[..., None]], dim=-1)
    return _Live(paths, log_probs, _pick(live.used, parents) | emitted)


def _keep_best(finished: _Finished, paths: Tensor, log_probs: Tensor, end: int) -> _Finished:
    """The best of the finished paths and of ``paths``, which end here."""
    old = F.pad(finished.paths, (0, paths.shape[-1] - finished.paths.shape[-1]), value=end)
    together = torch.cat([finished.log_probs, log_probs], dim=1)
    best, index = together.topk(finished.log_probs.shape[1])
    return _Finished(_pick(torch.cat([old, paths], dim=1), index), best)


def _decided(live: _Live, finished: _Finished) -> Tensor:
    """Whether no live path of any picture can get among the finished."""
    best = live.log_probs.amax(dim=1)
    return ((best < finished.log_probs.amin(dim=1)) | (best < ALIVE)).all()


def _result(finished: _Finished, end: int, last: int) -> Beams:
    """Without START, at full length, dead paths empty, with the labels as sets."""
    dead = finished.log_probs < ALIVE
    paths = F.pad(finished.paths, (0, last + 1 - finished.paths.shape[-1]), value=end)[..., 1:]
    paths = paths.masked_fill(dead[..., None], end)
    counts = torch.zeros_like(finished.log_probs[..., None].expand(-1, -1, end + 1), dtype=torch.long)
    labels = counts.scatter(2, paths, torch.ones_like(paths))[..., :-1] > 0
    return Beams(paths, (paths < end).sum(dim=-1), finished.log_probs, labels)
