"""What RA-CNN is made of, from its config, and which part of it learns."""

from collections.abc import Mapping, Sequence
from copy import deepcopy

from mmengine.model import ModuleList
from mmpretrain.models import ImageClassifier
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.models.heads import ClsHead, MultiLabelClsHead
from torch import Tensor, nn

from mmlattn.models.layers.feature_layout import last_output
from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_whole
from mmlattn.utils.errors import UserError

from .heads import ScaleFusion
from .localizers import build_localizers

PHASES = ('joint', 'cls', 'pretrain_apn', 'apn')
"""What learns: everything, the networks, the localizers from the highest response, the localizers by rank."""


class ScaleNetworks(BaseClassifier):
    """A network for each scale, localizers between them, heads for several scales together, and a rank loss.

    Takes the arguments of mmpretrain's ``ImageClassifier`` and loads the weights of one into all scales.

    Args:
        backbone (dict): Of each scale; the last of its outputs is the feature map.
        neck (dict, optional): Of each scale.
        head (dict): Of each scale, of a single label, such as ``LinearClsHead``.
        num_scales (int): S; 3 in the paper.
        shared (bool): Whether all scales have the same network, heads included.
        scales (Sequence[dict], optional): For each scale, settings of ``backbone``, ``neck`` or ``head`` that differ,
            or with a ``type`` the whole of it.
        localizer (dict | Sequence[dict] | str): Config for all scales but the finest, or one for each;
            'activation' is ``ActivationLocalizer``. An ``APN`` takes ``in_channels`` from the head by default.
        rank_loss (dict): Config.
        fusion (dict, optional): Config of the heads for scales 1 to k together; None for the mean of their
            probabilities.
        train_cfg (dict, optional): Batch augmentations, as for ``ImageClassifier``.
        data_preprocessor (dict | nn.Module, optional): As for ``ImageClassifier``.
        init_cfg (dict, optional): Of the whole.

    Raises:
        UserError: For arguments that are wrong or do not fit each other.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        *,
        num_scales: int = 3,
        shared: bool = False,
        scales: Sequence[dict] | None = None,
        localizer: dict | Sequence[dict] | str = dict(type='mmlattn.APN', form='light'),  # noqa: B006
        rank_loss: dict = dict(type='mmlattn.PairwiseRankLoss'),  # noqa: B006
        fusion: dict | None = dict(type='mmlattn.ScaleFusionHead'),  # noqa: B006
        train_cfg: dict | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if not isinstance(data_preprocessor, nn.Module):
            defaults = dict(type='mmpretrain.ClsDataPreprocessor', batch_augments=train_cfg)
            data_preprocessor = MODELS.build(dict(defaults, **data_preprocessor or {}))
        super().__init__(init_cfg, data_preprocessor)
        check_whole('num_scales', num_scales, 1)
        self.num_scales = num_scales
        self.nets = _build_nets(dict(backbone=backbone, neck=neck, head=head), num_scales, shared, scales)
        heads = [self.net(scale).head for scale in range(num_scales)]
        self.localizers = build_localizers(localizer, heads[:-1])
        self.fusion = ScaleFusion(fusion, heads)
        self.rank_loss = MODELS.build(rank_loss)
        self.phase = 'joint'
        self._frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}

    def net(self, scale: int) -> ImageClassifier:
        """The network of a scale, counted from 0."""
        return self.nets[min(scale, len(self.nets) - 1)]

    @property
    def backbone(self) -> nn.Module:
        """That of the first scale, whose maps lie over the whole picture."""
        return self.nets[0].backbone

    @property
    def neck(self) -> nn.Module | None:
        """That of the first scale."""
        return self.nets[0].neck

    @property
    def loss_module(self) -> nn.Module:
        """The loss of the scales' heads; one that is set is for all of them, and for the fusion."""
        return self.nets[0].head.loss_module

    def __setattr__(self, name: str, value: object) -> None:
        if name != 'loss_module':
            super().__setattr__(name, value)
            return
        for head in [*(net.head for net in self.nets), *self.fusion]:
            head.loss_module = deepcopy(value)

    def features(self, picture: Tensor, scale: int) -> tuple[Tensor, Sequence[Tensor] | Tensor]:
        """The feature map (B, D, h, w) of what a scale sees, and what its head reads.

        Raises:
            UserError: If that is not as wide as the head expects.
        """
        net = self.net(scale)
        maps = net.extract_feat(picture, stage='backbone')
        if net.with_neck:
            check_zoomable(last_output(maps))
        feats = net.neck(maps) if net.with_neck else maps
        pooled, width = last_output(feats), getattr(net.head, 'in_channels', None)
        flat = isinstance(pooled, Tensor) and pooled.dim() == 2
        if flat and isinstance(width, int) and pooled.shape[1] != width:
            raise UserError(
                f'head.in_channels={width}, but backbone and neck give features of width {pooled.shape[1]}: set one '
                'to the other, and in_channels of the localizer if its config has it'
            )
        return last_output(maps), feats

    def localizers_learn(self) -> bool:
        """Whether any localizer has parameters."""
        return any(True for _ in self.localizers.parameters())

    def set_phase(self, phase: str) -> None:
        """Say what learns, by one of ``PHASES``; the rest is frozen with its statistics, and loses its gradients.

        Wrap the model for several processes before the first call, while everything asks for gradients.

        Raises:
            UserError: For another phase, or one in which nothing learns, for want of localizers with parameters.
        """
        check_choice('phase', phase, PHASES)
        if phase in ('pretrain_apn', 'apn') and not self.localizers_learn():
            raise UserError(f'nothing learns in the phase {phase!r}: these localizers have no parameters')
        self.phase = phase
        for name, parameter in self.named_parameters():
            learns = phase == 'joint' or (phase == 'cls') != name.startswith('localizers.')
            parameter.requires_grad_(learns and name not in self._frozen)
            if not learns:
                parameter.grad = None
        self.train(self.training)

    def train(self, mode: bool = True) -> nn.Module:
        """Training mode for what learns."""
        super().train(mode)
        if mode and self.phase != 'joint':
            for part in (self.localizers,) if self.phase == 'cls' else (self.nets, self.fusion):
                part.eval()
        return self

    def get_layer_depth(self, param_name: str) -> tuple[int, int]:
        """Depth of a parameter and the greatest, for layer-wise learning rates; all but the networks are deepest."""
        part, _, rest = param_name.partition('.')
        if part != 'nets':
            _, deepest = self.nets[0].get_layer_depth('head')
            return deepest - 1, deepest
        index, _, name = rest.partition('.')
        return self.nets[int(index)].get_layer_depth(name)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Give each scale the weights of an ``ImageClassifier``."""
        for part in ('backbone.', 'neck.', 'head.'):
            for key in [key for key in state_dict if key.startswith(prefix + part)]:
                value = state_dict.pop(key)
                for scale in range(len(self.nets)):
                    state_dict[f'{prefix}nets.{scale}.{key[len(prefix) :]}'] = value
        super()._load_from_state_dict(state_dict, prefix, *args)


def _build_nets(
    parts: Mapping, num_scales: int, shared: bool, scales: Sequence[Mapping] | None
) -> ModuleList:
    """The network of each scale, or one for all."""
    if not isinstance(shared, bool):
        raise UserError(f'shared must be True or False, got {shared!r}')
    if scales is not None and (shared or len(scales) != num_scales):
        raise UserError(
            f'scales must say for each of num_scales={num_scales} what differs, and needs shared=False, got '
            f'{len(scales)} and shared={shared}'
        )
    # mmengine's list: torch's own would keep init_weights from its members.
    nets = ModuleList()
    for changes in scales or [{}] * (1 if shared else num_scales):
        if not isinstance(changes, Mapping) or changes.keys() - parts.keys():
            raise UserError(f'each of scales must be a dict with some of {", ".join(parts)}, got {changes!r}')
        net = ImageClassifier(
            **{name: _changed(part, changes.get(name)) for name, part in parts.items()},
            data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
        )
        if not isinstance(net.head, ClsHead) or isinstance(net.head, MultiLabelClsHead):
            raise UserError(
                'RACNN compares how sure each scale is of the one true class, so its head must be a ClsHead of a '
                f'single label, such as LinearClsHead, got {type(net.head).__name__}'
            )
        nets.append(net)
    return nets


def _changed(part: Mapping | Sequence | None, changes: Mapping | Sequence | None) -> dict | list | None:
    """A config with some settings changed, or replaced by one with a type."""
    merge = isinstance(part, Mapping) and isinstance(changes, Mapping) and 'type' not in changes
    return deepcopy({**part, **changes} if merge else part if changes is None else changes)


def check_zoomable(feature_map: Tensor) -> None:
    """Raises ``UserError`` for features that have no places any more."""
    if feature_map.dim() != 4:
        raise UserError(
            f'RACNN zooms in on feature maps (B, D, h, w), the backbone gives {tuple(feature_map.shape)}: of '
            "transformers take out_type='featmap', of ConvNeXt gap_before_final_norm=False; pool in the neck"
        )
