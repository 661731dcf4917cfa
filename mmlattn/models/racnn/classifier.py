"""The recurrent attention convolutional neural network."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmlattn.models.layers.spatial_transformer import compose_theta, theta_to_boxes
from mmlattn.registry import MODELS
from mmlattn.structures import set_regions
from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError

from .crop import LossScale, attention_crop, whole_picture, zoom
from .options import (
    build_fusion,
    build_localizers,
    build_nets,
    check_size,
    check_width,
    crop_options,
    output_scales,
    spread_to_scales,
    true_classes,
    warn_of_enlarging,
)
from .ranking import true_class_probs
from .squares import outside_share, squares_to_theta

__all__ = ['PHASES', 'RACNN']

PHASES = ('joint', 'cls', 'pretrain_apn', 'apn')
"""What learns: everything, the networks, the localizers from the highest response, the localizers by rank."""


class Looks(NamedTuple):
    """What has been seen of each of n pictures so far; tuples have one entry for each scale."""

    images: Tensor
    picture: Tensor
    theta: Tensor
    feature_map: Tensor | None = None
    regions: tuple[Tensor, ...] = ()
    logits: tuple[Tensor, ...] = ()
    descriptors: tuple[Tensor, ...] = ()

    def pick(self, chosen: Tensor) -> 'Looks':
        """Those of some of the pictures, (n,) bool."""
        return Looks(*(tuple(x[chosen] for x in f) if isinstance(f, tuple) else f[chosen] for f in self))


@MODELS.register_module()
class RACNN(BaseClassifier):
    """Looks at a picture, zooms in on a square of it, looks again (RA-CNN; Fu, Zheng and Mei, CVPR 2017).

    Each scale has a network of its own; a localizer proposes from the feature map of one scale the square that the
    next one sees. The classifiers learn by their usual losses, the localizers by the rank loss: a finer scale must be
    surer of the true class. Takes the arguments of mmpretrain's ``ImageClassifier``, so a config becomes RA-CNN by
    its ``type``, and loads the weights of one into all scales.

    What learns is said by ``phase``, see :meth:`set_phase`; ``RACNNPhaseHook`` alternates as the paper does. Without
    it everything learns at once from the sum of all losses; then the squares follow the classifiers' losses too.

    Args:
        backbone (dict): Of each scale; the last of its outputs is the feature map.
        neck (dict, optional): Of each scale.
        head (dict): Of each scale, of a single label, such as ``LinearClsHead``.
        num_scales (int): S; 3 in the paper.
        shared (bool): Whether all scales have the same network, heads included.
        scales (Sequence[dict], optional): For each scale, settings of ``backbone``, ``neck`` or ``head`` that differ.
        localizer (dict | Sequence[dict] | str): Config for all scales but the finest, or one for each;
            'activation' is ``ActivationLocalizer``. An ``APN`` takes ``in_channels`` from the head if not given.
        crop (dict, optional): ``size`` of the crops in pixels (224); ``grad``, 'boxcar' or 'sampler', see
            ``racnn/crop.py``, with ``sharpness``, ``shrink`` and ``gain`` of the former;
            ``resample_from``: 'parent', each crop is cut from the one before, or 'image', from the picture;
            ``antialias``.
        rank_loss (dict): Config.
        fusion (dict, optional): Config of the heads for scales 1 to k together; None for the mean of their
            probabilities.
        output (str, optional): What ``pred_score`` is: '1', '2' ... one scale, '1+2' ... the first ones together;
            None for all together. Finer scales than it needs are not looked at in ``predict``.
        glance (int | Sequence[int], optional): Side, or (height, width), at which the first scale sees the picture;
            crops are cut from the whole picture. None for the picture as it is.
        exit_above (float, optional): In ``predict``, stop looking at a picture once what its scales say together is
            at least so sure of a class, in [0, 1].
        pretrain_target (dict): Config of the localizer that the others learn from in the phase 'pretrain_apn'.
        with_evidence (bool): Whether ``predict`` adds ``regions`` (K, 4), ``region_scores`` (K, C) and
            ``fused_scores`` (K - 1, C) of the K scales looked at.
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
        crop: dict | None = None,
        rank_loss: dict = dict(type='mmlattn.PairwiseRankLoss'),  # noqa: B006
        fusion: dict | None = dict(type='mmlattn.ScaleFusionHead'),  # noqa: B006
        output: str | None = None,
        glance: int | Sequence[int] | None = None,
        exit_above: float | None = None,
        pretrain_target: dict = dict(type='mmlattn.ActivationLocalizer'),  # noqa: B006
        with_evidence: bool = False,
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
        self.nets = build_nets(dict(backbone=backbone, neck=neck, head=head), num_scales, shared, scales)
        heads = [self.net(scale).head for scale in range(num_scales)]
        self.localizers = build_localizers(localizer, num_scales - 1, heads)
        self.fusion = build_fusion(fusion, heads)
        self.rank_loss = MODELS.build(rank_loss)
        self.pretrain_target = MODELS.build(pretrain_target)
        self.crop = crop_options(crop, glance)
        self.resample_from = self.crop.pop('resample_from')
        self.glance = None if glance is None else check_size('glance', glance)
        self.depth, self.fused = output_scales(output, num_scales)
        if exit_above is not None:
            check_number('exit_above', exit_above, least=0)
            if exit_above > 1:
                raise UserError(f'exit_above is a probability, in [0, 1], got {exit_above}')
            if output is not None:
                raise UserError(f'exit_above={exit_above} decides how many scales speak: set output=None')
        self.exit_above, self.with_evidence = exit_above, with_evidence
        self.phase, self._warned = 'joint', False
        self._frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}

    def net(self, scale: int) -> nn.Module:
        """The network of a scale, counted from 0."""
        return self.nets[min(scale, len(self.nets) - 1)]

    def set_phase(self, phase: str) -> None:
        """Say what learns; the rest is frozen, its statistics included, and loses the gradients it has.

        Wrap the model for several processes before the first call, while everything asks for gradients.

        Args:
            phase (str): One of ``PHASES``.

        Raises:
            UserError: For another one, or one in which nothing learns, for want of localizers with parameters.
        """
        check_choice('phase', phase, PHASES)
        if phase in ('pretrain_apn', 'apn') and not any(True for _ in self.localizers.parameters()):
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

    def forward(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = 'tensor'
    ) -> Tensor | list[DataSample] | dict[str, Tensor]:
        """As of ``ImageClassifier``; 'tensor' gives the output's raw scores (B, C), never stopping early."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode != 'tensor':
            raise UserError(f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}")
        return self._output(self._look_closer(inputs, self.depth))

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """What each scale's classifier reads, (B, D) for each."""
        return self._look_closer(inputs, self.num_scales).descriptors

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """The losses of what learns in this phase; others, detached, under names without 'loss'.

        Args:
            inputs (Tensor): Shape (B, 3, H, W).
            data_samples (list[DataSample]): With ``gt_label``, one each, or ``gt_score``.

        Returns:
            dict[str, Tensor]: ``scale1.loss`` ..., ``fused2.loss`` ..., ``rank_loss``, and the means ``side2`` ...
            and ``outside2`` ... of the squares that each finer scale was shown: side, and share outside its parent.
        """
        if not self._warned:
            self._warned = True
            warn_of_enlarging(self.crop['size'], inputs)
        if self.phase == 'pretrain_apn':
            return self._pretraining_losses(inputs)
        target = true_classes(data_samples, inputs.shape[0], self.nets[0].head.num_classes)
        learns_squares = self.phase != 'cls' and any(True for _ in self.localizers.parameters())
        losses, looks = {}, self._first_look(inputs)
        loss_scale = LossScale(getattr(self.rank_loss, 'loss_weight', 1.0))
        for scale in range(self.num_scales):
            if scale:
                with torch.set_grad_enabled(learns_squares):
                    squares = self._propose(looks, scale)
                losses |= _figures(squares, scale)
                looks = self._zoom_in(looks, squares, loss_scale)
            looks, feats = self._see(looks, scale)
            if self.phase != 'apn':
                # Not from the scores at hand: some heads score differently where they know the truth.
                own = self.net(scale).head.loss(feats, data_samples)
                losses |= {f'scale{scale + 1}.{name}': value for name, value in own.items()}
        if self.phase != 'apn':
            for scales, head in enumerate(self.fusion, start=2):
                own = head.loss(looks.descriptors[:scales], data_samples)
                losses |= {f'fused{scales}.{name}': value for name, value in own.items()}
        rank = self.rank_loss(torch.stack([true_class_probs(x, target) for x in looks.logits], dim=1))
        if learns_squares:
            loss_scale.watch(rank)
        return losses | ({'rank_loss': rank} if learns_squares else {'rank': rank.detach()})

    def predict(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        with_evidence: bool | None = None,
    ) -> list[DataSample]:
        """Predict the class, and what was looked at.

        Args:
            inputs (Tensor): Shape (B, 3, H, W).
            data_samples (list[DataSample], optional): Samples to write to.
            with_evidence (bool, optional): Overrides the model's setting for this call.

        Returns:
            list[DataSample]: With ``pred_score`` (C,), ``pred_label`` (1,), and the evidence if asked for.
        """
        samples = [DataSample() for _ in inputs] if data_samples is None else list(data_samples)
        with_evidence = self.with_evidence if with_evidence is None else with_evidence
        if self.exit_above is None:
            self._write(samples, self._look_closer(inputs, self.depth), with_evidence)
            return samples
        looks, waiting = self._first_look(inputs), samples
        for scale in range(self.num_scales):
            if scale:
                looks = self._zoom_in(looks, self._propose(looks, scale))
            looks = self._see(looks, scale)[0]
            sure = self._together(looks, scale + 1).softmax(dim=1).amax(dim=1) >= self.exit_above
            sure = sure | (scale == self.num_scales - 1)
            done = sure.tolist()
            self._write([s for s, d in zip(waiting, done, strict=True) if d], looks.pick(sure), with_evidence)
            looks, waiting = looks.pick(~sure), [s for s, d in zip(waiting, done, strict=True) if not d]
            if not waiting:
                break
        return samples

    def _look_closer(self, images: Tensor, depth: int) -> Looks:
        looks = self._first_look(images)
        for scale in range(depth):
            if scale:
                looks = self._zoom_in(looks, self._propose(looks, scale))
            looks = self._see(looks, scale)[0]
        return looks

    def _first_look(self, images: Tensor) -> Looks:
        theta, picture = whole_picture(images), images
        if self.glance is not None:
            picture = zoom(images, theta, self.glance, antialias=True)
        return Looks(images, picture, theta)

    def _propose(self, looks: Looks, scale: int) -> Tensor:
        """Squares for a scale from the one before, which learns nothing from where they lead."""
        if looks.feature_map.dim() != 4:
            raise UserError(
                f'RACNN zooms in on feature maps (B, D, h, w), the backbone gives {tuple(looks.feature_map.shape)}: '
                "of transformers take out_type='featmap', of ConvNeXt gap_before_final_norm=False; pool in the neck"
            )
        return self.localizers[scale - 1](looks.feature_map.detach())

    def _zoom_in(self, looks: Looks, squares: Tensor, loss_scale: LossScale | None = None) -> Looks:
        """The next picture. Coarser squares learn nothing from it: their own scale is the one they lead to."""
        options = dict(self.crop, loss_scale=loss_scale)
        if self.resample_from == 'parent':
            picture = attention_crop(looks.picture.detach(), squares, **options)
        else:
            frame = dict(outer=looks.theta, outer_size=tuple(looks.picture.shape[-2:]))
            picture = attention_crop(looks.images, squares, **frame, **options)
        theta = compose_theta(looks.theta, squares_to_theta(squares.detach()))
        return looks._replace(picture=picture, theta=theta)

    def _see(self, looks: Looks, scale: int) -> tuple[Looks, Sequence[Tensor]]:
        """Look at the picture; also what the head reads."""
        net = self.net(scale)
        maps = net.extract_feat(looks.picture, stage='backbone')
        feats = net.neck(maps) if net.with_neck else maps
        check_width(feats, net.head)
        return looks._replace(
            feature_map=maps[-1] if isinstance(maps, (tuple, list)) else maps,
            regions=(*looks.regions, theta_to_boxes(looks.theta)),
            logits=(*looks.logits, net.head(feats).float()),
            descriptors=(*looks.descriptors, net.head.pre_logits(feats)),
        ), feats

    def _together(self, looks: Looks, scales: int) -> Tensor:
        """Raw scores (B, C) of scales 1 to k together."""
        if scales == 1:
            return looks.logits[0]
        if len(self.fusion):
            return self.fusion[scales - 2](looks.descriptors[:scales]).float()
        each = torch.stack(looks.logits[:scales]).log_softmax(dim=-1)
        return each.logsumexp(dim=0) - math.log(scales)

    def _output(self, looks: Looks) -> Tensor:
        scales = min(self.depth, len(looks.logits))
        return self._together(looks, scales) if self.fused else looks.logits[scales - 1]

    def _write(self, samples: Sequence[DataSample], looks: Looks, with_evidence: bool) -> None:
        if not samples:
            return
        for sample, score in zip(samples, self._output(looks).softmax(dim=1), strict=True):
            sample.set_pred_score(score.clone()).set_pred_label(score.argmax(dim=0, keepdim=True))
        if with_evidence:
            count = len(looks.logits)
            together = [self._together(looks, k).softmax(dim=1) for k in range(2, count + 1)]
            set_regions(
                samples,
                torch.stack(looks.regions, dim=1),
                torch.stack(looks.logits, dim=1).softmax(dim=2),
                names=[f'scale {k + 1}' for k in range(count)],
                fused_scores=torch.stack(together, dim=1) if together else None,
            )

    def _pretraining_losses(self, inputs: Tensor) -> dict[str, Tensor]:
        """Squared distance of each proposed square to that of the highest response, which is then zoomed in on."""
        losses, looks = {}, self._first_look(inputs)
        for scale in range(1, self.num_scales):
            with torch.no_grad():
                looks = self._see(looks, scale - 1)[0]
                target = self.pretrain_target(looks.feature_map)
            squares = self._propose(looks, scale)
            losses[f'pretrain{scale + 1}.loss'] = (squares - target).square().sum(dim=1).mean()
            losses |= _figures(squares, scale)
            looks = self._zoom_in(looks, target)
        return losses

    def get_layer_depth(self, param_name: str) -> tuple[int, int]:
        """Depth of a parameter and the greatest, for layer-wise learning rates; all but the networks are deepest."""
        parts = param_name.split('.', 2)
        net = self.nets[int(parts[1])] if parts[0] == 'nets' else self.nets[0]
        depth, deepest = net.get_layer_depth(parts[2] if parts[0] == 'nets' else 'head')
        return (depth if parts[0] == 'nets' else deepest - 1), deepest

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        spread_to_scales(state_dict, prefix, len(self.nets))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _figures(squares: Tensor, scale: int) -> Mapping[str, Tensor]:
    squares = squares.detach()
    return {
        f'side{scale + 1}': 2 * squares[:, 2].mean(),
        f'outside{scale + 1}': outside_share(squares).mean(),
    }
