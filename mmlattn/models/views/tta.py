"""Test-time augmentation that decides on what it averaged, and keeps where the views looked."""

import inspect
from collections.abc import Sequence

import torch
from mmengine.model import BaseTTAModel
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmlattn.models.layers.score_fusion import fuse_scores, fusion_weights
from mmlattn.registry import MODELS
from mmlattn.structures import EVIDENCE_FIELDS, set_attention_maps, set_regions
from mmlattn.utils.arguments import check_choice
from mmlattn.utils.errors import UserError

from .decision import decide_labels, deciding_head, head_of
from .placing import WHOLE, average_maps, common_cells, place_boxes, place_maps

#: What the head's ``forward`` gives of one view, (C,).
_LOGITS = 'view_logits'


@MODELS.register_module()
class MultiLabelTTAModel(BaseTTAModel):
    """Fuses what a classifier says of several views of a picture, and decides once, by the rule of its head.

    The views come from ``TestTimeAug`` of the test pipeline: scales, then ``mmlattn.ViewCrop``, then ``RandomFlip``.
    Evidence comes in the frame of the picture, as ``mmlattn.MultiCropClassifier`` gives it: maps of mirrored views
    are mirrored back, those of crops lie where the crop lies, on the finest grid that any view has, and are averaged
    over the views that have one of the class; ``regions`` and ``region_scores`` are those of all views, view by view.
    Labels are decided by the constraints of a picture, too. Other evidence of a single view, as the label path of a
    decoder, says nothing of the whole and is left out.

    Args:
        module (dict | nn.Module): The classifier, for several labels or one.
        fuse (str): 'mean' or 'max', over the views, class by class.
        fuse_on (str, optional): 'logit' fuses what the head's ``forward`` gives, before it is normalised; 'prob' its
            ``pred_score``. By default the logits, where there are such: not of decoders, of models that crop or zoom
            in by themselves, and of classifiers without a head.
        with_evidence (bool, optional): Overrides the head's setting.
        **kwargs: As for mmengine's ``BaseTTAModel``.

    Raises:
        UserError: On an unknown option, for 'logit' without logits, or a head without a rule to decide by.
    """

    def __init__(
        self,
        module: dict | nn.Module,
        fuse: str = 'mean',
        fuse_on: str | None = None,
        with_evidence: bool | None = None,
        **kwargs,
    ) -> None:
        super().__init__(module, **kwargs)
        check_choice('fuse', fuse, ('mean', 'max'))
        has_logits = _has_logits(self.module)
        if fuse_on is not None:
            check_choice('fuse_on', fuse_on, ('logit', 'prob'))
        if fuse_on == 'logit' and not has_logits:
            raise UserError(
                f'{type(self.module).__name__} with {type(head_of(self.module)).__name__} has no logits that could '
                "be fused: set fuse_on='prob'"
            )
        self.fuse, self.fuse_on = fuse, fuse_on or ('logit' if has_logits else 'prob')
        self.with_evidence = with_evidence

    @property
    def tells_places(self) -> bool:
        """Whether predictions carry evidence; that of a model that zooms in is of one view and left out."""
        head = getattr(self.module, 'head', None)
        if head is None or 'with_evidence' not in inspect.signature(head.predict).parameters:
            return False
        return bool(
            getattr(head, 'with_evidence', False) if self.with_evidence is None else self.with_evidence
        )

    def test_step(self, data: dict | Sequence) -> list[DataSample]:
        """Predict B pictures from V views each; ``data`` holds V batches, as ``TestTimeAug`` makes them."""
        if isinstance(data, dict):
            views = [dict(zip(data, batch, strict=True)) for batch in zip(*data.values(), strict=True)]
        else:
            views = zip(*data, strict=True)
        looks = [self._look(**self.module.data_preprocessor(view, False)) for view in views]
        return self.merge_preds(list(zip(*looks, strict=True)))

    def _look(self, inputs: Tensor, data_samples: list[DataSample]) -> list[DataSample]:
        """What is said of one view of each picture."""
        asked = dict(with_evidence=True) if self.tells_places else {}
        if self.fuse_on == 'prob':
            return self.module.predict(inputs, data_samples, **asked)
        feats = self.module.extract_feat(inputs)
        samples = self.module.head.predict(feats, data_samples, **asked)
        for sample, logits in zip(samples, self.module.head(feats), strict=True):
            sample.set_field(logits, _LOGITS)
        return samples

    def merge_preds(self, data_samples_list: Sequence[Sequence[DataSample]]) -> list[DataSample]:
        """Fuse V predictions of each of B pictures."""
        return [self._merge(list(looks)) for looks in data_samples_list]

    def _merge(self, looks: list[DataSample]) -> DataSample:
        field = _LOGITS if _LOGITS in looks[0] else 'pred_score'
        scores = torch.stack([look.get(field) for look in looks])
        weights = fusion_weights(scores[None], self.fuse)[0]
        # In double precision the mean of equal numbers is that number.
        fused = fuse_scores(scores.double()[None], self.fuse)[0].to(scores.dtype)
        merged = looks[0].new()
        for name in (_LOGITS, 'pred_label', *EVIDENCE_FIELDS):
            merged.pop(name, None)
        head = head_of(self.module)
        if field == _LOGITS:
            (merged,) = deciding_head(head)._get_predictions(fused[None], [merged])
        else:
            merged.set_pred_score(fused)
            (labels,) = decide_labels(head, fused[None], [merged])
            merged.set_pred_label(labels)
        if self.tells_places:
            _merge_evidence(merged, looks, weights)
            _tell_frame(merged, looks[0])
        return merged


def _has_logits(module: nn.Module) -> bool:
    """Whether ``forward`` of the head is what its prediction comes from, and that of the classifier."""
    head = getattr(module, 'head', None)
    plain = type(module).predict is ImageClassifier.predict or getattr(module, 'crops', '') is None
    return head is not None and plain and hasattr(deciding_head(head), '_get_predictions')


def _merge_evidence(merged: DataSample, looks: Sequence[DataSample], weights: Tensor) -> None:
    """Write where V views looked, in the frame of the picture; ``weights`` (V, C) are their parts in the scores."""
    windows = [look.get('view_box', WHOLE) for look in looks]
    flips = [look.get('flip_direction') if look.get('flip') else None for look in looks]
    if all('regions' in look for look in looks) and 'region_names' not in looks[0]:
        placed = [place_boxes(look.regions, *view) for look, *view in zip(looks, windows, flips, strict=True)]
        told = all('region_scores' in look for look in looks)
        scores = torch.cat([look.region_scores for look in looks])[None] if told else None
        set_regions([merged], torch.cat(placed)[None], scores)
    if all('attention_maps' in look for look in looks):
        cells = common_cells([tuple(look.attention_maps.shape[-2:]) for look in looks], windows)
        # In double precision the mean of equal maps is that map.
        maps = torch.stack(
            [
                place_maps(look.attention_maps.double(), cells, *view)
                for look, *view in zip(looks, windows, flips, strict=True)
            ]
        )
        mean = average_maps(maps, weights.double())
        set_attention_maps([merged], mean[None].to(looks[0].attention_maps.dtype))


def _tell_frame(merged: DataSample, look: DataSample) -> None:
    """Evidence lies in the picture as it was before it was cut and mirrored."""
    if 'view_shape' in look:
        merged.set_metainfo(dict(img_shape=tuple(look.get('view_shape'))))
    for name in ('view_box', 'view_shape', 'flip', 'flip_direction'):
        merged.pop(name, None)
