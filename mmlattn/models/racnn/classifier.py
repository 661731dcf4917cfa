"""RA-CNN: look at a picture, zoom in on a square of it, look again (Fu, Zheng and Mei, CVPR 2017)."""

import warnings
from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from mmlattn.models.layers.spatial_transformer import compose_theta, theta_to_boxes
from mmlattn.registry import MODELS
from mmlattn.structures import set_regions
from mmlattn.structures.labels import true_classes
from mmlattn.utils.arguments import check_choice, check_number
from mmlattn.utils.errors import UserError

from .building import ScaleNetworks, check_zoomable
from .crop import LossScale, attention_crop, crop_options, whole_picture, zoom
from .heads import side_by_side
from .ranking import true_class_probs
from .squares import highest_response_square, outside_share, squares_to_theta


class Looks(NamedTuple):
    """What has been seen of B images so far; the last three have one entry for each scale.

    ``picture`` (B, C, H, W) is what the next scale sees, ``theta`` (B, 4) where in the images that lies. Of the last
    scale ``feature_map`` is (B, D, h, w), and ``feats`` what its head reads. ``regions`` are boxes (B, 4), xyxy in
    [0, 1] of the images, ``logits`` raw scores (B, C), ``descriptors`` what the last layer of a head reads, (B, D).
    """

    images: Tensor
    picture: Tensor
    theta: Tensor
    feature_map: Tensor | None = None
    feats: Sequence[Tensor] | Tensor | None = None
    regions: tuple[Tensor, ...] = ()
    logits: tuple[Tensor, ...] = ()
    descriptors: tuple[Tensor, ...] = ()

    def settled(self) -> 'Looks':
        """The same, of which nothing coarser learns."""
        return self._replace(picture=self.picture.detach())

    def pick(self, chosen: Tensor) -> 'Looks':
        """Keep the images where ``chosen`` (B,) is true."""
        return Looks(*(f[chosen] if isinstance(f, Tensor) else tuple(x[chosen] for x in f) for f in self))


