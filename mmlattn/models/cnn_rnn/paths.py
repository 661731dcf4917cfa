"""Label paths: what a decoder learns, and decoders run along paths (Wang et al., CNN-RNN, CVPR 2016, section 3).

A path is the labels of a picture in some order, then END. Tokens are the labels 0 ... C - 1, END = C, and
START = C + 1, which is only ever read. B is the number of pictures, T of steps, C of labels. A decoder has
``context(features)``, ``start(context)`` and ``step(tokens, state, context)`` as ``JointDecoder`` has.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmlattn.models.layers.precision import widen

IGNORE = -100
"""The target behind the end of a path, which cross-entropy passes over."""

DEAD = -1e9
"""Log-probability of what cannot be: finite, since exporters and differences of infinities are not to be trusted."""

ALIVE = -1e8
"""Anything below is dead: a sum of log-probabilities with one ``DEAD`` in it is."""


def frequency_rank(counts: Tensor) -> Tensor:
    """Rank labels by how many pictures have them, (C,): 0 is the most frequent, of equal ones the lower index."""
    return counts.argsort(descending=True, stable=True).argsort()


def listed_keys(lists: list[Tensor], num_classes: int) -> Tensor:
    """Keys (B, C) for ``path_targets`` that keep the order of B lists (n,) long, and the first of duplicates."""
    # Padding is written into a column of its own, which is then dropped.
    listed = pad_sequence(lists, batch_first=True, padding_value=num_classes).long()
    batch, longest = listed.shape
    positions = torch.arange(longest, device=listed.device).expand(batch, -1)
    keys = listed.new_full((batch, num_classes + 1), longest)
    return keys.scatter_reduce(1, listed, positions, reduce='amin')[:, :num_classes]


def path_targets(labels: Tensor, keys: Tensor) -> Tensor:
    """The path of each picture, (B, T) long: its ``labels`` (B, C) bool by ascending key, END, then ``IGNORE``.

    The ``keys``, (C,) or (B, C), are the whole choice of order: ``frequency_rank`` puts the frequent ones first, as
    in the paper, its negative the rare ones, and random numbers make a random order. Of equal keys the lower index is
    first.
    """
    counts = labels.sum(dim=1, keepdim=True)
    steps = int(counts.max()) + 1
    behind_all = torch.finfo(keys.dtype).max if keys.is_floating_point() else torch.iinfo(keys.dtype).max
    order = keys.expand_as(labels).masked_fill(~labels, behind_all).argsort(dim=1, stable=True)
    step = torch.arange(steps, device=labels.device)
    paths = F.pad(order, (0, 1))[:, :steps].masked_fill(step == counts, labels.shape[1])
    return paths.masked_fill(step > counts, IGNORE)


def path_inputs(targets: Tensor, num_classes: int) -> Tensor:
    """What a decoder reads to emit ``targets`` (B, T): START, then each target; END again behind the end."""
    emitted = targets[:, :-1]
    return F.pad(emitted.masked_fill(emitted == IGNORE, num_classes), (1, 0), value=num_classes + 1)


def emitted_before(tokens: Tensor, num_classes: int) -> Tensor:
    """Which labels are among the tokens read up to each step, so that they may not come again: (B, T, C) bool."""
    read = tokens[..., None] == torch.arange(num_classes, device=tokens.device)
    # Exporters add up no bools.
    return read.long().cumsum(dim=1) > 0


def path_log_probs(logits: Tensor, before: Tensor, may_end: bool = True) -> Tensor:
    """The softmax of raw scores s_t, log P(l_t | I, l_1 ... l_t-1): both (B, T, C + 1), END last.

    No label emitted ``before`` (B, T, C) bool comes again. The paper does not say so; with it the probabilities of
    all ordered sets of labels sum to 1. What may not come is ``DEAD``. The result is float32 at least.
    """
    blocked = F.pad(before, (0, 1), value=not may_end)
    # Masked again afterwards: where nothing may come the softmax is uniform.
    return widen(logits).masked_fill(blocked, DEAD).log_softmax(dim=-1).masked_fill(blocked, DEAD)


def start_tokens(state: tuple[Tensor, ...], num_classes: int) -> Tensor:
    """START for each picture, (B, 1) long, for a decoder in its first state."""
    return torch.full_like(state[0][..., 0], num_classes + 1, dtype=torch.long)


def follow_paths(decoder: nn.Module, tokens: Tensor, context) -> Tensor:
    """Raw scores of each step when a decoder reads ``tokens`` (B, T): (B, T, C + 1), at least float32."""
    state, logits = decoder.start(context), []
    for token in tokens.split(1, dim=1):
        scores, state = decoder.step(token, state, context)
        logits.append(scores)
    return widen(torch.cat(logits, dim=1))


def steps_along(decoder: nn.Module, tokens: Tensor, context, num_classes: int) -> Tensor:
    """``path_log_probs`` of each step when a decoder reads ``tokens`` (B, T): (B, T, C + 1)."""
    return path_log_probs(follow_paths(decoder, tokens, context), emitted_before(tokens, num_classes))


def path_loss(
    decoder: nn.Module, context, labels: Tensor, keys: Tensor, unknown: Tensor | None = None
) -> Tensor:
    """The paper's loss: the mean of -log P(l_t | I, l_1 ... l_t-1) over all steps of the batch.

    The decoder reads the true path, whatever it would emit itself. ``labels`` and ``keys`` as for ``path_targets``.
    Labels that are ``unknown``, (B, C) bool, are on no path, and no step is asked to prefer another one to them: P is
    then of what is known, P(l_t | I, l_1 ... l_t-1, no unknown label), so their scores get no gradient.
    """
    targets = path_targets(labels, keys)
    tokens, num_classes = path_inputs(targets, labels.shape[1]), labels.shape[1]
    logits = follow_paths(decoder, tokens, context)
    log_probs = path_log_probs(logits, blocked_labels(emitted_before(tokens, num_classes), unknown))
    return F.nll_loss(log_probs.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)


def blocked_labels(before: Tensor, unknown: Tensor | None, masked: bool = True) -> Tensor:
    """Labels that may not come: those ``unknown`` (B, C), and if ``masked`` those emitted ``before`` (B, T, C)."""
    blocked = before if masked else torch.zeros_like(before)
    return blocked if unknown is None else blocked | unknown[:, None]


class FreeRun(NamedTuple):
    """Raw scores (B, T, C + 1), at least float32; the labels emitted (B, T); those emitted before (B, T, C) bool."""

    logits: Tensor
    emitted: Tensor
    before: Tensor


def decode_freely(
    decoder: nn.Module,
    context,
    num_classes: int,
    num_steps: int,
    masked: bool = True,
    with_end: bool = False,
    unknown: Tensor | None = None,
) -> FreeRun:
    """Let a decoder read its own best token at each of T steps: ``masked``, no label twice; ``with_end``, END too.

    What is ``unknown`` of the pictures, (B, C) bool, is not emitted.
    """
    state = decoder.start(context)
    token, logits, emitted, chosen = start_tokens(state, num_classes), [], [], []
    every = torch.arange(num_classes, device=token.device)
    before = (token == every)[:, None]
    for _ in range(num_steps):
        scores, state = decoder.step(token, state, context)
        logits.append(widen(scores))
        chosen.append(before)
        best = logits[-1].detach() if with_end else logits[-1][..., :-1].detach()
        blocked = F.pad(blocked_labels(before, unknown, masked), (0, int(with_end)))
        token = best.masked_fill(blocked, DEAD).argmax(dim=-1)
        emitted.append(token)
        before = before | (token[..., None] == every)
    return FreeRun(torch.cat(logits, dim=1), torch.cat(emitted, dim=1), torch.cat(chosen, dim=1))


def path_attention(decoder: nn.Module, tokens: Tensor, context) -> Tensor:
    """Where an attention decoder that reads ``tokens`` (B, T) looks: (B, T, N), sums to 1 over the N locations."""
    state, weights = decoder.start(context), []
    for token in tokens.split(1, dim=1):
        weights.append(decoder.attend(state[0], context))
        _, state = decoder.step(token, state, context)
    return widen(torch.cat(weights, dim=1))


def label_attention(looks: Tensor, emitted: Tensor, num_classes: int) -> Tensor:
    """Where the step looked that was first to emit each label: (B, C, N), all zero for labels never emitted.

    ``looks`` (B, T, N) come from ``path_attention``; ``emitted`` (B, T) long is the token of each step.
    """
    hits = emitted[..., None] == torch.arange(num_classes, device=looks.device)
    first = hits & (hits.long().cumsum(dim=1) == 1)
    return first.to(looks.dtype).transpose(1, 2) @ looks
