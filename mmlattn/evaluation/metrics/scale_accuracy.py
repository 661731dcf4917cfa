"""What each look of a model that zooms in is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mmlattn.evaluation.functional import class_ranks, scale_accuracy
from mmlattn.evaluation.functional.checks import as_array, check_topk
from mmlattn.registry import METRICS
from mmlattn.utils.errors import UserError

__all__ = ['ScaleAccuracy', 'check_zooming', 'read_label', 'read_scores']


@METRICS.register_module()
class ScaleAccuracy(BaseMetric):
    """Accuracy of each scale, of the first scales together, and of the output, for a single label.

    Each data sample needs ``pred_score`` (C,), ``gt_label`` (one class), and the evidence of K looks that zoom in,
    which ``RACNN(with_evidence=True)`` tells: ``region_scores`` (K, C), and ``fused_scores`` (K - 1, C) if K is above
    1. Values in percent, under the prefix ``scales/``:

    * ``output``: of ``pred_score``, on all pictures.
    * ``scale_1``, ``scale_2`` ... and ``scale_1+2``, ``scale_1+2+3`` ...: of one scale, and of the first ones
      together, each on the pictures that its last scale looked at. Where inference stops early these are the hard
      ones, so compare scales with each other on predictions without ``exit_above``.
    * ``gain``: on all pictures, what the scales that looked say together, less scale 1.
    * ``scale_2_pictures`` ...: how many pictures it looked at; ``mean_scales``: how many scales looked at a picture.

    Args:
        topk (Sequence[int]): Numbers of classes that may be named; those above 1 add ``_top5`` and the like to the
            names. Defaults to (1, ).
        collect_device (str): ``'cpu'`` or ``'gpu'``. Defaults to ``'cpu'``.
        prefix (str, optional): Instead of ``scales``.

    Raises:
        UserError: On a bad option here; later, a ``UserError`` if a sample lacks a field, or its fields do not fit
            each other.
    """

    default_prefix = 'scales'

    def __init__(
        self, topk: Sequence[int] = (1,), collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        check_topk(topk)
        self.topk = tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep ranks of the true class of each sample: output (), scales (K,) and first scales together (K - 1,)."""
        for sample in data_samples:
            output, scales, fused = read_scores(sample)
            label = read_label(sample, len(output))
            self.results.append(tuple(class_ranks(scores, label) for scores in (output, scales, fused)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the accuracies from the ranks of all processes."""
        if not results:
            raise UserError('there is nothing to evaluate: the data set of this evaluator is empty')
        output, scales, fused = zip(*results, strict=True)
        metrics = {}
        for k in self.topk:
            suffix = '' if k == 1 else f'_top{k}'
            values = scale_accuracy(scales, fused, k)
            gain = values.pop('gain')
            metrics[f'output{suffix}'] = 100 * float(np.mean(np.array(output) < k))
            metrics |= {f'scale_{name}{suffix}': 100 * value for name, value in values.items()}
            metrics[f'gain{suffix}'] = 100 * gain
        looks = np.array([len(ranks) for ranks in scales])
        counts = {f'scale_{k}_pictures': int((looks >= k).sum()) for k in range(2, looks.max() + 1)}
        return metrics | counts | dict(mean_scales=float(looks.mean()))


def check_zooming(sample: Mapping) -> None:
    """See that a data sample tells of looks that zoom in.

    Raises:
        UserError: If it does not.
    """
    if 'regions' not in sample or 'region_names' not in sample:
        raise UserError(
            'the data samples do not tell where the scales of a model that zooms in looked: use mmlattn.RACNN and '
            'set model.with_evidence=True (--cfg-options model.with_evidence=True)'
        )


def read_scores(sample: Mapping) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (C,) of the output, (K, C) of the scales and (K - 1, C) of the first ones together.

    Raises:
        UserError: If the sample lacks some, they do not fit each other, or hold NaN or infinity.
    """
    check_zooming(sample)
    where = sample.get('img_path', 'a sample')
    found = {n: as_array(sample[n]) for n in ('pred_score', 'region_scores', 'fused_scores') if n in sample}
    classes, looks = found.get('pred_score', np.empty(0)).size, len(as_array(sample['regions']))
    expected = dict(pred_score=(classes,), region_scores=(looks, classes), fused_scores=(looks - 1, classes))
    if looks == 1:
        found.setdefault('fused_scores', np.empty((0, classes)))  # there is nothing to be said together
    if {name: scores.shape for name, scores in found.items()} != expected:
        got = ', '.join(f'{name} {scores.shape}' for name, scores in found.items()) or 'no scores'
        wanted = ', '.join(f'{name} {shape}' for name, shape in expected.items())
        raise UserError(
            f'{where} has {got}, expected of {looks} looks {wanted}: use the predictions of one model'
        )
    for name, scores in found.items():
        if not np.isfinite(scores).all():
            raise UserError(f'the {name} of {where} hold NaN or infinity: the model has diverged')
    return found['pred_score'], found['region_scores'], found['fused_scores']


def read_label(sample: Mapping, num_classes: int) -> int:
    """The true class.

    Raises:
        UserError: If it is not one, or not of those that the model scores.
    """
    labels = as_array(sample.get('gt_label', ())).ravel().tolist()
    if len(labels) != 1 or labels[0] not in range(num_classes):
        raise UserError(
            f'gt_label of {sample.get("img_path", "a sample")} must be one of the {num_classes} classes that the '
            f'model scores, got {labels}: use a data set of a single label, and set model.head.num_classes to its '
            'classes'
        )
    return int(labels[0])
