"""From the arguments of ``RACNN`` to its parts."""

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from mmengine.logging import print_log
from mmengine.model import ModuleList  # torch's own would keep init_weights from its members
from mmpretrain.models import ImageClassifier
from mmpretrain.models.heads import ClsHead, MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_number, complete_options, whole_numbers
from mmlattn.utils.errors import UserError

from .apn import APN
from .boxcar import Boxcar
from .crop import CROP_GRADIENTS

__all__ = [
    'build_fusion', 'build_localizers', 'build_nets', 'check_width', 'crop_options', 'output_scales',
    'spread_to_scales', 'true_classes', 'warn_of_enlarging',
]  # fmt: skip

RESAMPLE_FROM = ('parent', 'image')
CROP_OPTIONS = dict(
    size=224,
    grad='boxcar',
    resample_from='parent',
    antialias=False,
    **Boxcar()._asdict(),
)


def build_nets(parts: Mapping, num_scales: int, shared: bool, scales: Sequence[Mapping] | None) -> ModuleList:
    """The network of each scale, or one for all.

    Args:
        parts (Mapping): Configs ``backbone``, ``neck`` and ``head``.
        num_scales (int): S.
        shared (bool): Whether there is one for all.
        scales (Sequence[Mapping], optional): For each scale, what differs: settings of ``backbone``, ``neck`` or
            ``head`` to be changed, or with a ``type`` the whole of it.

    Returns:
        ModuleList: S or 1 ``ImageClassifier``.

    Raises:
        UserError: If the arguments do not fit each other, or a head is not of a single label.
    """
    if scales is not None and (shared or len(scales) != num_scales):
        raise UserError(
            f'scales must say for each of num_scales={num_scales} what differs, and needs shared=False, got '
            f'{len(scales)} and shared={shared}'
        )
    if not isinstance(shared, bool):
        raise UserError(f'shared must be True or False, got {shared!r}')
    nets = ModuleList()
    for own in scales or [{}] * (1 if shared else num_scales):
        if not isinstance(own, Mapping) or own.keys() - parts.keys():
            raise UserError(f'each of scales must be a dict with some of {", ".join(parts)}, got {own!r}')
        net = ImageClassifier(
            **{name: _changed(part, own.get(name)) for name, part in parts.items()},
            data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
        )
        if not isinstance(net.head, ClsHead) or isinstance(net.head, MultiLabelClsHead):
            raise UserError(
                'RACNN compares how sure each scale is of the one true class, so its head must be a ClsHead of a '
                f'single label, such as LinearClsHead, got {type(net.head).__name__}'
            )
        nets.append(net)
    return nets


def _changed(part: Mapping | Sequence | None, own: Mapping | Sequence | None) -> dict | list | None:
    merged = isinstance(part, Mapping) and isinstance(own, Mapping) and 'type' not in own
    return deepcopy(part if own is None else {**part, **own} if merged else own)


def build_localizers(localizer: Mapping | Sequence | str, count: int, heads: Sequence[ClsHead]) -> ModuleList:
    """One for each scale but the finest.

    Args:
        localizer (Mapping | Sequence | str): A config for all, a list of one for each, or 'activation'.
        count (int): How many.
        heads (Sequence[ClsHead]): Of each scale; an ``APN`` whose config does not say reads maps as wide.

    Raises:
        UserError: If there are not as many, or one has no type.
    """
    one = isinstance(localizer, (str, Mapping))
    configs = [localizer] * count if one else list(localizer or ())
    if len(configs) != count:
        raise UserError(
            f'localizer must be one config, or one for each scale but the finest, {count}, got {len(configs)}'
        )
    return ModuleList(_build_localizer(cfg, head) for cfg, head in zip(configs, heads, strict=False))


