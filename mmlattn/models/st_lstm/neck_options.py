"""What the arguments of the ``STLSTM`` neck may be, and how they are kept with its weights."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmlattn.models.stored_settings import SettingsCode
from mmlattn.utils.arguments import check_choice, check_number, complete_options, whole_numbers
from mmlattn.utils.errors import UserError

from .regions import FIRST_ANCHORS, unbounded_scale

__all__ = [
    'ANCHOR', 'LOC_INIT', 'ST_LSTM_SETTINGS', 'anchor_circle', 'check_anchor', 'check_choices', 'check_numbers',
    'check_scale_range', 'check_vgg_source', 'load_fc6', 'loc_start', 'region_sides',
]  # fmt: skip

LOC_INIT = dict(scale=0.5, shift=0.0)
ANCHOR = dict(radius=math.sqrt(0.5), start_angle=math.pi / 4, first='none')

ST_LSTM_SETTINGS = SettingsCode(
    'st_lstm_settings',
    region_pool=('max', 'avg', None),
    region_embed=('fc', 'conv', 'gap'),
    cell_out=('identity', 'tanh'),
    loc_param=('direct', 'residual_anchor', 'bounded'),
    align_corners=(False, True),
    padding_mode=('zeros', 'border', 'reflection'),
)


def check_choices(**settings) -> None:
    """Raises ``UserError`` for a value that ``ST_LSTM_SETTINGS`` does not know."""
    for name, value in settings.items():
        known = ST_LSTM_SETTINGS.choices[name]
        if not isinstance(value, (str, bool, type(None))) or value not in known:
            raise UserError(f'{name} must be one of {", ".join(map(repr, known))}, got {value!r}')


def region_sides(size, region_pool: str | None, pool_size: int) -> tuple[int, int]:
    """(height, width) of a sampled region, in cells."""
    sides = whole_numbers('region_size', size, 1)
    if len(sides) > 2:
        raise UserError(f'region_size must be one number or (height, width), got {size!r}')
    height, width = sides[0], sides[-1]
    if region_pool is not None and (height % pool_size or width % pool_size):
        raise UserError(
            f'region_size {height} x {width} must be a multiple of pool_size={pool_size}, so that pooling reads '
            'every cell; change one of them, or set region_pool=None'
        )
    return height, width


def check_scale_range(limits) -> tuple[float, float]:
    """Least and largest scale of a bounded region."""
    try:
        low, high = (float(limit) for limit in limits)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not 0 <= low < high <= 1:
        raise UserError(f'scale_range must be two numbers with 0 <= low < high <= 1, got {limits!r}')
    return low, high


def loc_start(
    loc_param: str, loc_init: Mapping[str, float], scale_range: tuple[float, float]
) -> tuple[float, float, float, float]:
    """The four numbers from which ``loc_param`` makes the first scale and shift."""
    start = complete_options('loc_init', loc_init, LOC_INIT)
    for name, value in start.items():
        check_number(f'loc_init[{name!r}]', value)
    scale, shift = start['scale'], start['shift']
    if scale <= 0:
        raise UserError(f"loc_init['scale'] must be above 0, or regions begin as points, got {scale}")
    if loc_param == 'bounded':
        low, high = scale_range
        if not (low < scale < high and abs(shift) < 1 - scale):
            raise UserError(
                f"loc_init for loc_param='bounded' must have a scale inside scale_range={scale_range} and a shift "
                f'that leaves the region in the map, |shift| < 1 - scale, got {dict(loc_init)}'
            )
        scale, shift = unbounded_scale(scale, scale_range), math.atanh(shift / (1 - scale))
    return scale, scale, shift, shift


def check_anchor(anchor: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``region_anchors``."""
    options = complete_options('anchor', anchor, ANCHOR)
    check_number("anchor['radius']", options['radius'])
    check_number("anchor['start_angle']", options['start_angle'])
    check_choice("anchor['first']", options['first'], FIRST_ANCHORS)
    return options


def anchor_circle(radius: float, start_angle: float, first: str) -> Tensor:
    """The arguments of ``region_anchors`` as numbers, shape (3,)."""
    return torch.tensor([radius, start_angle, float(FIRST_ANCHORS.index(first))])


def check_numbers(state_dict: dict, prefix: str, loc_param: str, **own: Tensor) -> None:
    """Compare the stored circle of anchors and range of scales with the neck's, where its regions depend on them.

    The number of regions may differ: more of them lie closer on the same circle.

    What they do not depend on, and what an older file lacks, is set to the neck's own.

    Raises:
        UserError: If the regions would lie elsewhere than in training.
    """
    read = dict(residual_anchor='anchor_circle', bounded='scale_limits').get(loc_param)
    arguments = dict(anchor_circle='anchor', scale_limits='scale_range')
    for name, value in own.items():
        key = prefix + name
        stored = state_dict.get(key, value)
        # Loosely, so that a file in half precision still agrees.
        alike = stored.shape == value.shape and torch.allclose(
            stored.cpu().double(), value.cpu().double(), atol=1e-2
        )
        if name == read and not stored.is_meta and not alike:
            raise UserError(
                f'these weights were trained with {name}={_rounded(stored)}, this network has {_rounded(value)}. '
                f'Set {arguments[name]} in its config to what they were, or delete "{key}" from the state dict to '
                'use the weights otherwise'
            )
        state_dict[key] = value


def _rounded(values: Tensor) -> list:
    return (values.float().cpu() * 1e3).round().div(1e3).tolist()


def check_vgg_source(source: Mapping[str, str] | None, region_embed: str) -> dict[str, str] | None:
    """The arguments of ``load_fc6``."""
    if source is None:
        return None
    options = complete_options('fc_from_vgg', source, dict(checkpoint=None, prefix='backbone.classifier.0'))
    if options['checkpoint'] is None:
        raise UserError(f'fc_from_vgg must name a checkpoint, got {dict(source)}')
    if region_embed != 'fc':
        raise UserError(f"fc_from_vgg needs region_embed='fc', got {region_embed!r}")
    return options


def load_fc6(embed: nn.Linear, checkpoint: str, prefix: str) -> None:
    """Start W_fx from the first fully connected layer of a VGG.

    Args:
        embed (nn.Linear): Changed in place.
        checkpoint (str): Path or URL.
        prefix (str): Name of that layer in the checkpoint.

    Raises:
        UserError: If there is no such layer, or it has another shape.
    """
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
