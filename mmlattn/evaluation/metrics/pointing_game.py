"""The pointing game: does the model look at what it names?"""

import numpy as np

from mmlattn.evaluation.functional import SeenInMaps, SeenInRegions, inside_any
from mmlattn.registry import METRICS
from mmlattn.utils.errors import UserError

from .localization import LocalizationMetric

__all__ = ['PointingGame']


@METRICS.register_module()
class PointingGame(LocalizationMetric):
    """Share of points looked at that lie in a box of their class (Zhang et al., "Top-down neural attention by
    excitation backprop", ECCV 2016; there with a tolerance of 15 pixels).

    The point of a class is the peak of its attention map, or the centre of the region with its highest score, the
    first of equals. A pair is an image and a class of its ``gt_label`` with at least one box; a true positive is a
    pair whose class is also in ``pred_label``, the model's own decision. In percent, under the prefix ``pointing/``:

    * ``true_positives``: hits among true positives; ``present``: hits among all pairs;
      ``present_class_mean``: the latter for each class, then averaged, as in the paper.
    * ``true_positives_chance``, ``present_chance``: what a point drawn at random would score on the same pairs: for
      maps the mean share of cells whose centre lies in a box, for regions that of the picture inside boxes.
    * ``true_positive_pairs``, ``present_pairs``: how many pairs there are; a share of none is NaN.

    A map that is all zero (a class the decoder never emitted) and a region without an area (it lay outside the
    picture) miss. Boxes without an area, also those clipped to nothing at the border of the image, are no targets: a
    point hardly ever lies on them. Boxes of crowds are targets like all others where their class is in ``gt_label``
    (``crowd='label'``, or another object shows it); those of difficult objects are if the data set keeps them
    (``mmlattn.VOCBox(difficult_boxes=True)``).

    Each data sample needs ``attention_maps``, or ``regions`` and ``region_scores``; and ``pred_label``,
    ``gt_label``, ``gt_boxes`` and ``gt_box_labels``. Boxes are in the frame of the original image and evidence in
    that of the network input, so the test pipeline may resize but neither flip, crop nor pad; :func:`check_frame`
    sees to this from what the pipeline left in the sample.

    Args:
        tolerance (float): How far outside a box a point still counts, as a fraction of the image's width and
            height. Defaults to 0.
        evidence (str): ``'attention_maps'``, ``'regions'``, or ``'auto'``: the one that the samples carry. Defaults
            to ``'auto'``.
        collect_device (str): ``'cpu'`` or ``'gpu'``. Defaults to ``'cpu'``.
        prefix (str, optional): Instead of ``pointing``.

    Raises:
        UserError: On a tolerance below 0 or an unknown kind of evidence here; later, if a sample lacks a field, has
            both kinds of evidence with ``'auto'``, or its frame has changed.
    """

    default_prefix = 'pointing'
    reference = 'chance'

    def __init__(
        self,
        tolerance: float = 0.0,
        evidence: str = 'auto',
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(evidence, collect_device=collect_device, prefix=prefix)
        if not tolerance >= 0:
            raise UserError(f'tolerance must be at least 0, got {tolerance}')
        self.tolerance = tolerance

    def judge(self, seen: SeenInMaps | SeenInRegions, label: int, boxes: np.ndarray) -> tuple[bool, float]:
        """Whether the point lies in a box, and how often a random one would."""
        point = seen.point(label)
        hit = point is not None and inside_any(point[None], boxes, self.tolerance)[0]
        return hit, seen.chance(boxes, self.tolerance)