def _build_localizer(cfg: Mapping | str, head: ClsHead) -> nn.Module:
    if isinstance(cfg, str):
        if cfg != 'activation':
            raise UserError(
                f"localizer must be 'activation' or a config such as dict(type='mmlattn.APN'), got {cfg!r}"
            )
        cfg = dict(type='mmlattn.ActivationLocalizer')
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        raise UserError(f"a localizer must be a dict with a type, or 'activation', got {cfg!r}")
    kind = MODELS.get(cfg['type']) if isinstance(cfg['type'], str) else cfg['type']
    if kind is APN and 'in_channels' not in cfg:
        if not hasattr(head, 'in_channels'):
            raise UserError(
                f'{type(head).__name__} does not tell how wide the feature map is: give the localizer in_channels'
            )
        cfg = dict(cfg, in_channels=head.in_channels)
    return MODELS.build(cfg)


def build_fusion(fusion: Mapping | None, heads: Sequence[ClsHead]) -> ModuleList:
    """A head for scales 1 to k, for each k from 2 to S; none if ``fusion`` is None.

    Args:
        fusion (Mapping, optional): Config; ``num_classes``, ``in_channels`` (of each scale) and ``loss`` are taken
            from the heads where it does not give them.
        heads (Sequence[ClsHead]): Of each scale.

    Raises:
        UserError: If the width of a head's features cannot be told.
    """
    if fusion is None:
        return ModuleList()
    if not isinstance(fusion, Mapping):
        raise UserError(f'fusion must be a config, or None for the mean of the probabilities, got {fusion!r}')
    fusion = dict(fusion)
    widths = fusion.pop('in_channels', None) or [_width(head) for head in heads]
    fusion.setdefault('num_classes', heads[0].num_classes)
    widths = whole_numbers('fusion.in_channels', widths, 1)
    if len(widths) != len(heads):
        raise UserError(f'fusion.in_channels needs one width for each of {len(heads)} scales, got {widths}')
    if fusion['num_classes'] != heads[0].num_classes:
        raise UserError(
            f'fusion.num_classes={fusion["num_classes"]}, but the heads have {heads[0].num_classes}: leave it out'
        )
    fusion.setdefault('loss', heads[0].loss_module)
    # A copy for each: a loss may keep count of the classes it has seen.
    return ModuleList(
        MODELS.build(dict(deepcopy(fusion), in_channels=widths[:k])) for k in range(2, len(heads) + 1)
    )


def _width(head: ClsHead) -> int:
    """Width of ``pre_logits``: what the last linear layer reads."""
    layers = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    if not layers or layers[-1].out_features != getattr(head, 'num_classes', None):
        raise UserError(
            f'{type(head).__name__} does not tell how wide its features are: give '
            "fusion=dict(type='mmlattn.ScaleFusionHead', in_channels=[one width for each scale]), or fusion=None"
        )
    return layers[-1].in_features


def crop_options(crop: Mapping | None, glance: int | Sequence[int] | None) -> dict:
    """The options of the crop, checked and complete, with ``boxcar`` made of its three.

    Raises:
        UserError: On a wrong one.
    """
    options = complete_options('crop', crop or {}, CROP_OPTIONS)
    check_choice('crop.grad', options['grad'], CROP_GRADIENTS)
    check_choice('crop.resample_from', options['resample_from'], RESAMPLE_FROM)
    options['size'] = check_size('crop.size', options['size'])
    if glance is not None and options['resample_from'] == 'parent':
        raise UserError(
            f'glance={glance} shows the first scale a smaller picture, in which there is nothing more to be seen by '
            "zooming: set crop=dict(resample_from='image')"
        )
    for name in Boxcar._fields:
        check_number(f'crop.{name}', options[name], least=0)
    options['boxcar'] = Boxcar(**{name: options.pop(name) for name in Boxcar._fields})
    return options


