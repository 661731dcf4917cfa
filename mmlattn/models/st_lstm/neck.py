"""The ST-LSTM neck."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmlattn.models.layers.feature_layout import to_feature_map
from mmlattn.models.layers.lstm_cell import LSTMCell
from mmlattn.models.layers.spatial_transformer import sample_regions
from mmlattn.models.stored_settings import StoresSettings
from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_number, check_whole
from mmlattn.utils.errors import UserError
from mmlattn.utils.init_cfg import loads_weights

from .neck_options import (
    ANCHOR,
    LOC_INIT,
    ST_LSTM_SETTINGS,
    anchor_circle,
    check_anchor,
    check_choices,
    check_numbers,
    check_scale_range,
    check_vgg_source,
    load_fc6,
    loc_start,
    region_sides,
)
from .recurrence import STLSTMOutput, discover_regions
from .regions import LOC_PARAMS, region_anchors

__all__ = ['STLSTM']


@MODELS.register_module()
class STLSTM(StoresSettings, BaseModule):
    """Looks at K regions of a feature map, one after the other, and describes each (ICCV 2017).

    The recurrence is in ``mmlattn/models/st_lstm/recurrence.py``. The neck reads the last feature map of any
    backbone and needs no labels; ``STLSTMHead`` scores its steps and constrains its regions. Any head of mmpretrain
    works too: it sees the last field of the output, the features pooled over the steps.

    Widths are not in the paper's abstract or notes; the defaults make W_fx the size of VGG-16's first fully connected
    layer, which ``fc_from_vgg`` can load.

    Args:
        in_channels (int): Channels of the feature map.
        num_steps (int): K, how many regions; the look at the whole map comes on top.
        region_size (int | tuple[int, int]): (height, width) of a sampled region, in cells.
        region_pool (str, optional): 'max' or 'avg' pooling of the sampled region, or none. Sampling finer and
            pooling skips fewer cells of a large region.
        pool_size (int): Side of the pooling windows.
        region_embed (str): W_fx: 'fc', the paper's; 'conv', a 3 x 3 convolution, averaged over the region; 'gap', the
            mean of the region itself without weights.
        embed_dims (int): Width of x; that of the map for 'gap'.
        hidden_dims (int): Width of h and c.
        out_dims (int): Width D of z.
        cell_out (str): 'identity', the paper's h = o * c, or 'tanh'.
        loc_param (str): How W_zm z + b_m places a region: 'direct', the paper's; 'residual_anchor', relative to the
            region's anchor; 'bounded', always inside the map and upright. See ``st_lstm/regions.py``.
        loc_init (dict): ``scale`` and ``shift`` of the regions before training, relative to the anchor for
            'residual_anchor'. W_zm starts at 0.
        scale_range (tuple[float, float]): Least and largest scale for 'bounded'.
        anchor (dict): ``radius`` and ``start_angle`` of the circle of anchors, and ``first``: 'none' leaves the first
            region free, 'center' draws it to the centre.
        in_index (int): Which of the backbone's outputs to read.
        align_corners (bool): How sampling reads coordinates; only without are the reported boxes exact.
        padding_mode (str): 'zeros', 'border' or 'reflection': what lies outside the map.
        dropout (float): Dropout probability on x.
        fc_from_vgg (dict, optional): ``checkpoint`` of a VGG and ``prefix`` of its first fully connected layer,
            'backbone.classifier.0' by default, from which W_fx starts.
        include_global (bool): Give the look at the whole map a score too.
        init_cfg (dict, optional): Of all but W_zm and the LSTM, whose gates start by Xavier's rule one by one.

    Raises:
        UserError: For an impossible combination of arguments, a feature map that can't be read, or on loading
            weights that were trained with another region_pool, region_embed, cell_out, loc_param, align_corners or
            padding_mode; another circle of anchors for 'residual_anchor', or another scale_range for 'bounded'.
    """

    settings_code = ST_LSTM_SETTINGS

    def __init__(
        self,
        in_channels: int,
        num_steps: int = 5,
        *,
        region_size: int | tuple[int, int] = 14,
        region_pool: str | None = 'max',
        pool_size: int = 2,
        region_embed: str = 'fc',
        embed_dims: int = 4096,
        hidden_dims: int = 512,
        out_dims: int = 512,
        cell_out: str = 'identity',
        loc_param: str = 'direct',
        loc_init: Mapping[str, float] = LOC_INIT,
        scale_range: tuple[float, float] = (0.1, 1.0),
        anchor: Mapping[str, Any] = ANCHOR,
        in_index: int = -1,
        align_corners: bool = False,
        padding_mode: str = 'zeros',
        dropout: float = 0.0,
        fc_from_vgg: Mapping[str, str] | None = None,
        include_global: bool = False,
        init_cfg: dict | None = dict(type='Xavier', layer=['Linear', 'Conv2d'], distribution='uniform'),  # noqa: B006
    ) -> None:
        super().__init__(init_cfg)
        for name, value in dict(
            in_channels=in_channels, num_steps=num_steps, pool_size=pool_size, embed_dims=embed_dims,
            hidden_dims=hidden_dims, out_dims=out_dims,
        ).items():  # fmt: skip
            check_whole(name, value, 1)
        if not isinstance(in_index, int) or isinstance(in_index, bool):
            raise UserError(f'in_index must be a whole number, got {in_index!r}')
        check_number('dropout', dropout, least=0)
        settings = dict(
            region_pool=region_pool,
            region_embed=region_embed,
            cell_out=cell_out,
            loc_param=loc_param,
            align_corners=align_corners,
            padding_mode=padding_mode,
        )
        check_choices(**settings)
        self.in_channels = in_channels
        self.num_steps = num_steps
        self.region_size = region_sides(region_size, region_pool, pool_size)
        self.region_embed = region_embed
        self.loc_param = loc_param
        self.in_index = in_index
        self.align_corners = align_corners
        self.padding_mode = padding_mode
        self.include_global = include_global
        self.fc_from_vgg = check_vgg_source(fc_from_vgg, region_embed)
        self.scale_range = check_scale_range(scale_range)
        self._loc_start = loc_start(loc_param, loc_init, self.scale_range)
        self.store_settings(**settings)
        anchor = check_anchor(anchor)
        # Regions may depend on these numbers, so they are kept with the weights too.
        self.register_buffer('anchor_circle', anchor_circle(**anchor))
        self.register_buffer('scale_limits', torch.tensor(self.scale_range))
        anchors, anchor_mask = region_anchors(num_steps, **anchor)
        self.register_buffer('anchors', anchors, persistent=False)
        self.register_buffer('anchor_mask', anchor_mask, persistent=False)

        pools = {None: nn.Identity, 'max': nn.MaxPool2d, 'avg': nn.AvgPool2d}
        self.pool = pools[region_pool](pool_size)
        height, width = (n // pool_size if region_pool else n for n in self.region_size)
        if region_embed == 'fc':
            self.embed = nn.Linear(in_channels * height * width, embed_dims)
        elif region_embed == 'conv':
            self.embed = nn.Conv2d(in_channels, embed_dims, 3, padding=1)
        else:
            embed_dims = in_channels
        self.dropout = nn.Dropout(dropout)
        self.cell = LSTMCell(embed_dims, hidden_dims, cell_out)
        self.z = nn.Linear(hidden_dims, out_dims)
        self.loc = nn.Linear(out_dims, 4)
        self._start_loc()

    def forward(self, feats: tuple[Tensor] | Tensor) -> STLSTMOutput:
        """Discover the regions.

        Args:
            feats (tuple[Tensor] | Tensor): Outputs of the backbone; the map read is (B, C, h, w), (B, h, w, C) or
                square tokens (B, h * w, C).

        Returns:
            STLSTMOutput: theta is float32 at least, also under autocast.
        """
        x = self.read_map(feats)
        # Half precision would place regions to within a 256th of the map at best.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        whole = wide.new_tensor((1.0, 1.0, 0.0, 0.0)).expand(x.shape[0], 4)

        def look(theta: Tensor) -> Tensor:
            region = sample_regions(wide, theta, self.region_size, self.align_corners, self.padding_mode)
            return self.pool(region).to(x.dtype)

        steps, theta = discover_regions(
            whole, self.num_steps, look, self._embed, self.cell, self._project, self._locate
        )
        scored = steps if self.include_global else steps[:, 1:]
        return STLSTMOutput(scored, theta, self.anchors, self.anchor_mask, scored.amax(dim=1))

    def read_map(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """The feature map in which regions lie, (B, C, h, w), of the backbone's outputs."""
        if isinstance(feats, (tuple, list)):
            if not -len(feats) <= self.in_index < len(feats):
                raise UserError(f'in_index={self.in_index}, but the backbone gives {len(feats)} outputs')
            feats = feats[self.in_index]
        return to_feature_map(feats, self.in_channels)

    def init_weights(self) -> None:
        """Initialise by ``init_cfg``, then the LSTM, W_zm as ``loc_init`` says, and W_fx from VGG."""
        again = self.is_init
        super().init_weights()
        if again or loads_weights(self.init_cfg):
            return
        self.cell.reset_parameters()
        self._start_loc()
        if self.fc_from_vgg is not None:
            load_fc6(self.embed, **self.fc_from_vgg)

    def _embed(self, region: Tensor) -> Tensor:
        if self.region_embed == 'fc':
            x = F.relu(self.embed(region.flatten(1)))
        elif self.region_embed == 'conv':
            x = F.relu(self.embed(region)).mean(dim=(-2, -1))
        else:
            x = region.mean(dim=(-2, -1))
        return self.dropout(x)

    def _project(self, h: Tensor) -> Tensor:
        return F.relu(self.z(h.to(self.z.weight.dtype)))

    def _locate(self, z: Tensor, region: int) -> Tensor:
        dtype = torch.promote_types(z.dtype, torch.float32)
        # Written out, since autocast would do a linear layer in half precision.
        raw = (z.to(dtype)[:, None] * self.loc.weight.to(dtype)).sum(dim=-1) + self.loc.bias.to(dtype)
        return LOC_PARAMS[self.loc_param](raw, self.anchors[region].to(dtype), self.scale_range)

    def _start_loc(self) -> None:
        nn.init.zeros_(self.loc.weight)
        with torch.no_grad():
            self.loc.bias.copy_(self.loc.bias.new_tensor(self._loc_start))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        check_numbers(
            state_dict,
            prefix,
            self.loc_param,
            anchor_circle=self.anchor_circle,
            scale_limits=self.scale_limits,
        )
        super()._load_from_state_dict(state_dict, prefix, *args)
