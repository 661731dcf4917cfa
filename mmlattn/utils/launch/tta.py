"""Test-time augmentation written into a config: the pipeline of the views, and the model that fuses them."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from mmengine.config import Config

from mmlattn.utils.arguments import check_choice, check_number
from mmlattn.utils.errors import UserError

from .config import dataset_of, type_name

#: Windows of a picture that ViewCrop takes.
_FIVE = ('top_left', 'top_right', 'bottom_left', 'bottom_right', 'center')
#: Side of a crop over that of the picture; the network sees crops of the size that it sees pictures of otherwise.
CROP_RATIO = 0.875
_RESIZES = ('Resize', 'ResizeEdge')
_SIZES = dict(Resize='scale', ResizeEdge='scale', CenterCrop='crop_size')
#: What of a view says where it lies in the picture.
_PLACE_KEYS = ('flip', 'flip_direction', 'view_box', 'view_shape')
MODEL = 'mmlattn.MultiLabelTTAModel'


def add_views(cfg: Config, scales: Sequence[float] | float | None = None, crops: str | None = None) -> None:
    """Put ``tta_model`` and ``tta_pipeline`` into a config where it has none, for classifiers.

    Args:
        cfg (Config): With ``test_dataloader.dataset.pipeline``; changed in place.
        scales (Sequence[float] | float, optional): Of the picture; by default its own, 1.
        crops (str, optional): 'five' looks at the corners and the centre of a picture that is larger by 8 / 7.

    Raises:
        UserError: If the config has a pipeline of its own and further views are asked for; if they do not fit.
    """
    scales = [] if scales is None else np.atleast_1d(scales).tolist()
    if 'tta_pipeline' in cfg and (scales or crops):
        raise UserError(
            'the config has a tta_pipeline, which says what the views are: leave scales and crops out'
        )
    cfg.setdefault('tta_model', dict(type=MODEL))
    if 'tta_pipeline' not in cfg:
        pipeline = dataset_of(cfg).get('pipeline')
        if not pipeline:
            raise UserError('the config has no test_dataloader.dataset.pipeline to make views by')
        cfg.tta_pipeline = views_of(pipeline, scales or (1.0,), crops)


def views_of(
    pipeline: Sequence[Mapping], scales: Sequence[float] = (1.0,), crops: str | None = None
) -> list[dict]:
    """A test pipeline that gives each picture at every scale, in every crop, plain and mirrored."""
    for scale in scales:
        check_number('a scale of test-time augmentation', scale, least=0.1, most=10)
    if crops is not None:
        check_choice('crops of test-time augmentation', crops, ('five',))
    *transforms, pack = deepcopy(list(pipeline))
    keys = pack.get('meta_keys') or _meta_keys()
    pack['meta_keys'] = (*keys, *(name for name in _PLACE_KEYS if name not in keys))
    flips = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)]
    if tuple(scales) == (1.0,) and crops is None:
        return [*transforms, dict(type='TestTimeAug', transforms=[flips, [pack]])]
    first = next(
        (n for n, step in enumerate(transforms) if type_name(step) in _RESIZES and _setting(step)), None
    )
    if first is None:
        raise UserError(
            'the test pipeline has no Resize or ResizeEdge, so there are no scales and crops of its size'
        )
    larger = [scale / (CROP_RATIO if crops else 1) for scale in scales]
    sized = [dict(type='Compose', transforms=_scaled(transforms[first:], factor)) for factor in larger]
    windows = (
        [[dict(type='mmlattn.ViewCrop', place=place, ratio=CROP_RATIO) for place in _FIVE]] if crops else []
    )
    return [*transforms[:first], dict(type='TestTimeAug', transforms=[sized, *windows, flips, [pack]])]


def _meta_keys() -> tuple[str, ...]:
    from mmpretrain.datasets import PackInputs

    return tuple(PackInputs.DEFAULT_META_KEYS)


def _scaled(transforms: Sequence[Mapping], factor: float) -> list[dict]:
    """Transforms with other sizes.

    The last size is what the network sees, and stays a multiple of the stride of most; those before it follow to the
    pixel, so that the same part of the picture is cut out.
    """
    scaled = [dict(step) for step in transforms]
    *before, last = [(step, name) for step in scaled if (name := _setting(step))]
    own = last[0][last[1]]
    seen = last[0][last[1]] = _times(own, factor, stride=32)
    for step, name in before:
        step[name] = _times(step[name], float(np.max(seen) / np.max(own)))
    return scaled


def _setting(step: Mapping) -> str | None:
    name = _SIZES.get(type_name(step))
    return name if name in step else None


def _times(size: Any, factor: float, stride: int = 1) -> Any:
    """A size in pixels; a multiple of the stride stays one."""
    if isinstance(size, (tuple, list)):
        return tuple(_times(side, factor, stride) for side in size)
    step = 1 if size % stride else stride
    return size if size < 0 else max(round(size * factor / step), 1) * step