def check_size(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) from one or two whole numbers."""
    numbers = whole_numbers(name, size, 1)
    if len(numbers) > 2:
        raise UserError(f'{name} must be a side, or (height, width), got {size!r}')
    return (numbers * 2)[:2]


def output_scales(output: str | None, num_scales: int) -> tuple[int, bool]:
    """How many scales an output needs, and whether it is what they say together.

    Args:
        output (str, optional): '1', '2' ... one scale; '1+2', '1+2+3' ... the first together; None all together.
        num_scales (int): S.

    Raises:
        UserError: If there is no such output.
    """
    known = {str(k): (k, False) for k in range(1, num_scales + 1)}
    known |= {'+'.join(map(str, range(1, k + 1))): (k, True) for k in range(2, num_scales + 1)}
    if output is None:
        return num_scales, num_scales > 1
    check_choice('output', output, known)
    return known[output]


def check_width(feats: Sequence[Tensor] | Tensor, head: ClsHead) -> None:
    """Raises ``UserError`` for pooled features of another width than the head reads."""
    x = feats[-1] if isinstance(feats, (tuple, list)) else feats
    width = getattr(head, 'in_channels', None)
    if isinstance(x, Tensor) and x.dim() == 2 and isinstance(width, int) and x.shape[1] != width:
        raise UserError(
            f'head.in_channels={width}, but backbone and neck give features of width {x.shape[1]}: set one to the '
            'other, and in_channels of the localizer if its config has it'
        )


def warn_of_enlarging(size: tuple[int, int], images: Tensor) -> None:
    """Crops that are larger than the pictures they are cut from take time and show nothing more."""
    if size[0] > images.shape[-2] or size[1] > images.shape[-1]:
        print_log(
            f'crop.size={size} enlarges pictures of {tuple(images.shape[-2:])} as a whole: every finer scale then '
            'costs more than the first; usual is half their side',
            logger='current',
            level=logging.WARNING,
        )


def true_classes(data_samples: Sequence[DataSample] | None, count: int, num_classes: int) -> Tensor:
    """The true class of each picture, (B,) long, or its soft target (B, C).

    Values are looked at on the CPU only: a GPU would have to be waited for.

    Args:
        data_samples (Sequence[DataSample], optional): With ``gt_label``, one each, or ``gt_score``.
        count (int): B.
        num_classes (int): C.

    Raises:
        UserError: If there are not as many, or they have anything but one label each.
    """
    if data_samples is None or len(data_samples) != count:
        given = 'none' if data_samples is None else len(data_samples)
        raise UserError(f'{count} pictures need as many data samples with their labels, got {given}')
    field = 'gt_score' if 'gt_score' in data_samples[0] else 'gt_label'
    shape, values = ((num_classes,), []) if field == 'gt_score' else ((1,), [])
    for sample in data_samples:
        value = sample.get(field)
        if value is None or tuple(value.shape) != shape:
            raise UserError(
                f'RACNN takes one label for each picture: {field} of shape {shape}, got '
                f'{None if value is None else tuple(value.shape)}; for several labels each there are CSRAHead, '
                'STLSTMHead and CNNRNNHead'
            )
        values.append(value)
    if field == 'gt_score':
        target = torch.stack(values)
        if target.device.type == 'cpu' and not torch.allclose(
            target.float().sum(dim=1), torch.ones(count), atol=1e-3
        ):
            raise UserError(
                'gt_score must sum to 1 for each picture, as one label or a mixture of labels does; got sums '
                f'{target.sum(dim=1).tolist()[:4]}'
            )
        return target
    target = torch.cat(values)
    if target.device.type == 'cpu' and not ((target >= 0) & (target < num_classes)).all():
        raise UserError(f'labels must be 0 to {num_classes - 1}, got {target.tolist()}')
    return target


def spread_to_scales(state_dict: dict, prefix: str, count: int) -> None:
    """Give each scale the weights of an ``ImageClassifier``, in place; anything else stays as it is."""
    for key in list(state_dict):
        name = key[len(prefix) :]
        if key.startswith(prefix) and name.startswith(('backbone.', 'neck.', 'head.')):
            value = state_dict.pop(key)
            for scale in range(count):
                state_dict[f'{prefix}nets.{scale}.{name}'] = value
