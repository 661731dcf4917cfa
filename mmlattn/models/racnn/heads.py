"""What classifies and compares: the classifier of one scale, of several scales together, and the rank loss."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from mmengine.model import ModuleList
from mmpretrain.models.heads import ClsHead, LinearClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmlattn.models.layers.precision import as_read_by
from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_number, check_whole, whole_numbers
from mmlattn.utils.errors import UserError
from mmlattn.utils.stored_settings import StoredSettings

from .ranking import rank_hinges

LOSS = dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0)


@MODELS.register_module()
class ScaledLinearClsHead(StoredSettings, LinearClsHead):
    """mmpretrain's ``LinearClsHead`` on features times a constant, as in the authors' net definition for RA-CNN.

    Args:
        num_classes (int): C.
        in_channels (int): Width of the features.
        scale (float): The constant; weights trained with another one are refused.
        **kwargs: As for ``LinearClsHead``; by default the weights start as there from N(0, 0.001).
    """

    def __init__(self, num_classes: int, in_channels: int, scale: float = 0.1, **kwargs) -> None:
        kwargs = dict(loss=LOSS, init_cfg=dict(type='Normal', layer='Linear', std=0.001)) | kwargs
        super().__init__(num_classes, in_channels, **kwargs)
        check_number('scale', scale)
        self.scale = float(scale)
        self.store_settings(scale=self.scale)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The last of the features times the constant: (B, in_channels)."""
        return self.scale * super().pre_logits(feats)


@MODELS.register_module()
class ScaleFusionHead(ClsHead):
    """One FC on the descriptors of several scales, each normalised on its own, then concatenated (CVPR 2017).

    Descriptors get the norm 10, ours, since a classifier learns slowly from unit vectors.

    Args:
        num_classes (int): C.
        in_channels (Sequence[int]): Width of the descriptor of each scale.
        **kwargs: As for ``ClsHead``, such as ``loss``; by default the weights start from N(0, 0.01).
    """

    def __init__(self, num_classes: int, in_channels: Sequence[int], **kwargs) -> None:
        kwargs = dict(loss=LOSS, init_cfg=dict(type='Normal', layer='Linear', std=0.01)) | kwargs
        super().__init__(**kwargs)
        check_whole('num_classes', num_classes, 1)
        self.num_classes, self.in_channels = num_classes, whole_numbers('in_channels', in_channels, 1)
        self.fc = nn.Linear(sum(self.in_channels), num_classes)

    def pre_logits(self, feats: Sequence[Tensor]) -> Tensor:
        """From the descriptors (B, D) of each scale to (B, sum of D)."""
        return side_by_side(feats)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Raw scores (B, C) from the descriptors (B, D) of each scale."""
        return self.fc(as_read_by(self.fc, self.pre_logits(feats)))


def side_by_side(descriptors: Sequence[Tensor]) -> Tensor:
    """Descriptors (B, D) of several scales, each normalised on its own to the length 10, as (B, sum of D)."""
    return torch.cat([10 * F.normalize(x.float()) for x in descriptors], dim=1)


class ScaleFusion(ModuleList):
    """What scales 1 to k say together: one head for each k from 2 to S, or without heads the mean of probabilities.

    Args:
        fusion (Mapping, optional): Config of the heads; ``num_classes``, ``in_channels`` (of each scale) and
            ``loss`` are taken from the heads of the scales where it does not give them.
        heads (Sequence[ClsHead]): The head of each of S scales.

    Raises:
        UserError: If the config does not fit the heads, or the width of their features cannot be told.
    """

    def __init__(self, fusion: Mapping | None, heads: Sequence[ClsHead]) -> None:
        super().__init__()
        if fusion is None:
            return
        if not isinstance(fusion, Mapping):
            raise UserError(
                f'fusion must be a config, or None for the mean of the probabilities, got {fusion!r}'
            )
        num_classes = getattr(heads[0], 'num_classes', None)
        fusion = dict(dict(num_classes=num_classes, loss=heads[0].loss_module), **fusion)
        widths = fusion.pop('in_channels', None) or [_width(head) for head in heads]
        widths = whole_numbers('fusion.in_channels', widths, 1)
        if len(widths) != len(heads):
            raise UserError(
                f'fusion.in_channels needs one width for each of {len(heads)} scales, got {widths}'
            )
        if fusion['num_classes'] != num_classes:
            raise UserError(
                f'fusion.num_classes={fusion["num_classes"]}, but the heads have {num_classes}: leave it out'
            )
        for scales in range(2, len(heads) + 1):
            # A copy for each: a loss may keep count of the classes it has seen.
            self.append(MODELS.build(dict(deepcopy(fusion), in_channels=widths[:scales])))

    def forward(self, logits: Sequence[Tensor], descriptors: Sequence[Tensor]) -> Tensor:
        """Raw scores (B, C) of the first k scales together, from raw scores (B, C) and descriptors (B, D) of each."""
        count = len(logits)
        if count == 1:
            return logits[0]
        if len(self):
            return self[count - 2](descriptors).float()
        return torch.stack(tuple(logits)).log_softmax(dim=-1).logsumexp(dim=0) - math.log(count)

    def loss(self, descriptors: Sequence[Tensor], data_samples: Sequence[DataSample]) -> dict[str, Tensor]:
        """Losses of all heads: ``fused2.loss``, ``fused3.loss`` ... The networks learn nothing from them."""
        descriptors = [x.detach() for x in descriptors]
        return {
            f'fused{scales}.{name}': value
            for scales, head in enumerate(self, start=2)
            for name, value in head.loss(descriptors[:scales], data_samples).items()
        }


def _width(head: ClsHead) -> int:
    """Width of ``pre_logits``: what the last linear layer reads."""
    layers = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    if not layers or layers[-1].out_features != getattr(head, 'num_classes', None):
        raise UserError(
            f'{type(head).__name__} does not tell how wide its features are: give '
            "fusion=dict(type='mmlattn.ScaleFusionHead', in_channels=[one width for each scale]), or fusion=None"
        )
    return layers[-1].in_features


@MODELS.register_module()
class PairwiseRankLoss(nn.Module):
    """Mean over pictures of the sum over neighbouring scales of max(0, p_t^(s) - p_t^(s+1) + margin).

    The equation is in ``ranking.py``. Whether the authors took the sum over pictures is not known.

    Args:
        margin (float): 0.05 in public descriptions of the paper.
        loss_weight (float): Factor of the whole.
    """

    def __init__(self, margin: float = 0.05, loss_weight: float = 1.0) -> None:
        super().__init__()
        check_number('margin', margin)
        check_number('loss_weight', loss_weight, least=0)
        self.margin, self.loss_weight = margin, loss_weight

    def forward(self, probs: Tensor) -> Tensor:
        """The loss, a scalar, from p_t (B, S) of S scales from coarse to fine."""
        return self.loss_weight * rank_hinges(probs, self.margin).sum(dim=1).mean()
