"""The fully connected layers fc6 and fc7 of VGG, which mmpretrain's backbone does not put out."""

import torch
from mmengine.model import Sequential
from torch import Tensor, nn

from mmlattn.models.layers.feature_layout import last_output
from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_number, check_whole
from mmlattn.utils.errors import UserError


@MODELS.register_module()
class VGGFCNeck(Sequential):
    """fc6 and fc7 with their ReLU and dropout, (B, D, h, w) to (B, embed_dims); the image feature of CNN-RNN.

    Maps of another size than 7 x 7, that of ImageNet's VGG, are pooled to it by averages. The layers are numbered as
    VGG's classifier is, so its weights load with ``init_cfg=dict(type='Pretrained', checkpoint='...vgg16...pth',
    prefix='backbone.classifier')``; layer 6, the 1000 classes, is left out.

    Args:
        in_channels (int): D.
        embed_dims (int): Width of both layers.
        dropout (float): After each, in training.
        frozen (bool): Keep the weights and leave dropout out, as in the paper, which does not train its CNN.
        init_cfg (dict, optional): By default N(0, 0.01), as VGG starts.

    Raises:
        UserError: For an impossible number, or a map of another width.
    """

    def __init__(
        self,
        in_channels: int = 512,
        embed_dims: int = 4096,
        dropout: float = 0.5,
        frozen: bool = False,
        init_cfg: dict | None = dict(type='Normal', layer='Linear', std=0.01),  # noqa: B006
    ) -> None:
        check_whole('in_channels', in_channels, 1)
        check_whole('embed_dims', embed_dims, 1)
        check_number('dropout', dropout, least=0, most=1)
        super().__init__(
            nn.Linear(in_channels * 7**2, embed_dims),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(embed_dims, embed_dims),
            nn.ReLU(),
            nn.Dropout(dropout),
            init_cfg=init_cfg,
        )
        self.in_channels = in_channels
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)

    def train(self, mode: bool = True) -> 'VGGFCNeck':
        """Training mode, unless frozen."""
        return super().train(mode and not self.frozen)

    def forward(self, feats: tuple[Tensor] | Tensor) -> tuple[Tensor]:
        """The last of a backbone's outputs, (B, D, h, w), to a tuple of one (B, embed_dims)."""
        x = last_output(feats)
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise UserError(
                f'VGGFCNeck with in_channels={self.in_channels} reads a map (B, {self.in_channels}, h, w), got '
                f'{tuple(x.shape)}: for VGG set num_classes=-1 of the backbone'
            )
        if x.shape[-2:] != (7, 7):
            x = nn.functional.adaptive_avg_pool2d(x, 7)
        return (super().forward(torch.flatten(x, 1)),)