@MODELS.register_module()
class RACNN(ScaleNetworks):
    """Recurrent attention CNN (Fu, Zheng and Mei, CVPR 2017).

    Each scale has a network of its own; a localizer proposes from the feature map of one scale the square that the
    next one sees. The classifiers learn by their usual losses, the localizers by the rank loss: a finer scale must be
    surer of the true class. An ``ImageClassifier`` becomes RA-CNN by the ``type`` in its config.

    :meth:`set_phase` says what learns; ``RACNNPhaseHook`` alternates as the paper does. Without it everything learns
    at once from the sum of all losses, and the squares follow the classifiers' losses too.

    Args:
        crop (dict, optional): ``size`` of the crops in pixels (224); ``antialias``; ``grad``, 'boxcar' or 'sampler',
            see ``crop.py``, with ``sharpness``, ``shrink`` and ``gain`` of the former; ``resample_from``: 'parent',
            each crop is cut from the one before, or 'image', from the picture.
        output (str, optional): What ``pred_score`` is: '1', '2' ... one scale, '1+2' ... the first ones together;
            by default all together. Finer scales than it needs are not looked at in ``predict``.
        glance (int | Sequence[int], optional): Side, or (height, width), at which the first scale sees the picture;
            crops are cut from the whole picture. By default it sees the picture as it is.
        exit_above (float, optional): In ``predict``, stop looking at a picture once what its scales say together is
            at least so sure of a class, in [0, 1].
        with_evidence (bool): Whether ``predict`` adds ``regions`` (K, 4), ``region_scores`` (K, C) and
            ``fused_scores`` (K - 1, C) of the K scales looked at.
        **parts: ``backbone``, ``neck``, ``head``, ``num_scales``, ``shared``, ``scales``, ``localizer``,
            ``rank_loss``, ``fusion`` and the rest of :class:`ScaleNetworks`.

    Raises:
        UserError: For arguments that are wrong or do not fit each other.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        *,
        crop: dict | None = None,
        output: str | None = None,
        glance: int | Sequence[int] | None = None,
        exit_above: float | None = None,
        with_evidence: bool = False,
        **parts,
    ) -> None:
        super().__init__(backbone, neck, head, **parts)
        self.crop, self.resample_from, self.glance = crop_options(crop, glance)
        self.depth, self.fused = _read_output(output, self.num_scales)
        if exit_above is not None:
            check_number('exit_above', exit_above, least=0, most=1)
            if output is not None:
                raise UserError(f'exit_above={exit_above} decides how many scales speak: set output=None')
        self.exit_above, self.with_evidence = exit_above, with_evidence

    def forward(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = 'tensor'
    ) -> Tensor | list[DataSample] | dict[str, Tensor]:
        """As of ``ImageClassifier``; 'tensor' gives the output's raw scores (B, C), never stopping early.

        Their gradient by pictures, features and weights is that of looking at these squares; how squares follow the
        features below them is left out.
        """
        check_choice('mode', mode, ('tensor', 'loss', 'predict'))
        if mode == 'tensor':
            return self._output(self._look_closer(inputs, self.depth))
        return (self.loss if mode == 'loss' else self.predict)(inputs, data_samples)

    def extract_feat(self, inputs: Tensor, stage: str = 'neck') -> tuple[Tensor, ...] | Tensor:
        """What the scales make of pictures (B, 3, H, W), by the stages of ``ImageClassifier``.

        Args:
            inputs (Tensor): Shape (B, 3, H, W).
            stage (str): 'backbone': the feature map of each scale, (B, D, h, w). 'neck': what the last layer of its
                head reads, (B, D). 'pre_logits': those of all scales as the fusion reads them, each of the norm 10
                and side by side, (B, sum of D).
        """
        check_choice('stage', stage, ('backbone', 'neck', 'pre_logits'))
        looks, maps = self._first_look(inputs), []
        for scale in range(self.num_scales):
            looks = self._look(looks, scale)
            maps.append(looks.feature_map)
        if stage == 'backbone':
            return tuple(maps)
        return looks.descriptors if stage == 'neck' else side_by_side(looks.descriptors)

    def _look_closer(self, images: Tensor, depth: int) -> Looks:
        looks = self._first_look(images)
        for scale in range(depth):
            looks = self._look(looks, scale)
        return looks

    def _first_look(self, images: Tensor) -> Looks:
        theta, picture = whole_picture(images), images
        if self.glance is not None:
            picture = zoom(images, theta, self.glance, antialias=True)
        return Looks(images, picture, theta)

    def _look(self, looks: Looks, scale: int) -> Looks:
        if scale:
            looks = self._zoom_in(looks, self._propose(looks, scale))
        return self._see(looks, scale)

    def _propose(self, looks: Looks, scale: int) -> Tensor:
        """Squares (B, 3) for a scale from the one before, which learns nothing from where they lead."""
        check_zoomable(looks.feature_map)
        return self.localizers[scale - 1](looks.feature_map.detach())

    def _zoom_in(self, looks: Looks, squares: Tensor, loss_scale: LossScale | None = None) -> Looks:
        """The next picture."""
        theta = squares_to_theta(squares)
        theta_in_image = compose_theta(looks.theta, theta)
        source = looks.picture
        if self.resample_from == 'image':
            source, theta = looks.images, theta_in_image
        frame = dict(theta=theta, frame_size=tuple(looks.picture.shape[-2:]), loss_scale=loss_scale)
        picture = attention_crop(source, squares, **frame, **self.crop)
        return looks._replace(picture=picture, theta=theta_in_image.detach())

    def _see(self, looks: Looks, scale: int) -> Looks:
        """What the network of a scale makes of the picture."""
        feature_map, feats = self.features(looks.picture, scale)
        head = self.net(scale).head
        return looks._replace(
            feature_map=feature_map,
            feats=feats,
            regions=(*looks.regions, theta_to_boxes(looks.theta)),
            logits=(*looks.logits, head(feats).float()),
            descriptors=(*looks.descriptors, head.pre_logits(feats)),
        )

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """The losses of what learns in this phase; others, detached, under names without 'loss'.

        Args:
            inputs (Tensor): Shape (B, 3, H, W).
            data_samples (list[DataSample]): With ``gt_label``, one each, or ``gt_score``.

        Returns:
            dict[str, Tensor]: ``scale1.loss`` ..., ``fused2.loss`` ..., ``rank_loss``, and the means ``side2`` ...
            and ``outside2`` ... of the squares that each finer scale was shown: side, and share outside its parent.
        """
        _warn_of_enlarging(self.crop['size'], tuple(inputs.shape[-2:]))
        if self.phase == 'pretrain_apn':
            return self._pretraining_losses(inputs)
        if data_samples is None or len(data_samples) != len(inputs):
            count = 'none' if data_samples is None else len(data_samples)
            raise UserError(
                f'{len(inputs)} pictures need as many data samples with their labels, got {count}'
            )
        target = true_classes(data_samples, self.nets[0].head.num_classes)
        learns_squares = self.phase != 'cls' and self.localizers_learn()
        loss_scale = LossScale(getattr(self.rank_loss, 'loss_weight', 1.0))
        losses, looks = {}, self._first_look(inputs)
        for scale in range(self.num_scales):
            if scale:
                with torch.set_grad_enabled(learns_squares):
                    squares = self._propose(looks, scale)
                losses |= _figures(squares, scale)
                # Coarser squares learn nothing from finer ones: their own scale is the one they lead to.
                looks = self._zoom_in(looks.settled(), squares, loss_scale)
            looks = self._see(looks, scale)
            if self.phase != 'apn':
                # Not from the scores at hand: some heads score differently where they know the truth.
                of_scale = self.net(scale).head.loss(looks.feats, data_samples)
                losses |= {f'scale{scale + 1}.{name}': value for name, value in of_scale.items()}
        if self.phase != 'apn':
            losses |= self.fusion.loss(looks.descriptors, data_samples)
        rank = self.rank_loss(torch.stack([true_class_probs(x, target) for x in looks.logits], dim=1))
        if not learns_squares:
            return losses | {'rank': rank.detach()}
        loss_scale.watch(rank)
        return losses | {'rank_loss': rank}

    def _pretraining_losses(self, inputs: Tensor) -> dict[str, Tensor]:
        """Squared distance of each proposed square to that of the highest response, which is then zoomed in on."""
        losses, looks = {}, self._first_look(inputs)
        for scale in range(1, self.num_scales):
            with torch.no_grad():
                looks = self._see(looks, scale - 1)
            target = highest_response_square(looks.feature_map)
            squares = self._propose(looks, scale)
            losses[f'pretrain{scale + 1}.loss'] = (squares - target).square().sum(dim=1).mean()
            losses |= _figures(squares, scale)
            looks = self._zoom_in(looks.settled(), target)
        return losses

    def predict(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, with_evidence: bool | None = None
    ) -> list[DataSample]:
        """Write ``pred_score`` (C,), ``pred_label`` (1,) and, if asked for, the evidence to the data samples.

        Args:
            inputs (Tensor): Shape (B, 3, H, W).
            data_samples (list[DataSample], optional): New ones by default.
            with_evidence (bool, optional): Overrides the model's setting for this call.
        """
        samples = [DataSample() for _ in inputs] if data_samples is None else list(data_samples)
        if not samples:  # mmpretrain's pooling of no pictures fails
            return samples
        with_evidence = self.with_evidence if with_evidence is None else with_evidence
        looks, waiting = self._first_look(inputs), samples
        for scale in range(self.depth):
            looks = self._look(looks, scale)
            if self.exit_above is not None and scale + 1 < self.depth:
                sure = self._output(looks).softmax(dim=1).amax(dim=1) >= self.exit_above
                self._write(list(compress(waiting, sure.tolist())), looks.pick(sure), with_evidence)
                waiting, looks = list(compress(waiting, (~sure).tolist())), looks.pick(~sure)
            if not waiting:
                break
        self._write(waiting, looks, with_evidence)
        return samples

    def _output(self, looks: Looks) -> Tensor:
        """Raw scores (B, C) of the scales looked at."""
        return self.fusion(looks.logits, looks.descriptors) if self.fused else looks.logits[-1]

    def _write(self, samples: Sequence[DataSample], looks: Looks, with_evidence: bool) -> None:
        if not samples:
            return
        for sample, score in zip(samples, self._output(looks).softmax(dim=1), strict=True):
            sample.set_pred_score(score.clone()).set_pred_label(score.argmax(dim=0, keepdim=True))
        if with_evidence:
            found = self._evidence(looks)
            set_regions(
                samples,
                found['regions'],
                found['region_scores'],
                names=self.region_names(len(looks.logits)),
                fused_scores=found.get('fused_scores'),
            )

    def region_names(self, count: int | None = None) -> list[str]:
        """What the regions of ``count`` scales are called; by default those that ``predict`` looks at."""
        return [f'scale {k + 1}' for k in range(self.depth if count is None else count)]

    def predict_tensors(self, inputs: Tensor, with_evidence: bool = False) -> dict[str, Tensor]:
        """What ``predict`` says where it never stops early, as tensors of the whole batch, which can be exported.

        Returns:
            dict[str, Tensor]: ``logits`` (B, C), ``scores`` (B, C), and the evidence if asked for.
        """
        looks = self._look_closer(inputs, self.depth)
        logits = self._output(looks)
        found = dict(logits=logits, scores=logits.softmax(dim=1))
        return found | self._evidence(looks) if with_evidence else found

    def _evidence(self, looks: Looks) -> dict[str, Tensor]:
        """``regions`` (B, K, 4), ``region_scores`` (B, K, C); of several scales ``fused_scores`` (B, K - 1, C)."""
        found = dict(
            regions=torch.stack(looks.regions, dim=1).clamp(0, 1),
            region_scores=torch.stack(looks.logits, dim=1).softmax(dim=2),
        )
        count = len(looks.logits)
        fused = [self.fusion(looks.logits[:k], looks.descriptors[:k]) for k in range(2, count + 1)]
        if fused:
            found['fused_scores'] = torch.stack(fused, dim=1).softmax(dim=2)
        return found


def _figures(squares: Tensor, scale: int) -> dict[str, Tensor]:
    """Means for the log: side, and share outside the parent."""
    side, outside = 2 * squares.detach()[:, 2], outside_share(squares.detach())
    return {f'side{scale + 1}': side.mean(), f'outside{scale + 1}': outside.mean()}


def _read_output(output: str | None, num_scales: int) -> tuple[int, bool]:
    """How many scales an output needs, and whether it is what they say together."""
    if output is None:
        return num_scales, num_scales > 1
    outputs = {str(k): (k, False) for k in range(1, num_scales + 1)}
    outputs |= {'+'.join(map(str, range(1, k + 1))): (k, True) for k in range(2, num_scales + 1)}
    check_choice('output', output, outputs)
    return outputs[output]


def _warn_of_enlarging(size: tuple[int, int], picture: tuple[int, int]) -> None:
    if size[0] > picture[0] or size[1] > picture[1]:
        # Python shows the same warning once.
        warnings.warn(
            f'crop.size={size} enlarges pictures of {picture} as a whole: every finer scale then costs more than the '
            'first; usual is half their side',
            stacklevel=3,
        )
