"""Localisation without boxes in training: does the model look at what it names?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from mmlattn.evaluation.functional import cell_centres, inside_any
from mmlattn.evaluation.functional.checks import as_array
from mmlattn.registry import METRICS
from mmlattn.structures import attention_peaks

__all__ = ['PointingGame', 'check_frame']


@METRICS.register_module()
class PointingGame(BaseMetric):
    """Share of attention peaks that lie in a box of their class (Zhang et al., "Top-down neural attention by
    excitation backprop", ECCV 2016; there with a tolerance of 15 pixels).

    A pair is an image and a class of its ``gt_label`` with at least one box; a true positive is a pair whose
    class is also in ``pred_label``, the model's own decision. In percent, under the prefix ``pointing/``:

    * ``true_positives``: hits among true positives; ``present``: hits among all pairs;
      ``present_class_mean``: the latter for each class, then averaged, as in the paper.
    * ``true_positives_chance``, ``present_chance``: what a peak in a cell drawn at random would score on the
      same pairs: the mean share of cells whose centre lies in a box.
    * ``true_positive_pairs``, ``present_pairs``: how many pairs there are; a share of none is NaN.

    A map that is all zero (a class the decoder never emitted) misses. Boxes without an area, also those clipped to
    nothing at the border of the image, are no targets: a peak hardly ever lies on them. Boxes of crowds are targets
    like all others where their class is in ``gt_label`` (``crowd='label'``, or another object shows it).

    Each data sample needs ``attention_maps``, ``pred_label``, ``gt_label``, ``gt_boxes`` and ``gt_box_labels``.
    Boxes are in the frame of the original image and peaks in that of the network input, so the test pipeline may
    resize but neither flip, crop nor pad; :func:`check_frame` sees to the first two from what the pipeline left in
    the sample. It cannot see rotations or shears, nor padding by the model's ``data_preprocessor``.

    Args:
        tolerance (float): How far outside a box a peak still counts, as a fraction of the image's width and
            height. Defaults to 0.
        collect_device (str): ``'cpu'`` or ``'gpu'``. Defaults to ``'cpu'``.
        prefix (str, optional): Instead of ``pointing``.

    Raises:
        ValueError: On a tolerance below 0 here; later, if a sample lacks a field or its frame has changed.
    """

    default_prefix = 'pointing'

    def __init__(
        self, tolerance: float = 0.0, collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not tolerance >= 0:
            raise ValueError(f'tolerance must be at least 0, got {tolerance}')
        self.tolerance = tolerance

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep one (pairs, 4) array for each sample: class, whether predicted, whether hit, chance."""
        for sample in data_samples:
            _check_fields(sample)
            check_frame(sample)
            self.results.append(self._pairs(sample))

    def _pairs(self, sample: Mapping) -> np.ndarray:
        boxes, box_labels = as_array(sample['gt_boxes']), as_array(sample['gt_box_labels'])
        has_area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        boxes, box_labels = boxes[has_area], box_labels[has_area]
        maps = torch.as_tensor(sample['attention_maps']).detach().cpu()
        peaks = attention_peaks(maps).numpy()
        centres = cell_centres(*maps.shape[-2:])
        predicted = set(sample['pred_label'].tolist())
        rows = []
        for label in sorted(set(sample['gt_label'].tolist()) & set(box_labels.tolist())):
            own = boxes[box_labels == label]
            hit = bool(maps[label].any()) and inside_any(peaks[label][None], own, self.tolerance)[0]
            rows.append((label, label in predicted, hit, inside_any(centres, own, self.tolerance).mean()))
        return np.array(rows, np.float32).reshape(-1, 4)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the shares from the pairs of all processes."""
        if not results:
            raise ValueError('there is nothing to evaluate: the data set of this evaluator is empty')
        label, predicted, hit, chance = np.concatenate(results).astype(np.float64).T
        true_positive = predicted > 0
        return dict(
            true_positives=_percent(hit[true_positive]),
            present=_percent(hit),
            present_class_mean=_percent(np.array([hit[label == c].mean() for c in np.unique(label)])),
            true_positives_chance=_percent(chance[true_positive]),
            present_chance=_percent(chance),
            true_positive_pairs=int(true_positive.sum()),
            present_pairs=len(hit),
        )


def _percent(values: np.ndarray) -> float:
    return float(100 * values.mean()) if len(values) else float('nan')


def _check_fields(sample: Mapping) -> None:
    if 'attention_maps' not in sample:
        raise ValueError(
            'the data samples carry no attention_maps: set model.head.with_evidence=True '
            '(--cfg-options model.head.with_evidence=True)'
        )
    missing = [name for name in ('pred_label', 'gt_label', 'gt_boxes', 'gt_box_labels') if name not in sample]
    if missing:
        raise ValueError(
            f'the data samples lack {", ".join(missing)}: use a data set with boxes such as mmlattn.COCOMultiLabel, '
            "and dict(type='PackInputs', algorithm_keys=('gt_boxes', 'gt_box_labels')) in the test pipeline"
        )


def check_frame(sample: Mapping) -> None:
    """See that the network input shows the whole original image, unflipped.

    Args:
        sample (Mapping): A data sample with the default ``meta_keys`` of ``PackInputs``.

    Raises:
        ValueError: If the image was flipped; if its size is not the original size times ``scale_factor``, to
            within a pixel, so that something cropped or padded it; or if the sample does not tell.
    """
    if 'ori_shape' not in sample or 'img_shape' not in sample:
        raise ValueError('PointingGame needs ori_shape and img_shape: keep them in meta_keys of PackInputs')
    where = sample.get('img_path', 'a sample')
    if sample.get('flip'):
        raise ValueError(
            f'{where} was flipped, but its boxes are in the frame of the original image: remove RandomFlip from '
            'the test pipeline'
        )
    shape, original = np.array(sample['img_shape'][:2]), np.array(sample['ori_shape'][:2])
    scale = np.array(sample.get('scale_factor', (1.0, 1.0)))[::-1]  # (w, h) -> (h, w), as the shapes
    if (np.abs(shape - original * scale) > 1).any():
        raise ValueError(
            f'{where}: an original of (h, w) = {tuple(original.tolist())} scaled by {tuple(scale.tolist())} does '
            f'not make {tuple(shape.tolist())}, so the test pipeline crops, pads or resizes twice: use a single '
            'Resize, so that boxes and attention maps share one frame'
        )
