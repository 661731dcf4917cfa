"""Residual attention around the stages of another backbone."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from mmengine.model import initialize
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn

from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError
from mmlattn.utils.stored_settings import StoredSettings
from mmlattn.utils.weights import loads_weights

from .attention_module import FUSIONS, AttendedStage
from .backbone import HE_INIT, make_norm, make_unit
from .soft_mask import MASK_ACTIVATIONS, SoftMask

# The width of a narrower mask is rounded up to a multiple, which keeps convolutions fast and units divisible.
WIDTH_STEP = 16


@MODELS.register_module()
class ResidualAttentionWrapper(StoredSettings, BaseBackbone):
    """Gives stages of a backbone the soft masks of the Residual Attention Network (CVPR 2017).

    The first blocks of a stage, which change resolution and channels, stay before the split; the others become the
    trunk T of an attention module, and a mask branch M beside them makes the stage's output (1 + M) T. Works where
    stages are ``nn.Sequential`` of blocks on (B, C, h, w): ResNet, ResNeXt, SE-ResNet, RegNet, Res2Net, ConvNeXt and
    others. The backbone's weights load as before, since its blocks keep their names. Its ``frozen_stages`` freeze
    blocks, not masks: with all of them frozen, masks learn beside a fixed network.

    Args:
        backbone (dict): Config of the backbone, its ``init_cfg`` included; scope it, e.g. ``mmpretrain.ResNet``.
        stages (Mapping[str, int] | Sequence[str]): Names of the stages as attributes of the backbone, each with the
            number of poolings in its mask. Names alone get 1. The paper's rule: until 7x7 at an input of 224, so
            ``dict(layer1=3, layer2=2, layer3=1)`` for a ResNet.
        mask_ratio (float): Channels inside the mask, as a share of the stage's. At 1 the mask is the paper's; at
            0.25 it has about a seventh of the parameters and a fifth of the multiply-adds.
        mask_bias (float, optional): Gives the masks' logits a bias that starts here; the paper has none.
        mask_init (str): ``'he'``, or ``'zero'``: the masks start as sigmoid(mask_bias), 0.5 without a bias. With a
            ``mask_bias`` of -6 that is 0.0025, so a pretrained backbone starts as good as unchanged.
        pre (int): Blocks of a stage before the split.
        unit, learning, attention, norm_cfg: Of the masks, as for ``ResidualAttentionNet``.
        init_cfg (dict, optional): ``dict(type='Pretrained', ...)`` for weights of the whole wrapper. Without, the
            masks get He initialisation and the backbone what its ``init_cfg`` says.

    Raises:
        UserError: For a stage that does not exist or has too few blocks, or on loading weights that were trained
            with another learning or attention.

    Example:
        >>> backbone = MODELS.build(dict(
        ...     type='mmlattn.ResidualAttentionWrapper',
        ...     backbone=dict(type='mmpretrain.ResNet', depth=50),
        ...     stages=dict(layer2=2, layer3=1), mask_ratio=0.25, mask_bias=-6, mask_init='zero'))
    """

    def __init__(
        self,
        backbone: dict,
        stages: Mapping[str, int] | Sequence[str],
        *,
        mask_ratio: float = 1.0,
        mask_bias: float | None = None,
        mask_init: str = 'he',
        pre: int = 1,
        unit: str | dict = 'preact',
        learning: str = 'arl',
        attention: str = 'mixed',
        norm_cfg: dict = dict(type='BN', requires_grad=True),  # noqa: B006
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_choice('learning', learning, FUSIONS)
        check_choice('attention', attention, MASK_ACTIVATIONS)
        check_choice('mask_init', mask_init, ('he', 'zero'))
        if attention == 'channel' and (mask_init == 'zero' or mask_bias is not None):
            raise UserError(
                "attention='channel' normalises mask_init='zero' and mask_bias away: leave them out"
            )
        if mask_bias is not None:
            check_number('mask_bias', mask_bias)
        check_number('mask_ratio', mask_ratio)
        if not 0 < mask_ratio <= 1:
            raise UserError(f'mask_ratio must be more than 0 and at most 1, got {mask_ratio}')
        check_whole('pre', pre, 0)
        if not stages or not isinstance(stages, (Mapping, Sequence)) or isinstance(stages, str):
            raise UserError(f'stages must name at least one stage, e.g. dict(layer3=1), got {stages!r}')
        self.backbone = MODELS.build(backbone)
        self.mask_init = mask_init
        norm = partial(make_norm, norm_cfg)
        unit = make_unit(unit, norm)
        depths = dict(stages) if isinstance(stages, Mapping) else dict.fromkeys(stages, 1)
        # All before the first mask is in its place: a pass of the backbone would freeze it with its stage.
        stages = {name: self._blocks(name, pre) for name in depths}
        trunks = {name: self._trunk_channels(name, blocks, pre) for name, blocks in stages.items()}
        for name, channels in trunks.items():
            width = math.ceil(channels * mask_ratio / WIDTH_STEP) * WIDTH_STEP
            mask = SoftMask(
                channels, depths[name], unit=unit, norm=norm, preactivation=unit.func.preactivation,
                attention=attention, width=min(width, channels), bias=mask_bias,
            )  # fmt: skip
            parent, _, child = name.rpartition('.')
            stage = AttendedStage(stages[name], mask=mask, pre=pre, learning=learning)
            setattr(self.backbone.get_submodule(parent), child, stage)
        self.store_settings(learning=learning, attention=attention)

    def _blocks(self, name: str, pre: int) -> nn.Sequential:
        """The stage of that name, after checks."""
        modules = dict(self.backbone.named_modules())
        blocks = modules.get(name)
        if blocks is None:
            names = [n for n, module in modules.items() if isinstance(module, nn.Sequential)]
            raise UserError(f'{type(self.backbone).__name__} has no stage {name!r}; it has {names[:20]}')
        if not isinstance(blocks, nn.Sequential):
            raise UserError(
                f'{name!r} is a {type(blocks).__name__}; a stage must be an nn.Sequential of blocks'
            )
        if not 0 <= pre < len(blocks):
            raise UserError(f'pre must leave at least one of the {len(blocks)} blocks of {name!r}, got {pre}')
        return blocks

    def _trunk_channels(self, name: str, blocks: nn.Sequential, pre: int) -> int:
        """Channels of a stage, from what it makes of a small picture.

        Trunk input and output must agree, and the backbone's output must depend on the stage.
        """
        seen = {}

        def cut(module: nn.Module, args: tuple, out: Tensor) -> Tensor:
            seen.update(trunk=out, leaf=out.detach().requires_grad_())
            return seen['leaf'].clone()

        hooks = [
            blocks[pre].register_forward_pre_hook(lambda module, args: seen.update(x=args[0])),
            blocks[-1].register_forward_hook(cut),
        ]
        channels = next((m.in_channels for m in self.backbone.modules() if isinstance(m, nn.Conv2d)), 3)
        training = self.backbone.training
        self.backbone.eval()
        try:
            with torch.enable_grad():
                outs = self.backbone(torch.zeros(1, channels, 64, 64))
        finally:
            self.backbone.train(training)
            for hook in hooks:
                hook.remove()
        shapes = {key: tuple(getattr(seen.get(key), 'shape', ())) for key in ('x', 'trunk')}
        if shapes['x'] != shapes['trunk'] or len(shapes['x']) != 4:
            raise UserError(
                f'{name!r} does not split after {pre} blocks: the rest must keep the shape (B, C, h, w), got '
                f'{shapes}. Set pre to the number of blocks that change resolution or channels'
            )
        used = sum(out.sum() for out in (outs if isinstance(outs, (tuple, list)) else [outs]))
        if used.requires_grad:
            # Not torch.autograd.grad, which a backbone with with_cp=True refuses.
            used.backward()
            self.backbone.zero_grad()
        if seen['leaf'].grad is None:
            raise UserError(
                f'nothing that {type(self.backbone).__name__} returns depends on {name!r}, so its mask would never '
                'learn: leave it out, or add a later stage to out_indices'
            )
        return shapes['trunk'][1]

    def masks(self) -> list[SoftMask]:
        """The masks that the wrapper added, in network order."""
        return [stage.mask for stage in self.modules() if isinstance(stage, AttendedStage)]

    def init_weights(self) -> None:
        """The backbone by its own ``init_cfg``, then the masks."""
        first = not self.is_init
        super().init_weights()
        if not first or loads_weights(self.init_cfg):
            return
        for mask in self.masks():
            initialize(mask, list(HE_INIT))
            mask.head.init_logits(zero=self.mask_init == 'zero')

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the backbone returns, from pictures of shape (B, 3, H, W)."""
        return self.backbone(x)

    def train(self, mode: bool = True) -> 'ResidualAttentionWrapper':
        """The backbone's ``norm_eval`` and ``frozen_stages`` hold for its own layers; the masks learn."""
        learns = [(p, p.requires_grad) for mask in self.masks() for p in mask.parameters()]
        super().train(mode)
        for mask in self.masks():
            mask.train(mode)
        for parameter, wanted in learns:
            parameter.requires_grad_(wanted)
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter and number of layers as the backbone counts; a mask is in its stage's last."""
        name = param_name
        if name.startswith(prefix):
            # mmpretrain's ResNet knows its stages by names that begin with 'backbone.' and by no others.
            name = 'backbone.' + name.removeprefix(f'{prefix}backbone.')
        stage, mask, _ = name.partition('.mask.')
        if mask:
            blocks = self.get_submodule(stage).named_children()
            name = f'{stage}.{[block for block, _ in blocks if block != "mask"][-1]}.weight'
        return self.backbone.get_layer_depth(name, 'backbone.')

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Take the weights of a plain classifier as well, whose backbone has no masks: they keep their start."""
        ours = (f'{prefix}backbone.', f'{prefix}stored_settings')
        for key in [key for key in state_dict if key.startswith(prefix) and not key.startswith(ours)]:
            state_dict[f'{prefix}backbone.{key.removeprefix(prefix)}'] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)
