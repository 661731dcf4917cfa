"""Whole classifiers as the authors of CSRA released them: their backbone's names beside those of their heads.

Their ResNets have torchvision's names, their ViTs timm's; the heads are the layouts A, B, L1 and L2 of
``state_dicts.py``. Ours is mmpretrain's ``ImageClassifier`` with a ``CSRAHead``: ``backbone.*`` and ``head.*``.

==========================  ===================================  ==============================================
file                        backbone                             classifier
==========================  ===================================  ==============================================
A                           ``conv1.weight layer1.0.*`` ...      ``classifier.multi_head.{i}.head.weight``
B                           ``cls_token blocks.0.attn.*`` ...    ``classifier.multi_head.{i}.head.weight``
L1                          ``backbone.conv1.weight`` ...        ``classifier.fc{i+1}.weight``
L2                          ``cls_token blocks.0.attn.*`` ...    ``head{i+1}.weight``, ``.bias``
the weights they start at   either of these                      an ImageNet classifier, which is left out
==========================  ===================================  ==============================================

lam and the temperatures are in none of them, nor are the names of the classes.
"""

import math
import re
from typing import NamedTuple

from torch import Tensor, nn

from mmlattn.utils.checkpoint.weight_files import without_wrapper_prefix
from mmlattn.utils.errors import UserError
from mmlattn.utils.stored_settings import BUFFER

from .pooling import PAPER_TEMPERATURES

# Beginnings of names that differ, in timm's ViT and in mmpretrain's.
_VIT_NAMES = (
    ('patch_embed.proj.', 'patch_embed.projection.'),
    ('blocks.{}.norm1.', 'layers.{}.ln1.'),
    ('blocks.{}.norm2.', 'layers.{}.ln2.'),
    ('blocks.{}.attn.', 'layers.{}.attn.'),
    ('blocks.{}.mlp.fc1.', 'layers.{}.ffn.layers.0.0.'),
    ('blocks.{}.mlp.fc2.', 'layers.{}.ffn.layers.1.'),
    ('norm.', 'ln1.'),
)
_VIT = re.compile(r'(cls_token|pos_embed)$|(patch_embed|blocks|norm)\.')
_RESNET = re.compile(r'(conv1|bn1|layer[1-4])\.')
_HEAD = re.compile(r'classifier\.(multi_head\.\d+\.head\.weight|fc\d+\.weight)|(head\d+\.(?:weight|bias))')
_IMAGENET = re.compile(r'(?:backbone\.)?(?:fc|head)\.(?:weight|bias)')
_WHOLE = re.compile(r'conv1\.weight|patch_embed\.proj\.weight|classifier\.fc1\.weight')
# Whether its units are bottlenecks, and how many each stage has.
_RESNETS = {
    (False, 2, 2, 2, 2): 18,
    (False, 3, 4, 6, 3): 34,
    (True, 3, 4, 6, 3): 50,
    (True, 3, 4, 23, 3): 101,
    (True, 3, 8, 36, 3): 152,
}


class Plan(NamedTuple):
    """The network that a file is of; ``backbone`` is its config."""

    backbone: dict
    channels: int
    num_heads: int
    classes: int
    bias: bool


def is_official(state: dict[str, Tensor]) -> bool:
    """Whether names are those of a whole official file, or of the ImageNet weights that it started from."""
    return any(map(_WHOLE.fullmatch, state))


