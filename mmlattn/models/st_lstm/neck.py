"""Recurrently discovered attentional regions (Wang et al., ICCV 2017): the recurrence, in ``STLSTM.forward``.

With the feature map f_I, for k = 0 ... K, starting from the whole map M_0 and an empty memory:

    f_k = st(f_I, M_k)                     look at region k
    x_k = relu(W_fx vec(f_k) + b_x)        what is there
    h_k, c_k = LSTM(x_k, h_k-1, c_k-1)     with what was seen so far
    z_k = relu(W_hz h_k + b_z)
    s_k = W_zs z_k + b_s                   k >= 1, in the head
    M_k+1 = W_zm z_k + b_m                 k < K, where to look next

All weights are shared between the steps. The look at the whole map, step 0, chooses the first region and gives no
score.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmlattn.models.layers.feature_layout import last_output, to_feature_map
from mmlattn.models.layers.lstm_cell import LSTMCell
from mmlattn.models.layers.precision import as_read_by, wide_linear, widen
from mmlattn.models.layers.spatial_transformer import mean_of_regions, sample_regions
from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_number, check_whole, complete_options
from mmlattn.utils.errors import UserError
from mmlattn.utils.stored_settings import StoredSettings
from mmlattn.utils.weights import loads_weights

from .regions import LOC_PARAMS, place_region, region_anchors, start_numbers

LOC_INIT = dict(scale=0.5, shift=0.0)
ANCHOR = dict(radius=math.sqrt(0.5), start_angle=math.pi / 4, first='none')
VGG_SOURCE = dict(checkpoint=None, prefix='backbone.classifier.0')
POOLS = dict(max=nn.MaxPool2d, avg=nn.AvgPool2d)


class _Fields(NamedTuple):
    step_feats: Tensor
    theta: Tensor
    anchors: Tensor
    anchor_mask: Tensor
    pooled: Tensor


class STLSTMOutput(_Fields):
    """What the ``STLSTM`` neck returns; heads that read the last entry of a tuple get ``pooled``.

    All fields are of pictures, so that tools which take a batch of features apart need not know them. They make the
    parts anew as ``type(feats)([...])``, other libraries as ``type(feats)(*fields)``: both work.

    ===============  ==============  =======================================================================
    field            shape           meaning
    ===============  ==============  =======================================================================
    ``step_feats``   (B, K, D)       z_1 to z_K; (B, K + 1, D) with z_0 first if the whole map is included
    ``theta``        (B, K, 4)       (s_x, s_y, t_x, t_y) of regions 1 to K, see ``spatial_transformer.py``
    ``anchors``      (B, K, 2)       the point each region is drawn to, the same for each picture
    ``anchor_mask``  (B, K) bool     which regions are drawn to theirs
    ``pooled``       (B, D)          maximum of ``step_feats`` over the steps
    ===============  ==============  =======================================================================
    """

    def __new__(cls, *fields: Tensor | list[Tensor]) -> 'STLSTMOutput':
        """From the five fields, or a list of them."""
        return super().__new__(cls, *(fields[0] if len(fields) == 1 else fields))


@MODELS.register_module()
class STLSTM(StoredSettings, BaseModule):
    """Looks at K regions of a feature map, one after the other, and describes each.

    The neck reads the last feature map of any backbone and needs no labels; ``STLSTMHead`` scores its steps and
    constrains its regions. Any head of mmpretrain works too: it sees the features pooled over the steps.

    The paper's widths are not known; the defaults make W_fx the size of VGG-16's first fully connected layer, which
    ``fc_from_vgg`` can load.

    Args:
        in_channels (int): Channels of the feature map.
        num_steps (int): K, how many regions; the look at the whole map comes on top.
        region_size (int): Side of a sampled region, in cells.
        region_pool (str, optional): 'max' or 'avg' pooling of the sampled region by 2, or None. Sampling finer and
            pooling skips fewer cells of a large region.
        region_embed (str): W_fx: 'fc', the paper's; 'conv', a 3 x 3 convolution, averaged over the region; 'gap', the
            mean of the region itself without weights.
        embed_dims (int): Width of x; 'gap' has that of the map instead.
        hidden_dims (int): Width of h and c.
        out_dims (int): Width D of z.
        cell_out (str): 'identity', the paper's h = o * c, or 'tanh'.
        loc_param (str): How W_zm z + b_m places a region: 'direct', the paper's; 'residual_anchor', relative to the
            region's anchor; 'bounded', always inside the map and upright. See ``place_region`` in ``regions.py``.
        loc_init (dict): ``scale`` and ``shift`` of the regions before training, relative to the anchor for
            'residual_anchor'. W_zm starts at 0.
        scale_range (tuple[float, float]): Least and largest scale for 'bounded'.
        anchor (dict): ``radius`` and ``start_angle`` of the circle of anchors, and ``first``: 'none' leaves the first
            region free, 'center' draws it to the centre.
        align_corners (bool): How sampling reads coordinates; only without are the reported boxes exact.
        dropout (float): Dropout probability on x.
        fc_from_vgg (dict, optional): ``checkpoint`` of a VGG and ``prefix`` of its first fully connected layer,
            'backbone.classifier.0' by default, from which W_fx starts.
        include_global (bool): Give the look at the whole map a score too.
        init_cfg (dict, optional): Of all but W_zm and the LSTM, whose gates start by Xavier's rule one by one.

    Raises:
        UserError: For an impossible combination of arguments, a feature map that can't be read, or on loading
            weights that were trained with another region_pool, region_embed, cell_out, loc_param or align_corners;
            another anchor for 'residual_anchor', or another scale_range for 'bounded'.
    """

    def __init__(
        self,
        in_channels: int,
        num_steps: int = 5,
        *,
        region_size: int = 14,
        region_pool: str | None = 'max',
        region_embed: str = 'fc',
        embed_dims: int = 4096,
        hidden_dims: int = 512,
        out_dims: int = 512,
        cell_out: str = 'identity',
        loc_param: str = 'direct',
        loc_init: Mapping[str, float] = LOC_INIT,
        scale_range: tuple[float, float] = (0.1, 1.0),
        anchor: Mapping[str, Any] = ANCHOR,
        align_corners: bool = False,
        dropout: float = 0.0,
        fc_from_vgg: Mapping[str, str] | None = None,
        include_global: bool = False,
        init_cfg: dict | None = dict(type='Xavier', layer=['Linear', 'Conv2d'], distribution='uniform'),  # noqa: B006
    ) -> None:
        super().__init__(init_cfg)
        for name, value in dict(
            in_channels=in_channels, num_steps=num_steps, region_size=region_size, embed_dims=embed_dims,
            hidden_dims=hidden_dims, out_dims=out_dims,
        ).items():  # fmt: skip
            check_whole(name, value, 1)
        check_choice('region_embed', region_embed, ('fc', 'conv', 'gap'))
        check_choice('loc_param', loc_param, LOC_PARAMS)
        if region_pool is not None:
            check_choice('region_pool', region_pool, POOLS)
            if region_size % 2:
                raise UserError(
                    f'region_size={region_size} cannot be pooled by 2: take an even one, or region_pool=None'
                )
        check_number('dropout', dropout, least=0, most=1)
        anchor = complete_options('anchor', anchor, ANCHOR)
        self.in_channels = in_channels
        self.num_steps = num_steps
        self.region_size = region_size
        self.region_embed = region_embed
        self.loc_param = loc_param
        self.scale_range = scale_range
        self.align_corners = align_corners
        self.include_global = include_global
        self.fc_from_vgg = _check_vgg_source(fc_from_vgg, region_embed)
        anchors, anchor_mask = region_anchors(num_steps, **anchor)
        self.register_buffer('anchors', anchors, persistent=False)
        self.register_buffer('anchor_mask', anchor_mask, persistent=False)

        if region_embed == 'gap':
            embed_dims = in_channels
        elif region_embed == 'conv':
            self.embed = nn.Conv2d(in_channels, embed_dims, 3, padding=1)
        else:
            side = region_size // 2 if region_pool else region_size
            self.embed = nn.Linear(in_channels * side * side, embed_dims)
        self.pool = POOLS[region_pool](2) if region_pool else nn.Identity()
        # The mean of a region, or of its averages, needs no region.
        self.reads_means = region_embed == 'gap' and region_pool != 'max'
        self.dropout = nn.Dropout(dropout)
        self.cell = LSTMCell(embed_dims, hidden_dims, cell_out)
        self.z = nn.Linear(hidden_dims, out_dims)
        self.loc = nn.Linear(out_dims, 4)
        self._loc_start = start_numbers(
            **complete_options('loc_init', loc_init, LOC_INIT), loc_param=loc_param, scale_range=scale_range
        )
        self._start_loc()
        settings = dict(
            region_pool=region_pool, region_embed=region_embed, cell_out=cell_out, loc_param=loc_param,
            align_corners=align_corners,
        )  # fmt: skip
        if loc_param == 'residual_anchor':
            settings['anchor'] = anchor
        elif loc_param == 'bounded':
            settings['scale_range'] = scale_range
        self.store_settings(**settings)

    def forward(self, feats: tuple[Tensor] | Tensor, places: Tensor | None = None) -> STLSTMOutput:
        """Discover the regions.

        Args:
            feats (tuple[Tensor] | Tensor): Outputs of the backbone; the last is read, (B, C, h, w), (B, h, w, C) or
                square tokens (B, h * w, C).
            places (Tensor, optional): Theta (B, K, 4) of the regions to look at in the place of its own.

        Returns:
            STLSTMOutput: theta is float32 at least, also under autocast.
        """
        feature_map = self.read_map(feats)
        # Half precision would place regions to within a 256th of the map at best.
        wide_map = widen(feature_map)
        if self.reads_means:
            wide_map = wide_map.contiguous(memory_format=torch.channels_last)
        # Not len(): an exporter would take it for a constant.
        theta = wide_map.new_tensor((1.0, 1.0, 0.0, 0.0)).expand(wide_map.shape[0], 4)
        h, c = self.cell.start(wide_map)
        steps, regions = [], []
        for k in range(self.num_steps + 1):
            # f_k = st(f_I, M_k), x_k = relu(W_fx vec(f_k) + b_x)
            x = self._look(wide_map, theta, feature_map.dtype)
            # h_k, c_k = LSTM(x_k, h_k-1, c_k-1)
            h, c = self.cell(x, (h, c))
            # z_k = relu(W_hz h_k + b_z)
            z = F.relu(self.z(as_read_by(self.z, h)))
            steps.append(z)
            if k < self.num_steps:
                # M_k+1 = W_zm z_k + b_m
                theta = self._place(wide_linear(self.loc, z), k) if places is None else places[:, k]
                regions.append(theta)
        # Step 0 only chooses the first region, unless it is asked for.
        step_feats = torch.stack(steps if self.include_global else steps[1:], dim=1)
        anchors = self.anchors.expand(wide_map.shape[0], -1, -1)
        mask = self.anchor_mask.expand(wide_map.shape[0], -1)
        return STLSTMOutput(step_feats, torch.stack(regions, dim=1), anchors, mask, step_feats.amax(dim=1))

    def start_places(self) -> Tensor:
        """Theta (K, 4) of the regions before training."""
        raw = self.anchors.new_tensor(self._loc_start)
        return torch.stack([self._place(raw, k) for k in range(self.num_steps)])

    def _place(self, raw: Tensor, k: int) -> Tensor:
        return place_region(raw, self.anchors[k].to(raw.dtype), self.loc_param, self.scale_range)

    def _look(self, wide_map: Tensor, theta: Tensor, dtype: torch.dtype) -> Tensor:
        """x_k from the region M_k of the map, (B, D_x)."""
        if self.reads_means:
            x = mean_of_regions(wide_map, theta, self.region_size, self.align_corners).to(dtype)
            return self.dropout(x)
        region = self.pool(sample_regions(wide_map, theta, self.region_size, self.align_corners)).to(dtype)
        if self.region_embed == 'fc':
            x = F.relu(self.embed(region.flatten(1)))
        elif self.region_embed == 'conv':
            x = F.relu(self.embed(region)).mean(dim=(-2, -1))
        else:
            x = region.mean(dim=(-2, -1))
        return self.dropout(x)

    def read_map(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """The feature map in which regions lie, (B, C, h, w): the last of the backbone's outputs."""
        return to_feature_map(last_output(feats), self.in_channels)

    def init_weights(self) -> None:
        """Initialise by ``init_cfg``, then the LSTM, W_zm as ``loc_init`` says, and W_fx from VGG."""
        again = self.is_init
        super().init_weights()
        if again or loads_weights(self.init_cfg):
            return
        self.cell.reset_parameters()
        self._start_loc()
        if self.fc_from_vgg is not None:
            _load_fc6(self.embed, **self.fc_from_vgg)

    def _start_loc(self) -> None:
        nn.init.zeros_(self.loc.weight)
        with torch.no_grad():
            self.loc.bias.copy_(self.loc.bias.new_tensor(self._loc_start))


