"""From the arguments of ``RACNN`` to its parts."""

from collections.abc import Mapping, Sequence

from mmengine.model import ModuleList  # torch's own would keep init_weights from its members
from mmpretrain.models import ImageClassifier
from mmpretrain.models.heads import ClsHead, MultiLabelClsHead
from torch import nn

from mmlattn.models.layers import CROP_GRADIENTS, Boxcar
from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_number, complete_options, whole_numbers

__all__ = [
    'build_fusion', 'build_localizers', 'build_nets', 'crop_options', 'output_scales', 'spread_to_scales',
]  # fmt: skip

RESAMPLE_FROM = ('parent', 'image')
CROP_OPTIONS = dict(
    size=224,
    grad='boxcar',
    resample_from='parent',
    antialias=False,
    align_corners=False,
    **Boxcar()._asdict(),
)


def build_nets(
    parts: Mapping, num_scales: int, shared: bool, scales: Sequence[Mapping] | None
) -> ModuleList:
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
        ValueError: If the arguments do not fit each other, or a head is not of a single label.
    """
    if scales is not None and (shared or len(scales) != num_scales):
        raise ValueError(
            f'scales must say for each of num_scales={num_scales} what differs, and needs shared=False, got '
            f'{len(scales)} and shared={shared}'
        )
    nets = ModuleList()
    for own in scales or [{}] * (1 if shared else num_scales):
        if own.keys() - parts.keys():
            raise ValueError(f'scales takes {", ".join(parts)}, got {", ".join(own)}')
        net = ImageClassifier(
            **{name: _changed(part, own.get(name)) for name, part in parts.items()},
            data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
        )
        if not isinstance(net.head, ClsHead) or isinstance(net.head, MultiLabelClsHead):
            raise ValueError(
                'RACNN compares how sure each scale is of the one true class, so its head must be a ClsHead of a '
                f'single label, such as LinearClsHead, got {type(net.head).__name__}'
            )
        nets.append(net)
    return nets


def _changed(part: Mapping | None, own: Mapping | None) -> dict | None:
    if own is None:
        return part and dict(part)
    return dict(own) if part is None or 'type' in own else dict(part, **own)


def build_localizers(
    localizer: Mapping | Sequence | str, count: int, in_channels: int | None
) -> ModuleList:
    """One for each scale but the finest.

    Args:
        localizer (Mapping | Sequence | str): A config for all, a list of one for each, or 'activation'.
        count (int): How many.
        in_channels (int, optional): Of an ``APN`` whose config does not say.

    Raises:
        ValueError: If there are not as many.
    """
    if isinstance(localizer, str):
        check_choice('localizer', localizer, ('activation',))
        localizer = dict(type='mmlattn.ActivationLocalizer')
    configs = [localizer] * count if isinstance(localizer, Mapping) else list(localizer)
    if len(configs) != count:
        raise ValueError(
            f'localizer must be one config, or one for each scale but the finest, {count}, got {len(configs)}'
        )
    if in_channels is not None:
        configs = [
            dict(dict(in_channels=in_channels), **cfg) if cfg['type'].rpartition('.')[2] == 'APN' else cfg
            for cfg in configs
        ]
    return ModuleList(MODELS.build(cfg) for cfg in configs)


def build_fusion(fusion: Mapping | None, heads: Sequence[ClsHead]) -> ModuleList:
    """A head for scales 1 to k, for each k from 2 to S; none if ``fusion`` is None.

    Args:
        fusion (Mapping, optional): Config; ``num_classes``, ``in_channels`` (of each scale) and ``loss`` are taken
            from the heads where it does not give them.
        heads (Sequence[ClsHead]): Of each scale.

    Raises:
        ValueError: If the width of a head's features cannot be told.
    """
    if fusion is None:
        return ModuleList()
    fusion = dict(fusion)
    widths = fusion.pop('in_channels', None) or [_width(head) for head in heads]
    fusion.setdefault('num_classes', heads[0].num_classes)
    fusion.setdefault('loss', heads[0].loss_module)
    return ModuleList(MODELS.build(dict(fusion, in_channels=widths[:k])) for k in range(2, len(heads) + 1))


def _width(head: ClsHead) -> int:
    """Width of ``pre_logits``: what the last linear layer reads."""
    layers = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    if not layers or layers[-1].out_features != getattr(head, 'num_classes', None):
        raise ValueError(
            f'{type(head).__name__} does not tell how wide its features are: give '
            "fusion=dict(type='mmlattn.ScaleFusionHead', in_channels=[one width for each scale]), or fusion=None"
        )
    return layers[-1].in_features


def crop_options(crop: Mapping | None, glance: int | Sequence[int] | None) -> dict:
    """The options of the crop, checked and complete, with ``boxcar`` made of its three.

    Raises:
        ValueError: On a wrong one.
    """
    options = complete_options('crop', crop or {}, CROP_OPTIONS)
    check_choice('crop.grad', options['grad'], CROP_GRADIENTS)
    check_choice('crop.resample_from', options['resample_from'], RESAMPLE_FROM)
    options['size'] = check_size('crop.size', options['size'])
    if glance is not None and options['resample_from'] == 'parent':
        raise ValueError(
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
        raise ValueError(f'{name} must be a side, or (height, width), got {size!r}')
    return (numbers * 2)[:2]


def output_scales(output: str | None, num_scales: int) -> tuple[int, bool]:
    """How many scales an output needs, and whether it is what they say together.

    Args:
        output (str, optional): '1', '2' ... one scale; '1+2', '1+2+3' ... the first together; None all together.
        num_scales (int): S.

    Raises:
        ValueError: If there is no such output.
    """
    known = {str(k): (k, False) for k in range(1, num_scales + 1)}
    known |= {'+'.join(map(str, range(1, k + 1))): (k, True) for k in range(2, num_scales + 1)}
    if output is None:
        return num_scales, num_scales > 1
    check_choice('output', output, known)
    return known[output]


def spread_to_scales(state_dict: dict, prefix: str, count: int) -> None:
    """Give each scale the weights of an ``ImageClassifier``, in place; anything else stays as it is."""
    for key in list(state_dict):
        name = key[len(prefix) :]
        if key.startswith(prefix) and name.startswith(('backbone.', 'neck.', 'head.')):
            value = state_dict.pop(key)
            for scale in range(count):
                state_dict[f'{prefix}nets.{scale}.{name}'] = value
