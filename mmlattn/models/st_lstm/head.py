"""The ST-LSTM head, and the same constraints on regions for heads of others."""

import torch
from mmengine.model import BaseModule
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmlattn.models.layers.feature_layout import last_output, to_feature_map
from mmlattn.models.layers.loss_kind import warn_of_mismatch
from mmlattn.models.layers.score_fusion import SCORE_FUSIONS, fuse_scores, fusion_weights
from mmlattn.models.layers.spatial_transformer import theta_to_boxes
from mmlattn.models.losses.masking import loss_of_known
from mmlattn.registry import MODELS
from mmlattn.structures import select_labels, set_attention_maps, set_regions
from mmlattn.structures.labels import UNKNOWN, training_targets
from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError

from .neck import STLSTMOutput

# A class of k present ones has a softmax score of about 1 / k, so 0.5 would drop most of them.
DEFAULT_THRESHOLDS = dict(softmax=0.1, sigmoid=0.5)


@MODELS.register_module()
class STLSTMHead(MultiLabelClsHead):
    """Scores every look and fuses the scores class by class; multi-label (Wang et al., ICCV 2017).

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
            to binary cross-entropy.
        thr (float, optional): A class is predicted where its score is at least ``thr``. If ``topk`` isn't given
            either: 0.1 for 'softmax', 0.5 for 'sigmoid'.
        topk (int, optional): Predict the k best classes, of those that reach ``thr`` if that is given too.
        with_evidence (bool): Whether ``predict`` adds ``regions`` (K, 4) and ``region_scores`` (K, C); where the
            looks are locations, ``attention_maps`` (C, h, w).
        unknown (str): 'mask' leaves unknown labels out of both losses on scores, 'negative' takes them for absent;
            see :func:`mmlattn.structures.labels.training_targets`.
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
        unknown: str = 'mask',
        init_cfg: dict | None = dict(type='Xavier', layer='Linear', distribution='uniform'),  # noqa: B006
    ) -> None:
        check_choice('score_norm', score_norm, DEFAULT_THRESHOLDS)
        if thr is None and topk is None:
            thr = DEFAULT_THRESHOLDS[score_norm]
        super().__init__(loss=loss, thr=thr, topk=topk, init_cfg=init_cfg)
        check_whole('num_classes', num_classes, 1)
        check_whole('in_channels', in_channels, 1)
        check_choice('fuse', fuse, SCORE_FUSIONS)
        check_choice('unknown', unknown, UNKNOWN)
        check_number('loc_weight', loc_weight, least=0)
        check_number('aux_step_weight', aux_step_weight, least=0)
        if thr is not None:
            check_number('thr', thr, least=0, most=1)
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
        self.unknown = unknown
        self.fc = nn.Linear(in_channels, num_classes)
        warn_of_mismatch(self, self.loss_module, score_norm, 'set score_norm to the former, or another loss')

    def pre_logits(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """The features of the looks, (B, K, D); see :meth:`step_scores`."""
        if isinstance(feats, STLSTMOutput):
            if feats.step_feats.shape[-1] != self.in_channels:
                raise UserError(
                    f'STLSTMHead has in_channels={self.in_channels}, but the STLSTM neck has '
                    f'out_dims={feats.step_feats.shape[-1]}: set one to the other'
                )
            return feats.step_feats
        x = last_output(feats)
        if x.dim() == 4:
            return to_feature_map(x, self.in_channels).flatten(2).transpose(1, 2)
        if x.dim() not in (2, 3) or x.shape[-1] != self.in_channels:
            raise UserError(
                f'STLSTMHead with in_channels={self.in_channels} reads (B, D), (B, N, D) or a map (B, D, h, w), got '
                f'{tuple(x.shape)}'
            )
        return x[:, None] if x.dim() == 2 else x

    def step_scores(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """Raw scores of every look, s_k = W_zs z_k + b_s, shape (B, K, C).

        Args:
            feats (tuple[Tensor] | Tensor): ``STLSTMOutput``, or outputs of which the last is (B, D), (B, N, D) or
                (B, D, h, w).
        """
        return self.fc(self.pre_logits(feats))

    def forward(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """Fused raw scores, max_k s_k in the paper, shape (B, C), float32 also under autocast."""
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
        target = training_targets(data_samples, self.num_classes, self.unknown)
        losses = dict(loss_cls=loss_of_known(self.loss_module, fused, target, len(fused), **kwargs))
        if self.aux_step_weight:
            looks, targets = scores.flatten(0, 1), target.repeat_interleave(scores.shape[1], dim=0)
            step_loss = loss_of_known(self.loss_module, looks, targets, len(looks), **kwargs)
            losses['loss_step'] = self.aux_step_weight * step_loss
        if self.loss_loc is not None and isinstance(feats, STLSTMOutput):
            losses |= _region_losses(self.loss_loc, self.loc_weight, feats)
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
        found = self.predict_tensors(feats, self.with_evidence if with_evidence is None else with_evidence)
        predictions = self._get_predictions(found['logits'], data_samples)
        if 'regions' in found:
            set_regions(predictions, found['regions'], found['region_scores'])
        elif 'attention_maps' in found:
            set_attention_maps(predictions, found['attention_maps'])
        return predictions

    def predict_tensors(
        self, feats: tuple[Tensor] | Tensor, with_evidence: bool = False
    ) -> dict[str, Tensor]:
        """What ``predict`` says, as tensors of the whole batch that can be exported: ``logits`` and the evidence."""
        scores = self.step_scores(feats)
        found = dict(logits=fuse_scores(scores, self.fuse))
        return found | self._evidence(feats, scores) if with_evidence else found

    def select(self, scores: Tensor) -> list[Tensor]:
        """The labels that this head predicts from scores such as ``pred_score``, shape (B, C)."""
        return [select_labels(row, self.thr, self.topk) for row in scores]

    def _get_predictions(self, cls_score: Tensor, data_samples: list[DataSample] | None) -> list[DataSample]:
        if data_samples is None:
            data_samples = [DataSample() for _ in range(len(cls_score))]
        scores = cls_score.softmax(dim=-1) if self.score_norm == 'softmax' else cls_score.sigmoid()
        for sample, score, label in zip(data_samples, scores, self.select(scores), strict=True):
            sample.set_pred_score(score).set_pred_label(label)
        return data_samples

    def _evidence(self, feats: tuple[Tensor] | Tensor, scores: Tensor) -> dict[str, Tensor]:
        if isinstance(feats, STLSTMOutput):
            regions = theta_to_boxes(feats.theta)
            # The neck may include the whole map.
            if scores.shape[1] > regions.shape[1]:
                # Not len(): an exporter would take it for a constant.
                whole = regions.new_tensor((0.0, 0.0, 1.0, 1.0)).expand(regions.shape[0], 1, 4)
                regions = torch.cat((whole, regions), dim=1)
            return dict(
                regions=regions.clamp(0, 1), region_scores=self._region_scores(scores.to(regions.dtype))
            )
        if last_output(feats).dim() == 4:
            grid = to_feature_map(last_output(feats), self.in_channels).shape[-2:]
            weights = fusion_weights(scores, self.fuse)
            return dict(attention_maps=weights.transpose(1, 2).unflatten(-1, grid))
        raise UserError(
            'with_evidence=True, but pooled features do not tell where they were read: use the STLSTM neck, or '
            'a feature map without a neck'
        )

    def _region_scores(self, scores: Tensor) -> Tensor:
        if self.score_norm == 'sigmoid':
            return scores.sigmoid()
        # One normaliser for all looks, that of their maximum: with one of its own, each would be ranked anew.
        return (scores - scores.amax(dim=1).logsumexp(dim=-1)[:, None, None]).exp()


@MODELS.register_module()
class RegionConstraintWrapper(BaseModule):
    """Any head after the ``STLSTM`` neck, with the neck's regions constrained (Wang et al., ICCV 2017).

    Without constraints the regions of a stock head tend to fall on one spot.

    Args:
        head (dict): Config of the head; it reads the features pooled over the regions.
        loss_loc (dict): Config of the constraints.
        loc_weight (float): gamma, their weight.
        with_evidence (bool): Whether ``predict`` adds ``regions`` (K, 4) to each sample.
        init_cfg (dict, optional): As for any module.

    Raises:
        UserError: If the head constrains the regions itself; in ``loss``, and in ``predict`` with evidence, if the
            features come from another neck.
    """

    def __init__(
        self,
        head: dict,
        loss_loc: dict = dict(type='mmlattn.RegionConstraintLoss'),  # noqa: B006
        loc_weight: float = 0.1,
        with_evidence: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_number('loc_weight', loc_weight, least=0)
        self.head = MODELS.build(head)
        if hasattr(self.head, 'loss_loc'):
            raise UserError(
                f'{type(self.head).__name__} constrains the regions itself: use it without RegionConstraintWrapper'
            )
        self.loss_loc = MODELS.build(loss_loc)
        self.loc_weight = loc_weight
        self.with_evidence = with_evidence

    def pre_logits(self, feats: STLSTMOutput) -> Tensor:
        """What the head's classifier sees."""
        return self.head.pre_logits(feats)

    def forward(self, feats: STLSTMOutput) -> Tensor:
        """The head's scores."""
        return self.head(feats)

    def loss(self, feats: STLSTMOutput, data_samples: list[DataSample], **kwargs) -> dict:
        """The head's losses and the constraints."""
        constraints = _region_losses(self.loss_loc, self.loc_weight, _check_regions(feats))
        losses = self.head.loss(feats, data_samples, **kwargs)
        # mmengine keeps this name for the sum.
        if 'loss' in losses:
            losses['loss_cls'] = losses.pop('loss')
        return losses | constraints

    def predict(
        self,
        feats: STLSTMOutput,
        data_samples: list[DataSample] | None = None,
        with_evidence: bool | None = None,
    ) -> list[DataSample]:
        """The head's prediction, with ``regions`` if asked for here or, with None, by the wrapper's setting."""
        predictions = self.head.predict(feats, data_samples)
        if self.with_evidence if with_evidence is None else with_evidence:
            set_regions(predictions, theta_to_boxes(_check_regions(feats).theta))
        return predictions

    def predict_tensors(self, feats: STLSTMOutput, with_evidence: bool = False) -> dict[str, Tensor]:
        """What ``predict`` says, as tensors of the whole batch that can be exported: ``logits`` and the evidence."""
        found = dict(logits=self.head(feats))
        if with_evidence:
            found['regions'] = theta_to_boxes(_check_regions(feats).theta).clamp(0, 1)
        return found


def _check_regions(feats: STLSTMOutput) -> STLSTMOutput:
    if not isinstance(feats, STLSTMOutput):
        raise UserError(
            "RegionConstraintWrapper needs the output of neck=dict(type='mmlattn.STLSTM'), got "
            f'{type(feats).__name__}'
        )
    return feats


def _region_losses(loss_loc: nn.Module, loc_weight: float, regions: STLSTMOutput) -> dict[str, Tensor]:
    """Gamma L_loc, term by term, under the names under which mmengine logs and sums losses."""
    terms = loss_loc(regions.theta, regions.anchors, regions.anchor_mask)
    return {f'loss_{name}': loc_weight * term for name, term in terms.items()}
