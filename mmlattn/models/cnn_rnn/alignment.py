"""Training a label decoder without an order of the labels.

The decoder reads what it emits itself, and the targets follow it. MLA and PLA (Yazici et al., *Orderless Recurrent
Models for Multi-label Classification*, CVPR 2020) put the labels of a picture into the order that suits its path; the
multi-order RNN (Dutta et al., *Recurrent Image Annotation with Explicit Inter-Label Dependencies*, ECCV 2020) asks at
every step for all labels that are still missing. B is the number of pictures, T of steps, C of labels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmlattn.models.layers.precision import widen

from .paths import IGNORE, blocked_labels, decode_freely, path_log_probs, path_targets

#: The authors' code lets a decoder repeat itself in training. With ``_masked`` a label that was emitted does not come
#: again, as in the search that predicts.
ALIGNMENTS = ('mla', 'pla', 'multi', 'mla_masked', 'pla_masked', 'multi_masked')


def orderless_loss(
    decoder: nn.Module, context, labels: Tensor, align: str, num_steps: int, unknown: Tensor | None = None
) -> Tensor:
    """Let a decoder run freely, and hold its own path against the ``labels`` (B, C) bool.

    Args:
        decoder (nn.Module): See ``paths.py``.
        context: Of the pictures, ``decoder.context(features)``.
        labels (Tensor): Shape (B, C) bool.
        align (str): One of ``ALIGNMENTS``. 'mla' and 'pla' are the authors' code
            (voyazici/orderless-rnn-classification, commit 51f6f3e), 'multi' too (ayushidutta/multi-order-rnn,
            900dedd). '..._masked': no label is emitted twice, and END is not read; 'pla_masked' aligns by
            ``align_pla_in_time``, and all steps count for 'multi_masked'.
        num_steps (int): Steps of 'multi' and 'multi_masked'; the fewest of 'pla', which looks for right labels behind
            the end too. The others take as many as the labels and END need.
        unknown (Tensor, optional): Labels of which nothing is known, (B, C) bool. They are not emitted, no step is
            asked to prefer another one to them, and their scores get no gradient.
    """
    way, _, masked = align.partition('_')
    needed = int(labels.sum(dim=1).max()) + 1
    steps = dict(multi=num_steps, pla=needed if masked else max(needed, num_steps), mla=needed)[way]
    run = decode_freely(
        decoder,
        context,
        labels.shape[1],
        steps,
        masked=bool(masked),
        with_end=align in ('mla', 'pla'),
        unknown=unknown,
    )
    if way == 'multi':
        return multi_order_loss(run.logits[..., :-1], labels, run.before, bool(masked), unknown)
    log_probs = path_log_probs(run.logits, blocked_labels(run.before, unknown, bool(masked)))
    if way == 'mla':
        targets = align_mla(log_probs, labels)
    elif masked:
        targets = align_pla_in_time(log_probs, run.emitted, labels)
    else:
        targets = align_pla(log_probs, run.emitted, labels)
    return F.nll_loss(log_probs.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)


def align_mla(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Minimal loss alignment: the order of the labels under which the path's cross-entropy is least.

    With n labels, they get the first n steps, by the Hungarian method on the cost -log p_t(l), and END the step
    after. Where T steps are too few, the T labels that cost least get them, and END none. Labels already emitted may
    be masked in ``log_probs``: an order that avoids them always exists.

    Args:
        log_probs (Tensor): Of each step of the path that the decoder emitted, shape (B, T, C + 1).
        labels (Tensor): Which labels a picture has, shape (B, C) bool.

    Returns:
        Tensor: Targets, shape (B, T) long: labels, END, then ``IGNORE``.
    """
    return _align(log_probs, labels, kept=labels.new_zeros(log_probs[..., :-1].shape))


def align_pla(log_probs: Tensor, emitted: Tensor, labels: Tensor) -> Tensor:
    """Predicted label alignment as in the authors' code: what was emitted is put in its place, the rest is assigned.

    Of n labels, those among the tokens ``emitted`` (B, T) within the first n steps go to that step, the first one if
    there are several, each by changing places with the label there; at the start the labels ascend. Labels emitted
    later stay where that leaves them. Those never emitted share their places where they cost least.

    Args:
        log_probs (Tensor): As for ``align_mla``, with more steps than any picture has labels.
        emitted (Tensor): Tokens, END among them, shape (B, T).
        labels (Tensor): Shape (B, C) bool.
    """
    num_classes, steps = labels.shape[1], emitted.shape[1]
    ascending = path_targets(labels, torch.arange(num_classes, device=labels.device))
    places = F.pad(ascending, (0, steps - ascending.shape[1]), value=IGNORE).cpu().numpy()
    for path, tokens, members in zip(places, emitted.cpu().numpy(), labels.cpu().numpy(), strict=True):
        right = set(np.flatnonzero(members)) & set(tokens)
        for step, token in enumerate(tokens[: members.sum()]):
            if token in right:
                right.remove(token)
                path[path == token], path[step] = path[step], token
    targets = torch.from_numpy(places).to(labels.device)
    tokens = torch.arange(num_classes, device=labels.device)
    never = labels & ~(emitted[..., None] == tokens).any(dim=1)
    is_open = ((targets[..., None] == tokens) & never[:, None]).any(dim=2)
    return _assign(log_probs, is_open, never).where(is_open, targets)


