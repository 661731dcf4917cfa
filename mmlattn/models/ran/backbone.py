"""The Residual Attention Network as a backbone, for ImageNet-sized and for CIFAR-sized pictures.

This file holds the plan of the network, its numbers and the order of its parts; what they compute is in
``attention_module.py``, ``soft_mask.py`` and ``residual_units.py``.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mmcv.cnn import build_norm_layer
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_whole, complete_options, whole_numbers
from mmlattn.utils.errors import UserError
from mmlattn.utils.stored_settings import StoredSettings
from mmlattn.utils.weights import loads_weights

from .attention_module import FUSIONS, AttentionModule
from .residual_units import InceptionUnit, Norm, PreActUnit, ResidualUnit, ResNeXtUnit, Unit
from .soft_mask import MASK_ACTIVATIONS, MaskHead, SoftMask, pooling

RESIDUAL_UNITS = dict(preact=PreActUnit, resnext=ResNeXtUnit, inception=InceptionUnit)

HE_INIT = (
    dict(type='Kaiming', layer='Conv2d', mode='fan_out', nonlinearity='relu'),
    dict(type='Constant', layer=['_BatchNorm', 'GroupNorm'], val=1),
)


@MODELS.register_module()
class ResidualAttentionNet(StoredSettings, BaseBackbone):
    """Residual Attention Network (CVPR 2017), Attention-56 and Attention-92 and their relatives.

    Layer for layer the network definitions that the authors released (github.com/fwang91/residual-attention-network
    @ bc207a8); with a linear head of 1000 classes Attention-56 has 31,810,728 parameters. Inputs of any height and
    width from 32 pixels on are taken; no parameter is ever unused.

    Args:
        arch (str | dict): ``'56'`` or ``'92'``, or a dict with the keys ``stem_channels`` (int), and for each stage
            ``channels`` (of its output), ``strides``, ``modules`` (attention modules), ``units`` (residual units
            after them), and the three that follow here; missing keys are Attention-56's.
        unit (str | dict): ``'preact'``; ``'resnext'`` for AttentionNeXt; ``'inception'`` for AttentionInception,
            whose unit is ours, as the paper has none. A dict adds arguments: ``dict(type='resnext', groups=16)``.
        ptr (tuple[int, int, int], optional): p residual units before and after the attention, t in the trunk, r
            between two samplings of the mask. Defaults to (1, 2, 1).
        modules (Sequence[int], optional): Attention modules of the first stages, instead of the arch's.
        mask_depths (Sequence[int], optional): Max poolings of the masks of each stage. Defaults to (3, 2, 1), which
            at an input of 224 is the paper's rule to pool until 7x7; fixed, whatever the input.
        learning (str): ``'arl'`` for (1 + M) T, ``'nal'`` for M T.
        attention (str): Mask activation, ``'mixed'``, ``'channel'`` or ``'spatial'``.
        mask_struct (str): ``'encdec'``, or ``'conv'`` for three units without sampling (the paper's ablation).
        mask_skip (str): ``'official'``, or ``'port'``: adds encoder features and trunk as some ports do.
        mask_init (str): ``'he'`` as every convolution, or ``'zero'``: all masks start as 0.5.
        pool_style (str): ``'torch'`` pads by 1 and rounds down, ``'caffe'`` pads nothing and rounds up.
        align_corners (bool): Of the masks' bilinear interpolation.
        in_channels (int): Channels of the picture.
        out_indices (Sequence[int]): Stages to return, 0-based. Later stages are not built.
        out_norm (bool): Normalise and rectify every returned stage (Swin-like), which an FPN wants: outputs of
            pre-activated stages are plain sums. The last stage's always are. For ``unit='preact'`` alone.
        frozen_stages (int): -1 none, 0 the stem, k the stem and stages 1 to k.
        norm_eval, with_cp, norm_cfg: As for mmpretrain's ResNet; ``with_cp`` recomputes each residual unit.
        init_cfg (dict | list[dict], optional): Defaults to He initialisation.

    Raises:
        UserError: For an unknown name or lengths that do not fit each other, or on loading weights that were
            trained with another learning, attention, mask_skip, pool_style or align_corners.
    """

    arch_settings = {'56': dict(modules=(1, 1, 1, 0)), '92': dict(modules=(1, 2, 3, 0))}
    arch_defaults = dict(
        stem_channels=64,
        channels=(256, 512, 1024, 2048),
        strides=(1, 2, 2, 2),
        modules=(1, 1, 1, 0),
        units=(0, 0, 0, 2),
        ptr=(1, 2, 1),
        mask_depths=(3, 2, 1),
    )

    def __init__(
        self,
        arch: str | dict = '56',
        unit: str | dict = 'preact',
        *,
        ptr: Sequence[int] | None = None,
        modules: Sequence[int] | None = None,
        mask_depths: Sequence[int] | None = None,
        learning: str = 'arl',
        attention: str = 'mixed',
        mask_struct: str = 'encdec',
        mask_skip: str = 'official',
        mask_init: str = 'he',
        pool_style: str = 'torch',
        align_corners: bool = True,
        in_channels: int = 3,
        out_indices: Sequence[int] = (-1,),
        out_norm: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_cfg: dict = dict(type='BN', requires_grad=True),  # noqa: B006
        init_cfg: dict | Sequence[dict] | None = HE_INIT,
    ) -> None:
        super().__init__(init_cfg=list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg)
        for name, value, known in (
            ('learning', learning, FUSIONS),
            ('attention', attention, MASK_ACTIVATIONS),
            ('mask_struct', mask_struct, ('encdec', 'conv')),
            ('mask_skip', mask_skip, ('official', 'port')),
            ('mask_init', mask_init, ('he', 'zero')),
            ('pool_style', pool_style, ('torch', 'caffe')),
        ):
            check_choice(name, value, known)
        check_whole('in_channels', in_channels, 1)
        if attention == 'channel' and mask_init == 'zero':
            raise UserError(
                "mask_init='zero' leaves attention='channel' nothing to normalise: use mask_init='he'"
            )
        plan = _make_plan(
            arch, self.arch_settings, self.arch_defaults, ptr=ptr, modules=modules, mask_depths=mask_depths
        )
        self.channels = plan['channels']
        self.out_indices = _stage_indices(out_indices, len(self.channels))
        self.mask_init = mask_init
        self.norm_eval = norm_eval
        last = max(self.out_indices)
        if not isinstance(frozen_stages, int) or not -1 <= frozen_stages <= last + 1:
            raise UserError(
                f'frozen_stages must lie between -1 and {last + 1}, the built stages, got {frozen_stages}'
            )
        self.frozen_stages = frozen_stages

        norm = partial(make_norm, norm_cfg)
        unit = make_unit(unit, norm)
        preactivation = unit.func.preactivation
        if out_norm and not preactivation:
            raise UserError(
                "out_norm=True is for unit='preact': the outputs of the other units are normalised already"
            )
        mask = partial(
            SoftMask, r=plan['ptr'][2], unit=unit, norm=norm, preactivation=preactivation, attention=attention,
            structure=mask_struct, skip=mask_skip, pool_style=pool_style, align_corners=align_corners,
        )  # fmt: skip
        self.stem = self._make_stem(in_channels, plan['stem_channels'], norm, pool_style)
        c_in = plan['stem_channels']
        for i, channels in enumerate(self.channels[: last + 1]):
            self.add_module(f'stage{i + 1}', _make_stage(c_in, i, plan, unit, mask, learning))
            c_in = channels
        self._normed = [
            i for i in self.out_indices if preactivation and (out_norm or i == len(self.channels) - 1)
        ]
        for i in self._normed:
            self.add_module(f'norm{i}', nn.Sequential(norm(self.channels[i]), nn.ReLU(inplace=True)))
        for module in self.modules():
            if isinstance(module, ResidualUnit):
                module.with_cp = with_cp
        self.store_settings(
            learning=learning, attention=attention, mask_skip=mask_skip, pool_style=pool_style,
            align_corners=bool(align_corners),
        )  # fmt: skip
        self._freeze()

    def _make_stem(self, in_channels: int, channels: int, norm, pool_style: str) -> nn.Sequential:
        conv = nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
        layers = dict(conv=conv, norm=norm(channels), relu=nn.ReLU(inplace=True), pool=pooling(pool_style))
        return nn.Sequential(OrderedDict(layers))

    def init_weights(self) -> None:
        """He initialisation; with ``mask_init='zero'`` each mask starts as 0.5, unless weights were loaded."""
        first = not self.is_init
        super().init_weights()
        if not first or loads_weights(self.init_cfg):
            return
        for module in self.modules():
            if isinstance(module, MaskHead):
                module.init_logits(zero=self.mask_init == 'zero')

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of the stages in ``out_indices``, from pictures of shape (B, in_channels, H, W).

        Stage i gives (B, channels[i], H / s, W / s) with s = 4, 8, 16, 32 (1, 2, 4 in the CIFAR family); what odd
        sizes are rounded to is up to ``pool_style``.
        """
        x = self.stem(x)
        outs = []
        for i in range(max(self.out_indices) + 1):
            x = getattr(self, f'stage{i + 1}')(x)
            if i in self.out_indices:
                outs.append(getattr(self, f'norm{i}')(x) if i in self._normed else x)
        return tuple(outs)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter's layer, 0 for the stem, and the number of layers, all that follows counted as one.

        For learning rates that decay by layer; a transition, attention module or unit is a layer. ``prefix`` precedes
        the backbone's own names.
        """
        stages = [(name, stage) for name, stage in self.named_children() if name.startswith('stage')]
        layers = ['stem']
        layers += [f'{name}.{layer}' for name, stage in stages for layer, _ in stage.named_children()]
        name = param_name.removeprefix(prefix)
        depth = next((i for i, layer in enumerate(layers) if name.startswith(f'{layer}.')), len(layers))
        return depth, len(layers) + 1

    def _freeze(self) -> None:
        frozen = [self.stem] if self.frozen_stages >= 0 else []
        frozen += [getattr(self, f'stage{k}') for k in range(1, self.frozen_stages + 1)]
        if self.frozen_stages == len(self.channels):
            # The closing one belongs to the network; those of out_norm are new in a detector and must learn.
            frozen += [getattr(self, f'norm{i}') for i in self._normed if i == len(self.channels) - 1]
        for module in frozen:
            module.eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'ResidualAttentionNet':
        """Training mode, but for frozen stages, and for all batch normalisation with ``norm_eval``."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


@MODELS.register_module()
class ResidualAttentionNet_CIFAR(ResidualAttentionNet):  # noqa: N801 (the name that mmpretrain gives such siblings)
    """Residual Attention Network for pictures of 32x32 pixels.

    As the ImageNet network but for a stem of one 3x3 convolution without pooling, three stages of 64, 128 and 256
    channels, the same number m of attention modules in each, and one residual unit after them: 36 m + 20 weighted
    trunk layers. The paper gives no layer plan; this one is inferred from its rules and the sizes it reports
    (docs/ran.md). ``arch`` is ``'56'``, ``'92'``, ``'128'``, ``'164'``, ``'236'``, ``'452'``, or a dict.
    """

    arch_settings = {
        **{str(36 * m + 20): dict(modules=(m, m, m)) for m in (1, 2, 3, 4, 6)},
        '452': dict(modules=(6, 6, 6), ptr=(2, 4, 3)),
    }
    arch_defaults = ResidualAttentionNet.arch_defaults | dict(
        stem_channels=16, channels=(64, 128, 256), strides=(1, 2, 2), modules=(1, 1, 1), units=(1, 1, 1)
    )

    def _make_stem(self, in_channels: int, channels: int, norm, pool_style: str) -> nn.Sequential:
        conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        return nn.Sequential(OrderedDict(conv=conv, norm=norm(channels), relu=nn.ReLU(inplace=True)))


def _make_plan(arch: str | Mapping, presets: Mapping, defaults: Mapping, **changes) -> dict:
    """All numbers of a network, with the keys of ``defaults``: these, what ``arch`` and what the arguments change.

    ``modules``, ``units`` and ``mask_depths`` may be given for the first stages alone and are filled up with 0.
    """
    if isinstance(arch, Mapping):
        complete_options('arch', arch, defaults)
        changed = dict(arch)
    else:
        check_choice('arch', str(arch), presets)
        changed = dict(presets[str(arch)])
    changed |= {key: value for key, value in changes.items() if value is not None}
    plan = {**defaults, **changed}
    for key, value in plan.items():
        plan[key] = whole_numbers(key, value, 1 if key in ('stem_channels', 'channels', 'strides') else 0)
    (plan['stem_channels'],) = plan['stem_channels']
    stages = len(plan['channels'])
    for key in ('modules', 'units', 'mask_depths'):
        plan[key] += (0,) * (stages - len(plan[key]))
    for key in ('strides', 'modules', 'units', 'mask_depths'):
        if len(plan[key]) != stages:
            source = '' if key in changed else f', which are the default: give {key} as well'
            raise UserError(
                f'{key} has {len(plan[key])} entries for the {stages} stages of channels={plan["channels"]}: '
                f'{plan[key]}{source}'
            )
    if len(plan['ptr']) != 3 or min(plan['ptr'][1:]) < 1:
        raise UserError(f'ptr must be three numbers with p >= 0, t >= 1 and r >= 1, got {plan["ptr"]}')
    return plan


def _make_stage(c_in: int, i: int, plan: dict, unit: Unit, mask: Callable, learning: str) -> nn.Sequential:
    """Transition to the channels of stage ``i``, its attention modules, its closing units."""
    channels, (p, t, _) = plan['channels'][i], plan['ptr']
    stage = OrderedDict(transition=unit(c_in, channels, plan['strides'][i]))
    for m in range(1, plan['modules'][i] + 1):
        branch = mask(channels, plan['mask_depths'][i])
        stage[f'attention{m}'] = AttentionModule(channels, p, t, mask=branch, unit=unit, learning=learning)
    for u in range(1, plan['units'][i] + 1):
        stage[f'unit{u}'] = unit(channels, channels)
    return nn.Sequential(stage)


def make_norm(norm_cfg: dict, channels: int) -> nn.Module:
    """A normalisation layer from mmcv's config."""
    return build_norm_layer(norm_cfg, channels)[1]


def make_unit(unit: str | dict, norm: Norm) -> partial:
    """What makes residual units, from their name or from a dict of ``type`` and further arguments."""
    options = dict(unit) if isinstance(unit, dict) else dict(type=unit)
    name = options.pop('type', None)
    check_choice('unit', name, RESIDUAL_UNITS)
    parameters = inspect.signature(RESIDUAL_UNITS[name]).parameters.keys()
    free = parameters - {'in_channels', 'channels', 'stride', 'norm'}
    if unknown := options.keys() - free:
        raise UserError(f'unit={name!r} takes no {sorted(unknown)}, only {sorted(free) or "its name"}')
    return partial(RESIDUAL_UNITS[name], norm=norm, **options)


def _stage_indices(out_indices: Sequence[int], stages: int) -> tuple[int, ...]:
    """Counted from 0, sorted, negative ones resolved."""
    try:
        out_indices = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
        resolved = sorted({i + stages if i < 0 else i for i in out_indices})
    except TypeError:
        resolved = []
    if not resolved or not 0 <= resolved[0] <= resolved[-1] < stages or len(resolved) != len(out_indices):
        raise UserError(f'out_indices must be different stages between 0 and {stages - 1}, got {out_indices}')
    return tuple(resolved)
