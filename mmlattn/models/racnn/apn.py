"""The attention proposal network."""

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmlattn.models.stored_settings import SettingsCode, StoresNumbers, StoresSettings
from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError

from .squares import SQUARE_BORDERS, place_squares

__all__ = ['APN']

FORMS = dict(fc=dict(spatial=14, hidden=1024), light=dict(spatial=7, hidden=128))
"""What is meant by ``spatial`` and ``hidden`` left out."""


@MODELS.register_module()
class APN(StoresSettings, StoresNumbers, BaseModule):
    """Proposes from the feature map of one scale the square that the next one zooms in on (CVPR 2017).

    The map is brought to ``spatial`` x ``spatial`` cells by the maximum, then FC, tanh, FC of three, sigmoid, square.
    For the paper's two maps, 28 x 28 and 14 x 14, that is a pooling of 2 x 2 and none.

    Args:
        in_channels (int): D, channels of the feature map.
        form (str): 'fc', the paper's, 102,764,547 parameters for 512 channels; 'light', ours, a 1 x 1 convolution to
            ``mid_channels`` first, 434,755.
        spatial (int, optional): 14 for 'fc', 7 for 'light'.
        hidden (int, optional): Width of the first FC; 1024 for 'fc', 128 for 'light'.
        mid_channels (int): Of 'light'.
        border (str): 'bounded', 'clip' or 'shift', see ``layers.place_squares``.
        least (float): Smallest half side as a fraction of the frame's side; the paper's limit is 1/6, the released
            code's (with 'clip') 0.01.
        init_cfg (dict | list, optional): Defaults to N(0, 0.001) for the FCs, so that squares start in the centre.

    Raises:
        UserError: On a wrong argument.
        UserError: For weights of another border or limit; for an input of other channels or with fewer cells than
            ``spatial``.
    """

    settings_code = SettingsCode('apn_settings', border=SQUARE_BORDERS)

    def __init__(
        self,
        in_channels: int,
        form: str = 'fc',
        *,
        spatial: int | None = None,
        hidden: int | None = None,
        mid_channels: int = 64,
        border: str = 'bounded',
        least: float = 1 / 6,
        init_cfg: dict | list | None = (
            dict(type='Normal', layer='Linear', std=0.001),
            dict(type='Kaiming', layer='Conv2d'),
        ),
    ) -> None:
        super().__init__(list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg)
        check_choice('form', form, FORMS)
        check_choice('border', border, SQUARE_BORDERS)
        check_number('least', least, least=0)
        if not 0 < least < 0.5:
            raise UserError(f'least, half of the smallest side, must lie in (0, 0.5), got {least!r}')
        self.spatial = FORMS[form]['spatial'] if spatial is None else spatial
        hidden = FORMS[form]['hidden'] if hidden is None else hidden
        for name, value in dict(in_channels=in_channels, spatial=self.spatial, hidden=hidden).items():
            check_whole(name, value, 1)
        self.in_channels, self.border, self.least = in_channels, border, least
        if form == 'light':
            check_whole('mid_channels', mid_channels, 1)
            self.reduce = nn.Sequential(nn.Conv2d(in_channels, mid_channels, 1), nn.ReLU())
        else:
            self.reduce, mid_channels = nn.Identity(), in_channels
        self.fc = nn.Sequential(
            nn.Linear(mid_channels * self.spatial**2, hidden), nn.Tanh(), nn.Linear(hidden, 3)
        )
        self.store_settings(border=border)
        self.store_numbers(least=least)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Propose squares.

        Args:
            feature_map (Tensor): Shape (B, D, h, w).

        Returns:
            Tensor: Shape (B, 3), float32, see ``racnn/squares.py``.
        """
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


def _max_pool(x: Tensor, count: int) -> Tensor:
    """To count x count cells."""
    height, width = (int(side) for side in x.shape[-2:])
    if height % count == 0 and width % count == 0:
        return F.max_pool2d(x, (height // count, width // count))
    return F.adaptive_max_pool2d(x, count)  # exporters know it for some sizes only
