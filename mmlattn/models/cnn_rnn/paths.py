"""From sets of labels to the paths a decoder learns (Wang et al., CNN-RNN, CVPR 2016, section 3).

A path is the labels of an image in some order, then END. Tokens are the labels 0..C-1, ``END = C`` and
``START = C + 1``, which is only ever an input. Behind the end there is ``IGNORE``, the index that
cross-entropy passes over.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmlattn.utils.arguments import check_whole

__all__ = ['IGNORE', 'emitted_before', 'frequency_rank', 'given_keys', 'path_inputs', 'path_targets']

IGNORE = -100


def frequency_rank(counts: Tensor) -> Tensor:
    """The place of each label when the most frequent comes first.

    Args:
        counts (Tensor): Images with each label, shape (C,).

    Returns:
        Tensor: Shape (C,), long: 0 for the most frequent label; of equally frequent ones the lower index is first.
    """
    return counts.argsort(descending=True, stable=True).argsort()


def given_keys(lists: list[Tensor], num_labels: int) -> Tensor:
    """Keys that keep the labels of each image in the order in which they are listed.

    Args:
        lists (list[Tensor]): The label indices of each image, long, shape (n_i,) with any n_i. A label listed more
            than once counts where it is listed first.
        num_labels (int): C.

    Returns:
        Tensor: Shape (B, C), long: the position in the list; behind all of them where a label is not listed.
    """
    # Padding is written into a column of its own, which is then dropped.
    listed = pad_sequence(lists, batch_first=True, padding_value=num_labels).long()
    batch, longest = listed.shape
    positions = torch.arange(longest, device=listed.device).expand(batch, -1)
    keys = listed.new_full((batch, num_labels + 1), longest)
    return keys.scatter_reduce(1, listed, positions, reduce='amin')[:, :num_labels]


def path_targets(labels: Tensor, keys: Tensor, max_len: int | None = None) -> Tensor:
    """The path of each image: its labels by ascending key, END, then IGNORE.

    The keys are the whole choice of order: ``frequency_rank`` for the frequent ones first (as in the paper), its
    negative for the rare ones first, random numbers of shape (B, C) for a new order each time or of shape (C,) for
    one random order, and ``given_keys``.

    With ``max_len`` an image keeps its first ``max_len`` labels, and a path that has so many has no END, cut or not:
    the decoder completes it there with probability 1, so there is nothing to learn.

    Args:
        labels (Tensor): Which labels an image has, shape (B, C), bool.
        keys (Tensor): Finite, shape (C,) or (B, C); of equal ones the lower index is first.
        max_len (int | None): Most labels of a path, at least 1.

    Returns:
        Tensor: Shape (B, T), long, with T the most labels of an image + 1, at most ``max_len``. An image without
        labels has END alone.
    """
    if max_len is not None:
        check_whole('max_len', max_len, least=1)
    num_labels = labels.shape[1]
    counts = labels.sum(dim=1, keepdim=True)
    steps = int(counts.max()) + 1
    if max_len is not None:
        steps = min(steps, max_len)

    behind_all = torch.finfo(keys.dtype).max if keys.is_floating_point() else torch.iinfo(keys.dtype).max
    order = keys.expand_as(labels).masked_fill(~labels, behind_all).argsort(dim=1, stable=True)
    paths = F.pad(order, (0, 1))[:, :steps]
    step = torch.arange(steps, device=labels.device)
    paths = paths.masked_fill(step == counts, num_labels)
    return paths.masked_fill(step > counts, IGNORE)


def path_inputs(targets: Tensor, num_labels: int) -> Tensor:
    """What the decoder reads when it is to emit ``targets`` (teacher forcing): START, then each target.

    Args:
        targets (Tensor): Of ``path_targets``, shape (B, T).
        num_labels (int): C.

    Returns:
        Tensor: Shape (B, T), long, all of them tokens: END stands where the path has ended.
    """
    emitted = targets[:, :-1]
    return F.pad(emitted.masked_fill(emitted == IGNORE, num_labels), (1, 0), value=num_labels + 1)


def emitted_before(tokens: Tensor, num_labels: int) -> Tensor:
    """Labels among the inputs up to and including step t: those that may not be emitted again at t.

    Args:
        tokens (Tensor): Inputs of the decoder, shape (B, T).
        num_labels (int): C.

    Returns:
        Tensor: Shape (B, T, C), bool.
    """
    read = tokens[..., None] == torch.arange(num_labels, device=tokens.device)
    return read.long().cumsum(dim=1) > 0  # exporters add up no bools
