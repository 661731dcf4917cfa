"""Reading CSRA classifiers in every spelling they are found in.

Ours is packed: ``weight`` (H, C, D), row [h, c], and an optional ``bias`` (C,). Others, relative to the head (weights
have shape (C, D, 1, 1) or (C, D) for each head):

=========  ===========================================  ================================================
layout     keys                                         found in
=========  ===========================================  ================================================
mm         ``csra_heads.{i}.head.weight``               mmpretrain's ``CSRAClsHead``
A, B       ``[classifier.]multi_head.{i}.head.weight``  the official ResNet and ViT releases
L1         ``[classifier.]fc{i+1}.weight``              older official ResNet files
L2         ``head{i+1}.weight``, ``.bias``              the official COCO ViT files; plus an unused ``head.*``
linear     ``fc.weight``, ``fc.bias``                   ``MultiLabelLinearClsHead``: training-free CSRA
=========  ===========================================  ================================================
"""

import re

import torch
from torch import Tensor, nn

from mmlattn.utils.errors import UserError

# Each with the number of its first head.
_PER_HEAD = (
    (re.compile(r'csra_heads\.(\d+)\.head\.(weight)'), 0),
    (re.compile(r'(?:classifier\.)?multi_head\.(\d+)\.head\.(weight)'), 0),
    (re.compile(r'(?:classifier\.)?fc(\d+)\.(weight)'), 1),
    (re.compile(r'head(\d+)\.(weight|bias)'), 1),
)


def to_packed(state_dict: dict, prefix: str, head: nn.Module) -> None:
    """Rewrite a foreign layout of the keys under ``prefix`` to that of the ``CSRAHead`` that loads, in place.

    A classifier of another number of classes, as in fine-tuning, is left for the loader to report.

    Raises:
        UserError: If the file holds another number of heads, or biases or a linear classifier that a head with
            these settings cannot represent.
    """
    names = {key[len(prefix) :]: key for key in state_dict if key.startswith(prefix)}
    if 'fc.weight' in names and state_dict[names['fc.weight']].shape == head.weight.shape[1:]:
        _pack_linear(state_dict, prefix, head)
        return
    for pattern, first in _PER_HEAD:
        keys = {
            (int(m[1]) - first, m[2]): key for name, key in names.items() if (m := pattern.fullmatch(name))
        }
        if keys and all(len(state_dict[key]) == head.num_classes for key in keys.values()):
            _pack_heads({place: state_dict.pop(key) for place, key in keys.items()}, state_dict, prefix, head)
            # The official COCO ViT files keep the unused ImageNet classifier beside the heads.
            for leftover in ('head.weight', 'head.bias'):
                state_dict.pop(prefix + leftover, None)
            return


def _pack_heads(
    tensors: dict[tuple[int, str], Tensor], state_dict: dict, prefix: str, head: nn.Module
) -> None:
    """Stack per-head tensors, keyed by (head index, 'weight' | 'bias')."""
    found = sorted(index for index, kind in tensors if kind == 'weight')
    if found != list(range(head.num_heads)):
        raise UserError(
            f'the file holds {len(found)} CSRA classifiers, numbers {found} from 0; this head has '
            f'{head.num_heads}: set num_heads={len(found)} and its temperatures'
        )
    weights = torch.stack([tensors[index, 'weight'].flatten(1) for index in found])
    state_dict[f'{prefix}weight'] = weights
    if any(kind == 'bias' for _, kind in tensors):
        biases = torch.stack([tensors[index, 'bias'] for index in found])
        state_dict[f'{prefix}bias'] = _fold_biases(biases, weights, head)


def _fold_biases(biases: Tensor, weights: Tensor, head: nn.Module) -> Tensor:
    """Per-head biases as one vector: base and att both shift by b, so b counts 1 + lam times in each head.

    The bias belongs to the score before normalisation, so it is divided by the row's norm as well.
    """
    if head.bias is None:
        raise UserError('the file holds biases, this head has none; set bias=True')
    if head.normalize:
        biases = biases / weights.norm(dim=-1)
    return (1 + head.lam) * biases.sum(dim=0)


def _pack_linear(state_dict: dict, prefix: str, head: nn.Module) -> None:
    """A linear classifier on average-pooled features: base = mean_k (w . x_k) + b (paper, Figure 1)."""
    if head.normalize or head.num_heads != 1 or head.bias is None:
        raise UserError(
            'a linear classifier becomes a CSRA head without training when base is that classifier: set '
            "num_heads=1 (temperatures=[99] for the paper's maximum), normalize=False and bias=True; to train the "
            f'head anew, delete "{prefix}fc.weight" and "{prefix}fc.bias" from the state dict'
        )
    weight = state_dict.pop(f'{prefix}fc.weight')
    state_dict[f'{prefix}weight'] = weight[None]
    state_dict[f'{prefix}bias'] = state_dict.pop(f'{prefix}fc.bias', torch.zeros_like(weight[:, 0]))
