"""The ST-LSTM head."""

import logging
from typing import NamedTuple

import torch
from mmengine.logging import print_log
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmlattn.models.layers.feature_layout import to_feature_map
from mmlattn.models.layers.score_fusion import SCORE_FUSIONS, fuse_scores, fusion_weights
from mmlattn.models.layers.spatial_transformer import theta_to_boxes
from mmlattn.registry import MODELS
from mmlattn.structures import select_labels, set_attention_maps, set_regions
from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError

from .recurrence import STLSTMOutput
from .softmax_l2_loss import SoftmaxL2Loss

__all__ = ['STLSTMHead']

# A class of k present ones has a softmax score of about 1 / k, so 0.5 would drop most of them.
DEFAULT_THRESHOLDS = dict(softmax=0.1, sigmoid=0.5, none=0.0)


class Looks(NamedTuple):
    """What the head reads: features of K looks (B, K, D), and where they are, as theta or as cells of a map."""

    feats: Tensor
    theta: Tensor | None = None
    grid: tuple[int, int] | None = None


@MODELS.register_module()
class STLSTMHead(MultiLabelClsHead):
    """Scores every look and fuses the scores class by class; multi-label (ICCV 2017).

    After the ``STLSTM`` neck the looks are its regions, which the head constrains. Without it the head reads the last
    of any backbone's outputs: a pooled vector is one look, every location of a map is one, so that the default fusion
    is classic max-pooled multiple-instance learning.

    Args:
        num_classes (int): C.
        in_channels (int): D, width of a look.
        fuse (str): 'max', the paper's; 'lse', the logarithm of the mean exponential; 'mean'; 'noisy_or'. See
            ``mmlattn/models/layers/score_fusion.py``.
        loss (dict): Config of the loss on raw scores; the paper's is ``mmlattn.SoftmaxL2Loss``.
        loss_loc (dict, optional): Config of the constraints on the regions, used where there are regions.
        loc_weight (float): gamma, weight of ``loss_loc``.
        aux_step_weight (float): Weight of the mean of ``loss`` over the single looks; fused by maximum, only the best
            look of a class learns from it.
        score_norm (str): From raw scores to ``pred_score``: 'softmax', which belongs to the paper's loss; 'sigmoid',
            to binary cross-entropy; 'none'.
        thr (float, optional): A class is predicted where its score is at least ``thr``. If ``topk`` isn't given
            either: 0.1 for 'softmax', 0.5 for 'sigmoid', 0 for 'none'.
        topk (int, optional): Predict the k best classes, of those that reach ``thr`` if that is given too.
        with_evidence (bool): Whether ``predict`` adds ``regions`` (K, 4) and ``region_scores`` (K, C); where the
            looks are locations, ``attention_maps`` (C, h, w).
        init_cfg (dict, optional): Of the classifier.

    Raises:
        UserError: For an impossible combination of arguments, or features that can't be read.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        fuse: str = 'max',
        loss: dict = dict(type='mmlattn.SoftmaxL2Loss'),  # noqa: B006
        loss_loc: dict | None = dict(type='mmlattn.RegionConstraintLoss'),  # noqa: B006
        loc_weight: float = 0.1,
        aux_step_weight: float = 0.0,
        score_norm: str = 'softmax',
        thr: float | None = None,
        topk: int | None = None,
        with_evidence: bool = False,
        init_cfg: dict | None = dict(type='Xavier', layer='Linear', distribution='uniform'),  # noqa: B006
    ) -> None:
        check_choice('score_norm', score_norm, DEFAULT_THRESHOLDS)
        if thr is None and topk is None:
            thr = DEFAULT_THRESHOLDS[score_norm]
        super().__init__(loss=loss, thr=thr, topk=topk, init_cfg=init_cfg)
        check_whole('num_classes', num_classes, 1)
        check_whole('in_channels', in_channels, 1)
        check_choice('fuse', fuse, SCORE_FUSIONS)
        for name, value in dict(loc_weight=loc_weight, aux_step_weight=aux_step_weight).items():
            check_number(name, value, least=0)
        if thr is not None:
            check_number('thr', thr)
            if score_norm != 'none' and not 0 <= thr <= 1:
                raise UserError(f'thr must lie in [0, 1] for score_norm={score_norm!r}, got {thr}')
        if topk is not None:
            check_whole('topk', topk, 1)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.fuse = fuse
        self.loss_loc = None if loss_loc is None else MODELS.build(loss_loc)
        self.loc_weight = loc_weight
        self.aux_step_weight = aux_step_weight
        self.score_norm = score_norm
        self.with_evidence = with_evidence
        self.fc = nn.Linear(in_channels, num_classes)
        _warn_of_mismatch(self.loss_module, score_norm)

    def pre_logits(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """The features of the looks, (B, K, D)."""
        return self._looks(feats).feats

    def step_scores(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """Raw scores of every look, s_k = W_zs z_k + b_s, shape (B, K, C).

        Args:
            feats (tuple[Tensor] | Tensor): ``STLSTMOutput``, or outputs of which the last is (B, D), (B, N, D) or
                (B, D, h, w).
        """
        return self.fc(self.pre_logits(feats))

    def forward(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """Fused raw scores, shape (B, C), float32 also under autocast."""
        return fuse_scores(self.step_scores(feats), self.fuse)

    def loss(self, feats: tuple[Tensor] | Tensor, data_samples: list[DataSample], **kwargs) -> dict:
        """Compute the losses.

        Args:
            feats (tuple[Tensor] | Tensor): As for ``step_scores``.
            data_samples (list[DataSample]): With ``gt_label`` or ``gt_score``; maybe without any label.
            **kwargs: Of the loss on scores.

        Returns:
            dict[str, Tensor]: ``loss_cls``, each constraint as ``loss_scale`` and so on, and ``loss_step`` if the
            looks are supervised too; weighted, so that their sum is the total.
        """
        scores = self.step_scores(feats)
        fused = fuse_scores(scores, self.fuse)
        losses = dict(loss_cls=self._get_loss(fused, data_samples, **kwargs)['loss'])
        if self.aux_step_weight:
            each = [sample for sample in data_samples for _ in range(scores.shape[1])]
            step_loss = self._get_loss(scores.flatten(0, 1), each, **kwargs)['loss']
            losses['loss_step'] = self.aux_step_weight * step_loss
        if self.loss_loc is not None and isinstance(feats, STLSTMOutput):
            losses |= region_losses(self.loss_loc, self.loc_weight, feats)
        return losses

    def predict(
        self,
        feats: tuple[Tensor] | Tensor,
        data_samples: list[DataSample] | None = None,
        with_evidence: bool | None = None,
    ) -> list[DataSample]:
        """Predict scores and labels, and the region each class was read from.

        Args:
            feats (tuple[Tensor] | Tensor): As for ``step_scores``.
            data_samples (list[DataSample], optional): Samples to write to.
            with_evidence (bool, optional): Overrides the head's setting for this call.

        Returns:
            list[DataSample]: With ``pred_score`` (C,), ``pred_label`` (n,), and the evidence if asked for. Region
            scores are normalised as the maximum over the regions is: fused by maximum, their maximum is
            ``pred_score``.
        """
        looks = self._looks(feats)
        scores = self.fc(looks.feats)
        predictions = self._get_predictions(fuse_scores(scores, self.fuse), data_samples)
        if self.with_evidence if with_evidence is None else with_evidence:
            self._set_evidence(predictions, looks, scores)
        return predictions

    def select(self, scores: Tensor) -> list[Tensor]:
        """The labels that this head predicts from scores such as ``pred_score``, shape (B, C)."""
        threshold = -torch.inf if self.thr is None else self.thr
        return [select_labels(row, threshold, self.topk) for row in scores]

    def _looks(self, feats: tuple[Tensor] | Tensor) -> Looks:
        if isinstance(feats, STLSTMOutput):
            if feats.step_feats.shape[-1] != self.in_channels:
                raise UserError(
                    f'STLSTMHead has in_channels={self.in_channels}, but the STLSTM neck has '
                    f'out_dims={feats.step_feats.shape[-1]}: set one to the other'
                )
            return Looks(feats.step_feats, feats.theta)
        x = feats[-1] if isinstance(feats, (tuple, list)) else feats
        if x.dim() == 4:
            x = to_feature_map(x, self.in_channels)
            return Looks(x.flatten(2).transpose(1, 2), grid=tuple(x.shape[-2:]))
        if x.dim() not in (2, 3) or x.shape[-1] != self.in_channels:
            raise UserError(
                f'STLSTMHead with in_channels={self.in_channels} reads (B, D), (B, N, D) or a map (B, D, h, w), got '
                f'{tuple(x.shape)}'
            )
        return Looks(x[:, None] if x.dim() == 2 else x)

    def _get_predictions(self, cls_score: Tensor, data_samples: list[DataSample] | None) -> list[DataSample]:
        if data_samples is None:
            data_samples = [DataSample() for _ in range(len(cls_score))]
        if self.score_norm == 'softmax':
            scores = cls_score.softmax(dim=-1)
        else:
            scores = cls_score.sigmoid() if self.score_norm == 'sigmoid' else cls_score
        for sample, score, label in zip(data_samples, scores, self.select(scores), strict=True):
            sample.set_pred_score(score).set_pred_label(label)
        return data_samples

    def _set_evidence(self, predictions: list[DataSample], looks: Looks, scores: Tensor) -> None:
        if looks.theta is not None:
            regions = theta_to_boxes(looks.theta)
            if scores.shape[1] > regions.shape[1]:  # the neck includes the whole map
                whole = regions.new_tensor((0.0, 0.0, 1.0, 1.0)).expand(len(regions), 1, 4)
                regions = torch.cat((whole, regions), dim=1)
            set_regions(predictions, regions, self._region_scores(scores.to(regions.dtype)))
        elif looks.grid is not None:
            weights = fusion_weights(scores, self.fuse)
            set_attention_maps(predictions, weights.transpose(1, 2).unflatten(-1, looks.grid))
        else:
            raise UserError(
                'with_evidence=True, but pooled features do not tell where they were read: use the STLSTM neck, or '
                'a feature map without a neck'
            )

    def _region_scores(self, scores: Tensor) -> Tensor:
        if self.score_norm == 'softmax':
            # One normaliser for all looks, that of their maximum: with one of its own, each would be ranked anew.
            return (scores - scores.amax(dim=1).logsumexp(dim=-1)[:, None, None]).exp()
        return scores.sigmoid() if self.score_norm == 'sigmoid' else scores


def _warn_of_mismatch(loss: nn.Module, score_norm: str) -> None:
    """Scores learnt by softmax and read by sigmoid, or the other way round, cross no sensible threshold."""
    by_softmax = isinstance(loss, SoftmaxL2Loss) or getattr(loss, 'use_sigmoid', None) is False
    by_sigmoid = getattr(loss, 'use_sigmoid', None) is True
    if (by_softmax and score_norm == 'sigmoid') or (by_sigmoid and score_norm == 'softmax'):
        norm = 'softmax' if by_softmax else 'sigmoid'
        print_log(
            f'STLSTMHead: {type(loss).__name__} trains scores that are read with score_norm={norm!r}, this head has '
            f'score_norm={score_norm!r}: its thresholds, and mAP, will suffer',
            logger='current',
            level=logging.WARNING,
        )


def region_losses(loss_loc: nn.Module, loc_weight: float, regions: STLSTMOutput) -> dict[str, Tensor]:
    """The constraints under the names under which mmengine logs and sums losses."""
    terms = loss_loc(regions.theta, regions.anchors, regions.anchor_mask)
    return {f'loss_{name}': loc_weight * term for name, term in terms.items()}
