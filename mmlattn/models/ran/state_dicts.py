"""Weights of residual attention networks under other people's layer names and under ours.

Two layouts are known, each of networks with 56 and with 92 weighted layers:

``port``
    github.com/tengshaofeng/ResidualAttentionNetwork-pytorch: ``attention_module2_2.last_blocks.conv1.weight``. Its
    classes for 224 pixels and its ``ResidualAttentionModel_92_32input_update`` for CIFAR, which has four stages.
    Every unit holds a projection ``conv4``, whether it is used or not.
``caffe``
    The authors' network definitions (github.com/fwang91/residual-attention-network), Attention and AttentionNeXt:
    blob i of the layer ``AttentionB_2/branch1/conv1_1x1`` is ``AttentionB_2/branch1/conv1_1x1.i``. A normalisation is
    one layer of four blobs: slope, bias, mean, variance.

Ours is mmpretrain's ``ImageClassifier`` with a ``LinearClsHead``: ``backbone.*`` and ``head.fc.*``. Only names
change; the tensors stay as they are.
"""

import re
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import Tensor

from mmlattn.utils.checkpoint.weight_files import without_wrapper_prefix
from mmlattn.utils.errors import UserError
from mmlattn.utils.stored_settings import decode_settings, encode_settings
from mmlattn.utils.weights import some_names

from .layer_names import layer_names

Shapes = dict[str, tuple[int, ...]]

_ARCHS = {(1, 1, 1): '56', (1, 2, 3): '92'}
_SIZES = (64, (256, 512, 1024, 2048))
_PORT_CIFAR = dict(strides=(1, 2, 2, 1), units=(0, 0, 0, 2), mask_depths=(2, 1, 0))
# Shapes don't show these, and under others the same weights compute something else.
_COMMON = dict(align_corners=True, learning='arl', attention='mixed')
_SETTINGS = dict(
    port=dict(mask_skip='port', pool_style='torch', **_COMMON),
    caffe=dict(mask_skip='official', pool_style='caffe', **_COMMON),
)
_SETTINGS_NAME = 'backbone.stored_settings'
_MODULE = dict(
    port=r'attention_module(\d)(?:_(\d+))?\.',
    caffe=r'Attention([ABC])_(\d+)/',
    mmlattn=r'backbone\.stage(\d)\.attention(\d+)\.',
)
_CAUSE = dict(
    port='another port, a class of it other than those for 224 pixels and 92_32input_update, or a part of a file',
    caffe='a definition other than the four released, BatchNorm and Scale as two layers, or a part of a file',
    mmlattn='another backbone or head, or other ptr, modules or mask_depths than this layout has names for',
)
_VARIANCES = ('.running_var', '/bn.3')
_LEAVES = ('weight', 'bias', 'running_mean', 'running_var')


class Plan(NamedTuple):
    """What a layout leaves open; everything else about the network follows.

    ``modules`` are the attention modules of stages 1 to 3; ``cifar`` says that it is the port's network for pictures
    of 32x32; ``groups`` are those of AttentionNeXt's 3x3 convolutions, 0 for Attention's pre-activated units;
    ``stem`` and ``channels`` are the channels of the stem and of the four stages.
    """

    layout: str
    modules: tuple[int, ...]
    cifar: bool
    groups: int
    stem: int
    channels: tuple[int, ...]
    classes: int


def _detect_layout(names: Iterable[str]) -> str:
    """``'port'``, ``'caffe'`` or ``'mmlattn'``, from the names in a file."""
    for layout, pattern in _MODULE.items():
        if any(map(re.compile(pattern).match, names)):
            return layout
    raise UserError(
        f'the file has {some_names(names)}: neither the names of the PyTorch port (attention_module1.*), nor those '
        'of the Caffe definitions (AttentionA_1/*), nor ours (backbone.stage1.attention1.*)'
    )