def to_mmlattn(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a whole official file by the names of our classifier; unknown ones keep theirs.

    A ``module.`` before all names is fine. The heads keep their layout, which ``CSRAHead`` reads.
    """
    ours = {}
    for name, tensor in without_wrapper_prefix(state).items():
        if _IMAGENET.fullmatch(name):
            continue
        head = _HEAD.fullmatch(name)
        if head:
            name = f'head.{head[1] or head[2]}'
        elif _RESNET.match(name):
            name = f'backbone.{name}'
        elif _VIT.match(name):
            name = f'backbone.{_renamed(name, _VIT_NAMES)}'
        ours[name] = tensor
    return ours


def from_mmlattn(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The official names, layout A or B, of an ``ImageClassifier`` with a ``CSRAHead``.

    Raises:
        UserError: If it has another backbone or head, or a bias, for which these files have no names.
    """
    theirs = {}
    back = tuple((ours, official) for official, ours in _VIT_NAMES)
    for name, tensor in state.items():
        part, _, rest = name.partition('.')
        official = _renamed(rest, back)
        if part == 'backbone' and (_RESNET.match(rest) or _VIT.match(official)):
            theirs[rest if _RESNET.match(rest) else official] = tensor
        elif name == 'head.weight' and tensor.dim() == 3:
            for i, rows in enumerate(tensor):
                theirs[f'classifier.multi_head.{i}.head.weight'] = rows[..., None, None].clone()
        elif name != f'head.{BUFFER}':
            raise UserError(
                f'the official files have no name for {name}: expected a ResNet or VisionTransformer of mmpretrain '
                'and a CSRAHead without bias'
            )
    return theirs


def read_plan(state: dict[str, Tensor]) -> Plan:
    """The network of a file, from our names of :func:`to_mmlattn`.

    Raises:
        UserError: If it is none of the official kinds, or has names that are in none of them.
    """
    unknown = [name for name in state if not name.startswith(('backbone.', 'head.'))]
    heads = {
        int(m[1]): name for name in state if (m := re.fullmatch(r'head\.\D*(\d+)(\.head)?\.weight', name))
    }
    if unknown or not heads:
        raise UserError(
            f'this is no classifier of the CSRA authors: it has {unknown[0] if unknown else "no CSRA heads"}; '
            'expected classifier.multi_head.0.head.weight, and of the backbone the names of torchvision '
            '(layer1.0.conv1.weight) or timm (blocks.0.attn.qkv.weight)'
        )
    shape = tuple(state[next(iter(heads.values()))].shape)
    if len(shape) < 2:
        raise UserError(f'a head has the shape {shape}; expected (classes, channels, 1, 1)')
    backbone = _vit(state) if 'backbone.cls_token' in state else _resnet(state)
    bias = any(re.fullmatch(r'head\.head\d+\.bias', name) for name in state)
    return Plan(backbone, shape[1], len(heads), shape[0], bias)


def model_config(plan: Plan, lam: float) -> dict:
    """Config of the ``ImageClassifier`` whose weights they are, for mmpretrain's scope.

    Raises:
        UserError: If the paper has no temperatures for so many heads.
    """
    if plan.num_heads not in PAPER_TEMPERATURES:
        raise UserError(
            f'the file has {plan.num_heads} heads; the paper has {sorted(PAPER_TEMPERATURES)}, and a file does not '
            'say its temperatures'
        )
    head = dict(num_classes=plan.classes, in_channels=plan.channels, num_heads=plan.num_heads, lam=lam)
    if plan.bias:
        head['bias'] = True
    return dict(type='ImageClassifier', backbone=plan.backbone, head=dict(type='mmlattn.CSRAHead', **head))


def read_official_files(
    classifier: nn.Module, state_dict: dict, prefix: str, metadata: dict, *unused: object
) -> None:
    """A pre-hook of a classifier's ``load_state_dict``: the names of whole official files become ours, in place."""
    inside = {key.removeprefix(prefix): key for key in state_dict if key.startswith(prefix)}
    state = without_wrapper_prefix({name: state_dict[key] for name, key in inside.items()})
    if is_official(state):
        for key in inside.values():
            del state_dict[key]
        state_dict.update({f'{prefix}{name}': tensor for name, tensor in to_mmlattn(state).items()})


def _renamed(name: str, rows: tuple[tuple[str, str], ...]) -> str:
    for old, new in rows:
        found = re.match(re.escape(old).replace(r'\{\}', r'(\d+)'), name)
        if found:
            return new.format(*found.groups()) + name[found.end() :]
    return name


def _resnet(state: dict[str, Tensor]) -> dict:
    blocks = {m.groups() for name in state if (m := re.match(r'backbone\.layer([1-4])\.(\d+)\.', name))}
    bottleneck = 'backbone.layer1.0.conv3.weight' in state
    counts = tuple(sum(stage == str(number) for stage, _ in blocks) for number in (1, 2, 3, 4))
    depth = _RESNETS.get((bottleneck, *counts))
    if depth is None:
        raise UserError(f'no ResNet has {counts} units in its stages: expected one of depth 18 to 152')
    return dict(type='ResNet', depth=depth)


def _vit(state: dict[str, Tensor]) -> dict:
    try:
        width, patch = (state['backbone.patch_embed.projection.weight'].shape[i] for i in (0, -1))
        cells = state['backbone.pos_embed'].shape[1] - 1
        hidden = state['backbone.layers.0.ffn.layers.0.0.weight'].shape[0]
    except (KeyError, IndexError) as error:
        raise UserError(f'no ViT has such weights ({error}). Likely a part of a file') from error
    layers = len({name.split('.')[2] for name in state if name.startswith('backbone.layers.')})
    side = math.isqrt(cells)
    if side**2 != cells or width % 64:
        raise UserError(
            f'no ViT of theirs has {cells} patches and {width} channels: expected a square of patches, and attention '
            'heads of 64 channels'
        )
    arch = dict(embed_dims=width, num_layers=layers, num_heads=width // 64, feedforward_channels=hidden)
    known = {(768, 12): 'b', (1024, 24): 'l'}
    return dict(
        type='VisionTransformer',
        arch=known.get((width, layers), arch) if hidden == 4 * width else arch,
        img_size=side * patch,
        patch_size=patch,
        out_type='featmap',
    )
