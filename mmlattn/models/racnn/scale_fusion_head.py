"""What several scales of RA-CNN say together."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_number, check_whole, whole_numbers

__all__ = ['ScaleFusionHead']


@MODELS.register_module()
class ScaleFusionHead(ClsHead):
    """One FC on the descriptors of several scales, each divided by its norm, then put side by side (CVPR 2017).

    Args:
        num_classes (int): C.
        in_channels (Sequence[int]): Width of the descriptor of each scale.
        scale (float): Norm of each descriptor; ours, since a classifier learns slowly from unit vectors.
        detach (bool): Whether the networks learn nothing from the fusion.
        loss (dict): Config of the loss on raw scores.
        init_cfg (dict, optional): Of the FC.
        **kwargs: As for ``ClsHead``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: Sequence[int],
        scale: float = 10.0,
        detach: bool = True,
        loss: dict = dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0),  # noqa: B006
        init_cfg: dict | None = dict(type='Normal', layer='Linear', std=0.01),  # noqa: B006
        **kwargs,
    ) -> None:
        super().__init__(loss=loss, init_cfg=init_cfg, **kwargs)
        check_whole('num_classes', num_classes, 1)
        check_number('scale', scale)
        self.num_classes, self.in_channels = num_classes, whole_numbers('in_channels', in_channels, 1)
        self.scale, self.detach = scale, detach
        self.fc = nn.Linear(sum(self.in_channels), num_classes)

    def pre_logits(self, feats: Sequence[Tensor]) -> Tensor:
        """Descriptors (B, D) of each scale to (B, sum of D)."""
        feats = [x.detach() for x in feats] if self.detach else feats
        return torch.cat([self.scale * F.normalize(x.float()) for x in feats], dim=1)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Raw scores (B, C) from the descriptors (B, D) of each scale."""
        return self.fc(self.pre_logits(feats).to(self.fc.weight.dtype))