def to_mmlattn(source: dict[str, Tensor], layout: str = 'auto') -> tuple[dict[str, Tensor], Plan]:
    """Rename a foreign state dict; a ``module.`` before all of its names is fine.

    Returns:
        tuple[dict[str, Tensor], Plan]: What loads strictly into the model of :func:`model_config`, and its plan.

    Raises:
        UserError: If the layout is another one, a name is unknown or missing, or a shape does not fit.
    """
    source = without_wrapper_prefix(source)
    found = _detect_layout(source)
    if found == 'mmlattn' or layout not in ('auto', found):
        raise UserError(f'the names in the file are those of the layout {found}, expected {layout}')
    plan = _plan(source, found, found)
    ours, unused, names = _network(plan)
    if not any(map(_is_count, source)):  # Caffe, and PyTorch before 0.4.1
        names = {key: name for key, name in names.items() if not _is_count(key)}
    source = _checked(source, {name: (ours | unused)[key] for key, name in names.items()}, found)
    state = {key: source[names[key]] if key in names else torch.tensor(0) for key in ours}
    return {**state, _SETTINGS_NAME: encode_settings(**_SETTINGS[plan.layout])}, plan


def from_mmlattn(state: dict[str, Tensor], layout: str) -> dict[str, Tensor]:
    """The inverse of :func:`to_mmlattn`, for an ``ImageClassifier`` with a ``LinearClsHead``.

    The port's projections that nothing uses become zeros; Caffe's normalisation keeps no count of batches.

    Raises:
        UserError: If the layout has no names for such a network, or it was trained with other settings.
    """
    state = dict(without_wrapper_prefix(state))
    if _detect_layout(state) != 'mmlattn':
        raise UserError(f'expected our names (backbone.*, head.fc.*), the file has {some_names(state)}')
    _check_settings(state.pop(_SETTINGS_NAME, None), layout)
    plan = _plan(state, 'mmlattn', layout)
    ours, unused, names = _network(plan)
    state = _checked(state, ours, 'mmlattn')
    state |= {key: state['head.fc.weight'].new_zeros(shape) for key, shape in unused.items()}
    converted = {name: state[key] for key, name in names.items()}
    if layout == 'caffe':
        return {
            name: blob.reshape(1, -1, 1, 1) if '/bn.' in name else blob for name, blob in converted.items()
        }
    return converted


def model_config(plan: Plan) -> dict:
    """Config of the ``ImageClassifier`` whose weights they are, for mmpretrain's scope."""
    arch = _ARCHS[plan.modules]
    if plan.cifar or (plan.stem, plan.channels) != _SIZES:
        arch = dict(stem_channels=plan.stem, channels=plan.channels, modules=plan.modules)
        arch |= _PORT_CIFAR if plan.cifar else {}
    unit = {0: 'preact', 32: 'resnext'}.get(plan.groups) or dict(type='resnext', groups=plan.groups)
    family = 'ResidualAttentionNet_CIFAR' if plan.cifar else 'ResidualAttentionNet'
    return dict(
        type='ImageClassifier',
        backbone=dict(type=f'mmlattn.{family}', arch=arch, unit=unit, **_SETTINGS[plan.layout]),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=plan.classes, in_channels=plan.channels[-1]),
    )


