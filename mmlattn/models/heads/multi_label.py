"""From logits and maps to predicted labels, evidence, and a loss of the known labels."""

from abc import abstractmethod

from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch import Tensor

from mmlattn.models.layers.feature_layout import last_output, to_feature_map
from mmlattn.models.layers.loss_kind import warn_of_mismatch
from mmlattn.models.losses.masking import loss_of_known
from mmlattn.structures import select_labels, set_attention_maps
from mmlattn.structures.labels import UNKNOWN, training_targets
from mmlattn.utils.arguments import check_choice, check_number, check_whole, whole_numbers
from mmlattn.utils.errors import UserError


class MultiLabelHead(MultiLabelClsHead):
    """A multi-label head over a feature map; a subclass has :meth:`predict_tensors`.

    ``feats`` are the outputs of the backbone, of which the last is read: (B, D, h, w), (B, h, w, D) or (B, N, D).

    Args:
        num_classes (int): C.
        in_channels (int): D, channels of the feature map.
        loss (dict): Config of the loss.
        thr, topk: As for mmpretrain's ``MultiLabelClsHead``: a class is predicted where its score is at least
            ``thr``, 0.5 by default, or among the ``topk`` best.
        with_evidence (bool): Whether ``predict`` adds ``attention_maps``, shape (C, h, w), to each sample.
        unknown (str): 'mask' leaves unknown labels out of the loss, 'negative' takes them for absent; see
            :func:`mmlattn.structures.labels.training_targets`.
        num_extra_tokens (int): Leading tokens of a (B, N, D) input that are no patches.
        token_grid (tuple[int, int], optional): (h, w) of the patch tokens when they form no square.
        init_cfg (dict, optional): As for any module.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        loss: dict,
        thr: float | None = None,
        topk: int | None = None,
        with_evidence: bool = False,
        unknown: str = 'mask',
        num_extra_tokens: int = 0,
        token_grid: tuple[int, int] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss=loss, thr=thr, topk=topk, init_cfg=init_cfg)
        check_whole('num_classes', num_classes, 1)
        check_whole('in_channels', in_channels, 1)
        check_whole('num_extra_tokens', num_extra_tokens, 0)
        if token_grid is not None and len(whole_numbers('token_grid', token_grid, 1)) != 2:
            raise UserError(f'token_grid must be two numbers, (h, w), got {token_grid!r}')
        check_choice('unknown', unknown, UNKNOWN)
        if thr is not None:
            check_number('thr', thr, least=0, most=1)
        if topk is not None:
            check_whole('topk', topk, 1)
        self.num_classes, self.in_channels = num_classes, in_channels
        self.num_extra_tokens, self.token_grid = num_extra_tokens, token_grid
        self.with_evidence, self.unknown = with_evidence, unknown
        warn_of_mismatch(self, self.loss_module, 'sigmoid', 'set use_sigmoid=True in its loss')

    @abstractmethod
    def predict_tensors(
        self, feats: tuple[Tensor] | Tensor, with_evidence: bool = False
    ) -> dict[str, Tensor]:
        """What ``predict`` says, as tensors of the whole batch that can be exported.

        ``logits`` (B, C), float32 at least, and if asked for ``attention_maps`` (B, C, h, w).
        """

    def feature_map(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """The last feature map, as (B, D, h, w)."""
        return to_feature_map(last_output(feats), self.in_channels, self.num_extra_tokens, self.token_grid)

    def forward(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """Logits of shape (B, C), float32 also under autocast."""
        return self.predict_tensors(feats)['logits']

    def predict(
        self,
        feats: tuple[Tensor] | Tensor,
        data_samples: list[DataSample] | None = None,
        with_evidence: bool | None = None,
    ) -> list[DataSample]:
        """Predict ``pred_score`` (C,), ``pred_label`` (n,) and, if asked for, ``attention_maps`` (C, h, w).

        Args:
            feats (tuple[Tensor] | Tensor): Outputs of the backbone.
            data_samples (list[DataSample], optional): Samples to write to.
            with_evidence (bool, optional): Overrides the head's setting for this call.
        """
        found = self.predict_tensors(feats, self.with_evidence if with_evidence is None else with_evidence)
        predictions = self._get_predictions(found['logits'], data_samples)
        if 'attention_maps' in found:
            set_attention_maps(predictions, found['attention_maps'])
        return predictions

    def select(self, scores: Tensor) -> list[Tensor]:
        """The labels that this head predicts from scores such as ``pred_score``, (B, C)."""
        return [select_labels(row, self.thr, self.topk if self.thr is None else None) for row in scores]

    def _get_predictions(self, cls_score: Tensor, data_samples: list[DataSample] | None) -> list[DataSample]:
        predictions = super()._get_predictions(cls_score, data_samples)
        # Mmpretrain's choice depends on how torch orders equal scores.
        for sample in predictions:
            sample.set_pred_label(self.select(sample.pred_score[None])[0])
        return predictions

    def _get_loss(self, cls_score: Tensor, data_samples: list[DataSample], **kwargs) -> dict:
        target = training_targets(data_samples, self.num_classes, self.unknown).to(cls_score.device)
        return dict(loss=self._loss_of(cls_score, target, **kwargs))

    def _loss_of(self, cls_score: Tensor, target: Tensor, **kwargs) -> Tensor:
        """Of logits and targets (B, C), below 0 where the label is unknown."""
        return loss_of_known(self.loss_module, cls_score, target, len(cls_score), **kwargs)