def _check_vgg_source(source: Mapping[str, str] | None, region_embed: str) -> dict[str, str] | None:
    if source is None:
        return None
    options = complete_options('fc_from_vgg', source, VGG_SOURCE)
    if options['checkpoint'] is None:
        raise UserError(f'fc_from_vgg must name a checkpoint, got {dict(source)}')
    if region_embed != 'fc':
        raise UserError(f"fc_from_vgg needs region_embed='fc', got {region_embed!r}")
    return options


def _load_fc6(embed: nn.Linear, checkpoint: str, prefix: str) -> None:
    """Start W_fx from the first fully connected layer of a VGG."""
    state = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    state = {
        name.removeprefix(f'{prefix}.'): value
        for name, value in state.get('state_dict', state).items()
        if name.startswith(f'{prefix}.')
    }
    found = {name: tuple(value.shape) for name, value in state.items()}
    expected = {name: tuple(value.shape) for name, value in embed.state_dict().items()}
    if found != expected:
        raise UserError(
            f'fc_from_vgg: {prefix} of {checkpoint} has {found}, W_fx needs {expected}; the usual VGG fits '
            'in_channels=512, regions of 7 x 7 cells after pooling, and embed_dims=4096. Otherwise set '
            'fc_from_vgg=None'
        )
    embed.load_state_dict(state)
