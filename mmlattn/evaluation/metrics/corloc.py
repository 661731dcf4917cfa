"""CorLoc: does the box round what the model looked at fit an object?"""

import numpy as np

from mmlattn.evaluation.functional import SeenInMaps, SeenInRegions, best_iou
from mmlattn.registry import METRICS
from mmlattn.utils.errors import UserError

from .localization import LocalizationMetric

__all__ = ['CorLoc']

WHOLE_PICTURE = np.array([0.0, 0.0, 1.0, 1.0])


@METRICS.register_module()
class CorLoc(LocalizationMetric):
    """Share of present classes whose box overlaps a true one (correct localisation: Deselaers et al., "Weakly
    supervised localization and learning with generic knowledge", IJCV 2012).

    The box of a class is the region with its highest score, or that round the largest connected part of its attention
    map (:func:`mmlattn.evaluation.functional.map_box`). Pairs and true positives, the fields each sample
    needs, the frame and which boxes are targets are those of :class:`PointingGame`. In percent, under the prefix
    ``corloc/``:

    * ``true_positives``: pairs localised among true positives; ``present``: among all pairs;
      ``present_class_mean``: the latter for each class, then averaged, as in the paper.
    * ``true_positives_whole_picture``, ``present_whole_picture``: what the whole picture as the box of every class
      would score on the same pairs.
    * ``true_positive_pairs``, ``present_pairs``: how many pairs there are; a share of none is NaN.

    One box is judged for each class and image: neither further objects of the class nor boxes of absent classes
    count for or against.

    Args:
        iou (float): Least intersection over union with a true box of the class, in (0, 1]. Defaults to 0.5.
        evidence (str): ``'attention_maps'``, ``'regions'``, or ``'auto'``: the one that the samples carry. Defaults
            to ``'auto'``.
        threshold (float): Of attention maps, the cells with at least this share of the maximum are looked at, in
            (0, 1]. Defaults to 0.2, that of Zhou et al. (CVPR 2016).
        collect_device (str): ``'cpu'`` or ``'gpu'``. Defaults to ``'cpu'``.
        prefix (str, optional): Instead of ``corloc``.

    Raises:
        UserError: On a bad option here; later as :class:`PointingGame`.
    """

    default_prefix = 'corloc'
    reference = 'whole_picture'

    def __init__(
        self,
        iou: float = 0.5,
        evidence: str = 'auto',
        threshold: float = 0.2,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(evidence, threshold, collect_device, prefix)
        for name, value in dict(iou=iou, threshold=threshold).items():
            if not 0 < value <= 1:
                raise UserError(f'{name} must be above 0 and at most 1, got {value}')
        self.iou = iou

    def judge(self, seen: SeenInMaps | SeenInRegions, label: int, boxes: np.ndarray) -> tuple[bool, float]:
        """Whether the box fits, and whether the whole picture would."""
        box = seen.box(label)
        hit = box is not None and best_iou(box, boxes) >= self.iou
        return hit, float(best_iou(WHOLE_PICTURE, boxes) >= self.iou)
