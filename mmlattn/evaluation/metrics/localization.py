"""What the metrics of weak localisation share: which evidence, in which frame, of which pairs."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mmlattn.evaluation.functional import SeenInMaps, SeenInRegions, has_area
from mmlattn.evaluation.functional.checks import as_array
from mmlattn.utils.arguments import check_choice
from mmlattn.utils.errors import UserError

__all__ = ['EVIDENCE', 'LocalizationMetric', 'check_frame', 'check_truth', 'frame_sizes', 'read_seen']

EVIDENCE = ('auto', 'attention_maps', 'regions')


class LocalizationMetric(BaseMetric):
    """Share of (image, present class) pairs in which the model saw the class in the right place.

    A pair is an image and a class of its ``gt_label`` with at least one box. Boxes without an area are no targets.
    Subclasses say in :meth:`judge` what the right place is and in ``reference`` what hits are read against.

    Args:
        evidence (str): ``'attention_maps'``, ``'regions'``, or ``'auto'``: the one that the samples carry.
        threshold (float): Of :func:`mmlattn.evaluation.functional.map_box`, for boxes of attention maps.
        collect_device (str): ``'cpu'`` or ``'gpu'``.
        prefix (str, optional): Instead of the metric's own.
    """

    reference: str

    def __init__(
        self, evidence: str, threshold: float = 0.2, collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        check_choice('evidence', evidence, EVIDENCE)
        self.evidence, self.threshold = evidence, threshold

    @abstractmethod
    def judge(self, seen: SeenInMaps | SeenInRegions, label: int, boxes: np.ndarray) -> tuple[bool, float]:
        """Judge one pair.

        Args:
            seen (SeenInMaps | SeenInRegions): Where the model saw each class.
            label (int): The class.
            boxes (ndarray): (n, 4), its true boxes, at least one, each with an area.

        Returns:
            tuple: Whether it is a hit, and its reference value in [0, 1].
        """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep one (pairs, 4) array for each sample: class, whether predicted, whether hit, reference."""
        for sample in data_samples:
            seen = read_seen(sample, self.evidence, self.threshold)
            check_truth(sample)
            check_frame(sample)
            self.results.append(self._pairs(seen, sample))

    def _pairs(self, seen: SeenInMaps | SeenInRegions, sample: Mapping) -> np.ndarray:
        boxes, box_labels = as_array(sample['gt_boxes']), as_array(sample['gt_box_labels'])
        boxes, box_labels = boxes[has_area(boxes)], box_labels[has_area(boxes)]
        predicted = set(sample['pred_label'].tolist())
        rows = [
            (label, label in predicted, *self.judge(seen, label, boxes[box_labels == label]))
            for label in sorted(set(sample['gt_label'].tolist()) & set(box_labels.tolist()))
        ]
        return np.array(rows, np.float32).reshape(-1, 4)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the shares from the pairs of all processes."""
        if not results:
            raise UserError('there is nothing to evaluate: the data set of this evaluator is empty')
        label, predicted, hit, reference = np.concatenate(results).astype(np.float64).T
        true_positive = predicted > 0
        return {
            'true_positives': _percent(hit[true_positive]),
            'present': _percent(hit),
            'present_class_mean': _percent(np.array([hit[label == c].mean() for c in np.unique(label)])),
            f'true_positives_{self.reference}': _percent(reference[true_positive]),
            f'present_{self.reference}': _percent(reference),
            'true_positive_pairs': int(true_positive.sum()),
            'present_pairs': len(hit),
        }


def _percent(values: np.ndarray) -> float:
    return float(100 * values.mean()) if len(values) else float('nan')


def read_seen(sample: Mapping, evidence: str = 'auto', threshold: float = 0.2) -> SeenInMaps | SeenInRegions:
    """Where a data sample says each class was seen.

    Args:
        sample (Mapping): A data sample as a dict.
        evidence (str): One of ``EVIDENCE``.
        threshold (float): See :class:`SeenInMaps`.

    Raises:
        UserError: If the sample does not carry the evidence, carries both kinds and ``evidence`` does not choose, or
            the evidence is empty, has other sizes than its parts or the sample's classes ask for, or holds NaN or
            infinity.
    """
    carried = [name for name in EVIDENCE[1:] if name in sample]
    wanted = EVIDENCE[1:] if evidence == 'auto' else (evidence,)
    found = [name for name in wanted if name in carried]
    if not found:
        raise UserError(
            f'the data samples carry no {" or ".join(wanted)} but {" and ".join(carried) or "no other evidence"}: '
            'set model.head.with_evidence=True (--cfg-options model.head.with_evidence=True) for a head that tells '
            'them'
        )
    if len(found) > 1:
        raise UserError(
            f'the data samples carry {" and ".join(found)}: choose with '
            f'{" or ".join(f"evidence={name!r}" for name in found)}'
        )
    fields = ('regions', 'region_scores') if found == ['regions'] else ('attention_maps',)
    if not all(name in sample for name in fields):
        raise UserError(
            'the data samples carry regions without region_scores, so no class has one: use a head that scores '
            'regions, such as mmlattn.STLSTMHead'
        )
    arrays = [as_array(sample[name]) for name in fields]
    _check_sizes(sample, {name: array.shape for name, array in zip(fields, arrays, strict=True)})
    for name, array in zip(fields, arrays, strict=True):
        if not np.isfinite(array).all():
            raise UserError(
                f'the {name} of {sample.get("img_path", "a sample")} hold NaN or infinity: the model has diverged'
            )
    return SeenInRegions(*arrays) if found == ['regions'] else SeenInMaps(*arrays, threshold)


def _check_sizes(sample: Mapping, sizes: dict[str, tuple[int, ...]]) -> None:
    regional = 'regions' in sizes
    classes = sizes['region_scores'][-1] if regional else sizes['attention_maps'][0]
    if 'pred_score' in sample:
        classes = len(sample['pred_score'])
    labels = [
        label for name in ('gt_label', 'pred_label') for label in as_array(sample.get(name, ())).tolist()
    ]
    classes = max([classes, *(int(label) + 1 for label in labels)])
    if regional:
        rows = max(sizes['regions'][0], 1)
        expected = dict(regions=(rows, 4), region_scores=(rows, classes))
    else:
        cells = (*sizes['attention_maps'][1:], 1, 1)[:2]
        expected = dict(attention_maps=(classes, *(max(side, 1) for side in cells)))
    if sizes != expected:
        got, wanted = (
            ' and '.join(f'{name} {size}' for name, size in shapes.items()) for shapes in (sizes, expected)
        )
        raise UserError(
            f'{sample.get("img_path", "a sample")} has {got}, expected {wanted} for the {classes} classes of its '
            'scores and labels: set model.head.num_classes to the number of classes of the data set, and give '
            'every region its row of scores'
        )


def check_truth(sample: Mapping) -> None:
    """See that a data sample has labels, predicted and true, and true boxes.

    Raises:
        UserError: If it lacks one.
    """
    missing = [name for name in ('pred_label', 'gt_label', 'gt_boxes', 'gt_box_labels') if name not in sample]
    if missing:
        raise UserError(
            f'the data samples lack {", ".join(missing)}: use a data set with boxes, such as mmlattn.COCOMultiLabel, '
            "mmlattn.VOCBox and mmlattn.CUBBox, and dict(type='PackInputs', algorithm_keys=('gt_boxes', "
            "'gt_box_labels')) in the test pipeline"
        )


def frame_sizes(sample: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) that the original image was resized to, and that of the network input, in pixels.

    Raises:
        UserError: If the sample does not tell.
    """
    if 'ori_shape' not in sample or 'img_shape' not in sample:
        raise UserError(
            'ori_shape and img_shape are needed to compare evidence with the picture: keep them in meta_keys of '
            'PackInputs'
        )
    scale = np.array(sample.get('scale_factor', (1.0, 1.0)))[::-1]  # (w, h) -> (h, w), as the shapes
    return np.array(sample['ori_shape'][:2]) * scale, np.array(sample['img_shape'][:2])


def check_frame(sample: Mapping) -> None:
    """See that the network input shows the whole original image, unflipped.

    It cannot see rotations or shears, nor padding by the model's ``data_preprocessor``.

    Args:
        sample (Mapping): A data sample with the default ``meta_keys`` of ``PackInputs``.

    Raises:
        UserError: If the image was flipped; if its size is not the original size times ``scale_factor``, to
            within a pixel, so that something cropped or padded it; or if the sample does not tell.
    """
    resized, shape = frame_sizes(sample)
    where = sample.get('img_path', 'a sample')
    if sample.get('flip'):
        raise UserError(
            f'{where} was flipped, but places in it are told in the frame of the original image: remove RandomFlip '
            'from the test pipeline'
        )
    if (np.abs(shape - resized) > 1).any():
        raise UserError(
            f'{where}: an original of (h, w) = {tuple(sample["ori_shape"][:2])} was resized to '
            f'{tuple(resized.tolist())} and shown as {tuple(shape.tolist())}, so the test pipeline crops, pads or '
            'resizes twice: use a single Resize, so that the evidence and the picture share one frame'
        )