def _plan(state: dict[str, Tensor], names_of: str, layout: str) -> Plan:
    """The plan of ``state``, whose names are those of ``names_of``, as a network of ``layout``."""

    def shape(name: str) -> tuple[int, ...]:
        """Of a weight that every network has."""
        if name not in state or state[name].ndim < 2 or 0 in state[name].shape:
            raise UserError(f'missing: the weight {name}. Likely {_CAUSE[names_of]}')
        return tuple(state[name].shape)

    found = {m.groups() for m in map(re.compile(_MODULE[names_of]).match, state) if m}
    modules = tuple(sum(stage in either for stage, _ in found) for either in ('1A', '2B', '3C'))
    if modules not in _ARCHS:
        raise UserError(
            f'there are {modules} attention modules in stages 1, 2 and 3; expected (1, 1, 1), which is 56, or '
            f'(1, 2, 3), which is 92. Likely {_CAUSE[names_of]}'
        )
    if names_of == 'mmlattn':
        cifar = layout == 'port' and shape('backbone.stem.conv.weight')[-1] == 3
        postact = layout == 'caffe' and 'backbone.stage1.transition.projection.0.weight' in state
        spell = str
    else:
        cifar = any('.middle_2r_blocks.' in name for name in state)
        postact = any('/mask/down/' in name for name in state)
        spell = partial(_spell, layers=layer_names(layout, modules, cifar, postact), layout=layout)
    width, group_width = shape(spell('backbone.stage1.transition.conv2.weight'))[:2]
    return Plan(
        layout=layout,
        modules=modules,
        cifar=cifar,
        groups=max(1, width // group_width) if postact else 0,
        stem=shape(spell('backbone.stem.conv.weight'))[0],
        channels=tuple(shape(spell(f'backbone.stage{k}.transition.conv3.weight'))[0] for k in (1, 2, 3, 4)),
        classes=shape(spell('head.fc.weight'))[-2],
    )


def _network(plan: Plan) -> tuple[Shapes, Shapes, dict[str, str]]:
    """Shapes of our weights, and of the port's projections that nothing uses; the layout's names of both."""
    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmpretrain'):
        try:
            model = MODELS.build(model_config(plan))
        except ValueError as error:
            raise UserError(f'no network has the sizes found in the file, {plan}: {error}') from error
    ours = {key: tuple(t.shape) for key, t in model.state_dict().items() if key != _SETTINGS_NAME}
    layers = layer_names(plan.layout, plan.modules, plan.cifar, postact=plan.groups > 0)
    unused = {}
    for layer in layers:
        unit, _, last = f'backbone.{layer}'.rpartition('.')
        if plan.layout == 'port' and last == 'projection' and f'{unit}.projection.weight' not in ours:
            channels, in_channels = ours[f'{unit}.conv3.weight'][0], ours[f'{unit}.conv1.weight'][1]
            unused[f'{unit}.projection.weight'] = (channels, in_channels, 1, 1)
    keys = [key for key in (*ours, *unused) if plan.layout == 'port' or not _is_count(key)]
    return ours, unused, {key: _spell(key, layers, plan.layout) for key in keys}


def _check_settings(code: Tensor | None, layout: str) -> None:
    """Weights trained with other settings than the layout's would compute something else there."""
    stored = {} if code is None else decode_settings(code)
    if wrong := dict(stored.items() - _SETTINGS[layout].items()):
        raise UserError(
            f'these weights were trained with {wrong}, and networks of the layout {layout} have '
            f'{ {name: _SETTINGS[layout].get(name) for name in wrong} }: they would compute something else'
        )


def _spell(key: str, layers: dict[str, str], layout: str) -> str:
    """One of our names as the layout has it: ``layer.weight``, or in Caffe ``layer.0``."""
    layer, _, leaf = key.removeprefix('backbone.').rpartition('.')
    return f'{layers[layer]}.{_LEAVES.index(leaf) if layout == "caffe" else leaf}'


def _is_count(name: str) -> bool:
    return name.endswith('.num_batches_tracked')


def _checked(state: dict[str, Tensor], shapes: Shapes, layout: str) -> dict[str, Tensor]:
    """``state`` in just these names and shapes, or an error; Caffe's blobs may have further axes of length 1."""
    missing, surplus = ([n for n in a if n not in b] for a, b in ((shapes, state), (state, shapes)))
    wrong = [
        f'{name} {tuple(state[name].shape)} instead of {shape}'
        for name, shape in shapes.items()
        if name in state and _plain(state[name].shape, layout) != _plain(shape, layout)
    ]
    negative = [n for n in shapes if n.endswith(_VARIANCES) and n in state and not (state[n] >= 0).all()]
    problems = {'missing': missing, 'unknown': surplus, 'of another shape': wrong}
    problems['no variance, as it is negative'] = negative
    if any(problems.values()):
        raise UserError(
            f'{"; ".join(f"{what}: {some_names(names)}" for what, names in problems.items() if names)}. '
            f'Likely {_CAUSE[layout]}'
        )
    return {name: state[name].reshape(shape) for name, shape in shapes.items()}


def _plain(shape: Iterable[int], layout: str) -> list[int]:
    return [size for size in shape if layout != 'caffe' or size != 1]
