"""Metrics of weak localisation: does the model see what it names where it is?"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mmlattn.evaluation.functional.checks import check_results
from mmlattn.evaluation.functional.localization import Seen, Size, inside_any, region_overlaps, seen_in
from mmlattn.evaluation.functional.multi_label import mean_defined
from mmlattn.registry import METRICS
from mmlattn.structures.evidence import EVIDENCE_KINDS, read_places
from mmlattn.structures.frames import check_frame, true_boxes
from mmlattn.structures.labels import listed_labels
from mmlattn.utils.arguments import check_choice, check_number
from mmlattn.utils.errors import UserError

WHOLE_PICTURE = np.array([[0.0, 0.0, 1.0, 1.0]])


class LocalizationMetric(BaseMetric):
    """Share of (image, present class) pairs in which the model saw the class in the right place.

    A pair is an image and a class of its ``gt_label`` with at least one box; a true positive is a pair whose class is
    also in ``pred_label``, the model's own decision. Subclasses say in :meth:`judge` what the right place is, and in
    ``reference`` what hits are read against. ``docs/metrics.md`` says what each value means; shares are in percent.

    Boxes without an area, also those clipped to nothing at the border of the image, are no targets. A map that is all
    zero (a class the decoder never emitted) and a region without an area (it lay outside the picture) miss.

    Each data sample needs ``attention_maps``, or ``regions`` and ``region_scores``; and ``pred_label``, ``gt_label``,
    ``gt_boxes`` and ``gt_box_labels``. Boxes are in the frame of the original image and evidence in that of the
    network input, so the test pipeline may resize but neither flip, crop nor pad; ``check_frame`` sees to that.

    Args:
        evidence (str): ``'attention_maps'``, ``'regions'``, or ``'auto'``: the one that the samples carry; samples
            with both are then refused.
        **kwargs: Of mmengine's ``BaseMetric``.
    """

    reference: str
    reads_evidence = True
    threshold = 0.2

    def __init__(self, evidence: str = 'auto', **kwargs) -> None:
        super().__init__(**kwargs)
        check_choice('evidence', evidence, EVIDENCE_KINDS)
        self.evidence = evidence

    @abstractmethod
    def judge(self, seen: Seen, label: int, boxes: np.ndarray, size: Size) -> tuple[bool, float]:
        """Whether a class was seen in one of its true boxes (n, 4), and its reference value in [0, 1].

        ``size`` is (width, height) of the original picture in pixels.
        """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep one (pairs, 4) array for each sample: class, whether predicted, whether hit, reference."""
        for sample in data_samples:
            seen = seen_in(read_places(sample, self.evidence), self.threshold)
            boxes, labels = true_boxes(sample)
            check_frame(sample)
            size = sample.get('ori_shape')[1::-1]
            predicted = listed_labels([sample], field='pred_label')[0].tolist()
            pairs = [
                (label, label in predicted, *self.judge(seen, label, boxes[labels == label], size))
                for label in np.unique(labels)
            ]
            self.results.append(np.array(pairs, np.float32).reshape(-1, 4))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the shares from the pairs of all processes."""
        check_results(results)
        label, predicted, hit, reference = np.concatenate(results).astype(np.float64).T
        true_positive = predicted > 0
        by_class = np.array([hit[label == c].mean() for c in np.unique(label)])
        return {
            'true_positives': 100 * mean_defined(hit[true_positive]),
            'present': 100 * mean_defined(hit),
            'present_class_mean': 100 * mean_defined(by_class),
            f'true_positives_{self.reference}': 100 * mean_defined(reference[true_positive]),
            f'present_{self.reference}': 100 * mean_defined(reference),
            'true_positive_pairs': int(true_positive.sum()),
            'present_pairs': len(hit),
        }


@METRICS.register_module()
class PointingGame(LocalizationMetric):
    """Share of points looked at that lie in a box of their class (Zhang et al., "Top-down neural attention by
    excitation backprop", ECCV 2016; ``tolerance=15`` is theirs, `docs/metrics.md` says what still differs).

    The point of a class is the peak of its attention map, or the centre of the region with its highest score, the
    first of equals. Under the prefix ``pointing/`` stand the numbers of :class:`LocalizationMetric`; the reference,
    ``..._chance``, is a point drawn at random: for maps the mean share of cells whose centre lies in a box, for
    regions that of the picture inside boxes.

    Args:
        tolerance (float): How far from a box a point still counts, in pixels of the original picture.
        **kwargs: Of :class:`LocalizationMetric`.
    """

    default_prefix = 'pointing'
    reference = 'chance'

    def __init__(self, tolerance: float = 0.0, **kwargs) -> None:
        super().__init__(**kwargs)
        check_number('tolerance', tolerance, least=0)
        self.tolerance = tolerance

    def judge(self, seen: Seen, label: int, boxes: np.ndarray, size: Size) -> tuple[bool, float]:
        """Whether the point lies in a box, and how often a random one would."""
        point = seen.point(label)
        hit = point is not None and inside_any(point[None], boxes, self.tolerance, size)[0]
        return hit, seen.chance(boxes, self.tolerance, size)


@METRICS.register_module()
class CorLoc(LocalizationMetric):
    """Share of present classes whose box overlaps a true one (correct localisation: Deselaers et al., "Weakly
    supervised localization and learning with generic knowledge", IJCV 2012).

    The box of a class is the region with its highest score, or that round the largest connected part of its attention
    map (``map_box``). Under the prefix ``corloc/`` stand the numbers of :class:`LocalizationMetric`; the reference,
    ``..._whole_picture``, is the whole picture as the box of every class. One box is judged for each class and image:
    neither further objects of the class nor boxes of absent classes count for or against.

    Args:
        iou (float): Least intersection over union with a true box of the class, in (0, 1].
        threshold (float): Of attention maps, the cells with at least this share of the maximum are looked at, in
            (0, 1]. Defaults to that of Zhou et al. (CVPR 2016).
        **kwargs: Of :class:`LocalizationMetric`.
    """

    default_prefix = 'corloc'
    reference = 'whole_picture'

    def __init__(self, iou: float = 0.5, threshold: float = 0.2, **kwargs) -> None:
        super().__init__(**kwargs)
        for name, value in dict(iou=iou, threshold=threshold).items():
            if not 0 < value <= 1:
                raise UserError(f'{name} must be above 0 and at most 1, got {value}')
        self.iou, self.threshold = iou, threshold

    def judge(self, seen: Seen, label: int, boxes: np.ndarray, size: Size) -> tuple[bool, float]:
        """Whether the box fits, and whether the whole picture would."""
        box = seen.box(label)
        hit = box is not None and region_overlaps(box[None], boxes)[0][0] >= self.iou
        return hit, float(region_overlaps(WHOLE_PICTURE, boxes)[0][0] >= self.iou)