def align_pla_in_time(log_probs: Tensor, emitted: Tensor, labels: Tensor) -> Tensor:
    """Predicted label alignment as the paper words it: labels stay where they were emitted, the others are assigned.

    As ``align_mla``, but of a picture with n labels those among the tokens ``emitted`` (B, T) within the first n
    steps stay at that step, the first one if there are several. One emitted later is as free as one never emitted.
    """
    tokens = torch.arange(labels.shape[1], device=labels.device)
    right = (emitted[..., None] == tokens) & labels[:, None]
    step = torch.arange(emitted.shape[1], device=labels.device)[:, None]
    within = step < labels.sum(dim=1)[:, None, None]
    return _align(log_probs, labels, kept=right & within & (right.cumsum(dim=1) == 1))


def _align(log_probs: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
    """Targets with the labels ``kept``, shape (B, T, C), at their steps, and the rest where it costs least."""
    counts = labels.sum(dim=1, keepdim=True)
    step = torch.arange(log_probs.shape[1], device=labels.device)
    taken = kept.any(dim=2)
    rest = _assign(log_probs, (step < counts) & ~taken, labels & ~kept.any(dim=1))
    targets = rest.where(~taken, kept.long().argmax(dim=2))
    return targets.masked_fill(step == counts, labels.shape[1])


def _assign(log_probs: Tensor, steps: Tensor, labels: Tensor) -> Tensor:
    """The labels of each picture, (B, C) bool, on the chosen steps, (B, T) bool, one each; else ``IGNORE``.

    The whole batch goes to the CPU at once. There the loop is over pictures, because no library has a batched
    Hungarian method; n labels take O(n^3).
    """
    # Takes over a second to import, for these two alignments alone.
    from scipy.optimize import linear_sum_assignment

    # Scores that overflowed, as happens under a gradient scaler, must not end the training here.
    scores = log_probs.detach().nan_to_num().cpu().numpy()
    targets = np.full(steps.shape, IGNORE)
    masks = steps.cpu().numpy(), labels.cpu().numpy()
    for image, (open_steps, members) in enumerate(zip(*masks, strict=True)):
        rows, columns = np.flatnonzero(open_steps), np.flatnonzero(members)
        row, column = linear_sum_assignment(scores[image][np.ix_(rows, columns)], maximize=True)
        targets[image, rows[row]] = columns[column]
    return torch.from_numpy(targets).to(labels.device)


def multi_order_loss(
    logits: Tensor,
    labels: Tensor,
    before: Tensor,
    every_step: bool = False,
    unknown: Tensor | None = None,
) -> Tensor:
    """The loss of the multi-order RNN: at each step, every label of the picture that was not emitted before.

        L = 1/B sum_b sum_{t < n_b} sum_c BCE(sigmoid(z_btc), [c is a label of b, not emitted before t])

    z (B, T, C) are the ``logits`` without END, ``labels`` (B, C) and ``before`` (B, T, C), those emitted before each
    step, are bool. As many steps count as a picture has labels, n_b, none of a picture without any. With
    ``every_step`` all T count: later ones learn that nothing is left, where else ``fuse_steps`` reads what was not
    trained. Labels that are ``unknown``, (B, C) bool, are in no sum.
    """
    wide, missing = widen(logits), labels[:, None] & ~before
    losses = F.binary_cross_entropy_with_logits(wide, missing.to(wide.dtype), reduction='none')
    if not every_step:
        step = torch.arange(logits.shape[1], device=logits.device)
        losses = losses * (step < labels.sum(dim=1, keepdim=True))[..., None]
    if unknown is not None:
        losses = losses.masked_fill(unknown[:, None], 0)
    return losses.sum() / len(labels)


def fuse_steps(logits: Tensor) -> Tensor:
    """Scores of the multi-order RNN: the maximum over the steps, (B, T, C) to (B, C)."""
    return logits.amax(dim=1)
