"""What proposes the square of the next scale: the paper's attention proposal network, or the highest response.

A localizer takes the feature map (B, D, h, w) of one scale and gives squares (B, 3), see ``squares.py``.
"""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule, ModuleList
from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError
from mmlattn.utils.stored_settings import StoredSettings

from .squares import SQUARE_BORDERS, highest_response_square, place_squares


@MODELS.register_module()
class ActivationLocalizer(BaseModule):
    """The square of the highest response, with nothing to learn: a baseline, and the first target of an ``APN``.

    Args:
        side (float): Side of the square as a fraction of the picture's, in (0, 1]. The paper starts with half.
        init_cfg (dict, optional): Nothing to initialise.
    """

    def __init__(self, side: float = 0.5, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        check_number('side', side)
        if not 0 < side <= 1:
            raise UserError(f'side must lie in (0, 1], got {side!r}')
        self.side = side

    def forward(self, feature_map: Tensor) -> Tensor:
        """Squares (B, 3) from feature maps (B, D, h, w)."""
        return highest_response_square(feature_map, self.side)


@MODELS.register_module()
class APN(StoredSettings, BaseModule):
    """The attention proposal network (CVPR 2017): (a, b, l) = sigmoid(FC(tanh(FC(cells)))), then placed as a square.

    The feature map is brought to ``spatial`` x ``spatial`` cells by the maximum. For the paper's two maps, 28 x 28
    and 14 x 14, that is a pooling of 2 x 2 and none.

    Args:
        in_channels (int): D, channels of the feature map.
        form (str): 'fc', the paper's, with a first FC of 1024, 102,764,547 parameters for 512 channels; 'light',
            ours, with a 1 x 1 convolution to 64 channels before an FC of 128, 434,755 parameters.
        spatial (int, optional): By default 14 for 'fc' and 7 for 'light'.
        border (str): 'bounded', 'clip' or 'shift', see ``place_squares``.
        least (float): Smallest half side as a fraction of the picture's side; the paper's limit is 1/6, the released
            code's (with 'clip') 0.01.
        init_cfg (dict | list, optional): Defaults to N(0, 0.001) for the FCs, so that squares start in the centre.

    Weights trained with another ``border`` or ``least`` are refused.
    """

    def __init__(
        self,
        in_channels: int,
        form: str = 'fc',
        *,
        spatial: int | None = None,
        border: str = 'bounded',
        least: float = 1 / 6,
        init_cfg: dict | list | None = (
            dict(type='Normal', layer='Linear', std=0.001),
            dict(type='Kaiming', layer='Conv2d'),
        ),
    ) -> None:
        super().__init__(list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg)
        check_whole('in_channels', in_channels, 1)
        check_choice('form', form, ('fc', 'light'))
        if spatial is None:
            spatial = 14 if form == 'fc' else 7
        check_whole('spatial', spatial, 1)
        check_choice('border', border, SQUARE_BORDERS)
        check_number('least', least, least=0)
        if not 0 < least < 0.5:
            raise UserError(f'least, half of the smallest side, must lie in (0, 0.5), got {least!r}')
        self.in_channels, self.spatial, self.border, self.least = in_channels, spatial, border, least
        if form == 'fc':
            self.reduce, width, hidden = nn.Identity(), in_channels, 1024
        else:
            self.reduce, width, hidden = nn.Sequential(nn.Conv2d(in_channels, 64, 1), nn.ReLU()), 64, 128
        self.fc = nn.Sequential(nn.Linear(width * spatial**2, hidden), nn.Tanh(), nn.Linear(hidden, 3))
        self.store_settings(border=border, least=least)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Squares (B, 3), float32, from feature maps (B, D, h, w)."""
        if feature_map.dim() != 4 or feature_map.shape[1] != self.in_channels:
            raise UserError(
                f'the APN takes feature maps (B, {self.in_channels}, h, w), got {tuple(feature_map.shape)}: set '
                "in_channels to the backbone's, and of transformers take out_type='featmap'"
            )
        if min(feature_map.shape[-2:]) < self.spatial:
            raise UserError(
                f'the APN reads {self.spatial} x {self.spatial} cells, but the feature map has '
                f'{tuple(feature_map.shape[-2:])}: set spatial of this localizer to what its scale has, or take '
                'larger pictures'
            )
        cells = _max_pool(self.reduce(feature_map), self.spatial)
        return place_squares(self.fc(cells.flatten(1)), self.border, self.least)


def _max_pool(x: Tensor, cells: int) -> Tensor:
    height, width = (int(side) for side in x.shape[-2:])
    if height % cells == 0 and width % cells == 0:
        return F.max_pool2d(x, (height // cells, width // cells))
    # Exporters know it for some sizes only.
    return F.adaptive_max_pool2d(x, cells)


def build_localizers(localizer: Mapping | Sequence | str, heads: Sequence[ClsHead]) -> ModuleList:
    """The localizers of all scales but the finest, from one config or one for each, and the heads of these scales.

    Raises:
        UserError: If there are not as many configs as heads, or one is none.
    """
    configs = list(localizer) if isinstance(localizer, (list, tuple)) else [localizer] * len(heads)
    if len(configs) != len(heads):
        raise UserError(
            f'localizer must be one config, or one for each scale but the finest, {len(heads)}, got {len(configs)}'
        )
    return ModuleList(_build_localizer(cfg, head) for cfg, head in zip(configs, heads, strict=True))


def _build_localizer(cfg: Mapping | str, head: ClsHead) -> nn.Module:
    if cfg == 'activation':
        return ActivationLocalizer()
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        raise UserError(
            f"a localizer must be 'activation' or a config such as dict(type='mmlattn.APN'), got {cfg!r}"
        )
    kind = MODELS.get(cfg['type']) if isinstance(cfg['type'], str) else cfg['type']
    if kind is APN and 'in_channels' not in cfg:
        if not hasattr(head, 'in_channels'):
            raise UserError(
                f'{type(head).__name__} does not tell how wide the feature map is: give the localizer in_channels'
            )
        cfg = dict(cfg, in_channels=head.in_channels)
    return MODELS.build(cfg)
