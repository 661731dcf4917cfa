"""Testing with several crops, for every backbone that gives feature maps and every head that gives scores."""

from collections.abc import Sequence

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmlattn.models.layers.score_fusion import fuse_scores, fusion_weights
from mmlattn.registry import MODELS
from mmlattn.structures import set_attention_maps, set_regions
from mmlattn.utils.arguments import check_choice, check_whole
from mmlattn.utils.errors import UserError

from . import feature_crops
from .decision import decide_labels, deciding_head
from .placing import average_maps

Grid = tuple[tuple[feature_crops.FeatureWindow, ...], tuple[int, int]]
"""The windows on a feature map, and its size (h, w)."""


@MODELS.register_module()
class MultiCropClassifier(ImageClassifier):
    """mmpretrain's ``ImageClassifier`` that predicts from five or ten crops of the feature maps.

    The backbone runs once on the whole picture. Neck and head run once on the crops of the whole batch, and their
    scores are fused class by class (Wang et al., ICCV 2017; see ``views/feature_crops.py``). Only ``predict``
    differs: training, ``mode='tensor'`` and so export see the whole feature map, and the weights are those of an
    ``ImageClassifier``. The paper trains on random crops of N - 64 pixels and tests on pictures of N.

    Evidence comes in the frame of the whole input. ``regions`` and ``region_scores`` are those of all crops, crop by
    crop. ``attention_maps`` are fused with the weights of the scores: the mean over the crops that have a map of the
    class, or for ``fuse='max'`` the map of the crop that gave the score. Other evidence is an error.

    Args:
        crops (str, optional): 'five' (corners and centre), 'ten' (these and their mirror images) or None to
            predict as ``ImageClassifier`` does.
        margin (int): By how many pixels of the network input a crop is smaller; a whole number of cells of the
            coarsest feature map, two or more. The windows are placed there and are the same on every map.
        fuse (str): 'mean' or 'max', over the crops.
        fuse_on (str): 'prob' fuses what the head predicts for each crop, its ``pred_score``; 'logit' what its
            ``forward`` gives, and normalises the fused.
        data_preprocessor, **kwargs: As for ``ImageClassifier``.

    Raises:
        UserError: On an unknown option; in ``predict``, and in ``loss`` as far as it shows there, if the backbone
            gives no feature maps or the margin does not fit them.
    """

    def __init__(
        self,
        *,
        crops: str | None = 'five',
        margin: int = 64,
        fuse: str = 'mean',
        fuse_on: str = 'prob',
        data_preprocessor: dict | nn.Module | None = None,
        **kwargs,
    ) -> None:
        if not isinstance(data_preprocessor, nn.Module):
            # The parent's own default has no scope, so it is not found under every default scope.
            data_preprocessor = dict(dict(type='mmpretrain.ClsDataPreprocessor'), **data_preprocessor or {})
        super().__init__(data_preprocessor=data_preprocessor, **kwargs)
        if crops is not None:
            check_choice('crops', crops, feature_crops.CROPS)
        check_whole('margin', margin, 1)
        check_choice('fuse', fuse, ('mean', 'max'))
        check_choice('fuse_on', fuse_on, ('prob', 'logit'))
        if fuse_on == 'logit' and not hasattr(deciding_head(self.head), '_get_predictions'):
            raise UserError(
                f"{type(self.head).__name__} has no logits that could be fused: set fuse_on='prob'"
            )
        if crops is not None and getattr(deciding_head(self.head), 'rules', None) is not None:
            raise UserError(
                'test_cfg.constraints of the head say what is in a picture, not in crops of it: set crops=None or '
                'leave them out'
            )
        self.crops, self.margin, self.fuse, self.fuse_on = crops, margin, fuse, fuse_on

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """The head's losses on the whole picture; a margin that cannot fit is refused before an epoch is lost."""
        feats = self.extract_feat(inputs, stage='backbone')
        if self.crops is not None:
            # Training pictures have other sizes than those to be tested, but the same strides.
            coarsest = min(tuple(x.shape[-2:]) for x in _feature_maps(feats))
            for side, cells in zip(inputs.shape[-2:], coarsest, strict=True):
                if side % cells == 0:
                    feature_crops.check_margin(self.margin, side // cells)
        return self.head.loss(self.neck(feats) if self.with_neck else feats, data_samples)

    def predict(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, **kwargs
    ) -> list[DataSample]:
        """Predict scores and labels of inputs (B, 3, H, W), and the evidence of all crops if the head gives any.

        ``kwargs`` are for the head's ``predict``, such as ``with_evidence=True``.
        """
        if self.crops is None or not len(inputs):
            return super().predict(inputs, data_samples, **kwargs)
        maps = _feature_maps(self.extract_feat(inputs, stage='backbone'))
        sizes = [tuple(x.shape[-2:]) for x in maps]
        coarsest = min(sizes)
        placed = feature_crops.feature_windows(inputs.shape[-2:], coarsest, self.margin, self.crops)
        grids = [(feature_crops.scale_windows(placed, coarsest, size), size) for size in sizes]
        feats = tuple(
            feature_crops.cut_windows(x, windows) for x, (windows, _) in zip(maps, grids, strict=True)
        )
        if self.with_neck:
            feats = self.neck(feats)
        looks = self.head.predict(feats, None, **kwargs)
        scores = self.head(feats) if self.fuse_on == 'logit' else _stack(looks, 'pred_score')
        scores = _by_window(scores, len(inputs)).transpose(0, 1)
        samples = self._decide(fuse_scores(scores, self.fuse), data_samples)
        _fuse_evidence(samples, looks, grids, fusion_weights(scores, self.fuse))
        return samples

    def _decide(self, scores: Tensor, data_samples: list[DataSample] | None) -> list[DataSample]:
        """Write fused scores (B, C) and the head's decision on them."""
        samples = [DataSample() for _ in scores] if data_samples is None else data_samples
        if self.fuse_on == 'logit':
            return deciding_head(self.head)._get_predictions(scores, samples)
        for sample, score, labels in zip(
            samples, scores, decide_labels(self.head, scores, samples), strict=True
        ):
            sample.set_pred_score(score).set_pred_label(labels)
        return samples


def _feature_maps(feats: Sequence[Tensor] | Tensor) -> Sequence[Tensor]:
    maps = feats if isinstance(feats, (tuple, list)) else (feats,)
    found = [str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__ for x in maps]
    if any(not isinstance(x, Tensor) or x.dim() != 4 for x in maps):
        raise UserError(
            f'crops are cut from feature maps (B, D, h, w), but the backbone gives {", ".join(found)}: for '
            "transformers set out_type='featmap', for others take the outputs before pooling, or crops=None"
        )
    return maps


def _stack(looks: Sequence[DataSample], field: str) -> Tensor:
    return torch.stack([look.get(field) for look in looks])


def _by_window(x: Tensor, batch_size: int) -> Tensor:
    """(V * B, ...) to (V, B, ...)."""
    return x.unflatten(0, (-1, batch_size))


def _fuse_evidence(
    samples: Sequence[DataSample], looks: Sequence[DataSample], grids: Sequence[Grid], weights: Tensor
) -> None:
    """Write the evidence of V windows, from V * B looks, to B samples, in the frame of the whole input.

    There is a grid for each feature map; ``weights`` (B, V, C) is the part of each window in the fused scores.
    """
    evidence = set(looks[0].keys()) - {'pred_score', 'pred_label'}
    if unknown := evidence - {'regions', 'region_scores', 'attention_maps'}:
        raise UserError(
            f'{", ".join(sorted(unknown))} of several crops cannot be fused: predict without evidence, or set '
            'crops=None'
        )
    found = {field: _by_window(_stack(looks, field), len(samples)) for field in evidence}
    if 'regions' in found:
        rows = [feature_crops.boxes_from_windows(found['regions'], *grids[-1])]
        rows += [found['region_scores']] if 'region_scores' in found else []
        set_regions(samples, *(x.transpose(0, 1).flatten(1, 2) for x in rows))
    if 'attention_maps' in found:
        maps = _fuse_maps(found['attention_maps'], grids, weights.transpose(0, 1))
        set_attention_maps(samples, maps)


def _fuse_maps(maps: Tensor, grids: Sequence[Grid], weights: Tensor) -> Tensor:
    """Attention maps (V, B, C, height, width) of the windows to (B, C, h, w), with weights (V, B, C)."""
    by_size = {(windows[0].height, windows[0].width): (windows, size) for windows, size in grids}
    found = tuple(maps.shape[-2:])
    if found not in by_size:
        raise UserError(
            f'attention maps of {found} cells cannot be put back: the crops of the feature maps have '
            f'{", ".join(map(str, by_size))} cells. Predict without evidence, or set crops=None'
        )
    return average_maps(feature_crops.maps_from_windows(maps, *by_size[found]), weights)
