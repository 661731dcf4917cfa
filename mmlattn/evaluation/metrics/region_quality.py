"""Do the regions of a model that zooms in hold the object?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mmlattn.evaluation.functional.checks import check_results
from mmlattn.evaluation.functional.localization import boxes_in_center_crop, region_overlaps
from mmlattn.registry import METRICS
from mmlattn.structures.evidence import read_scale_regions
from mmlattn.structures.frames import check_frame, frame_sizes, true_boxes
from mmlattn.utils.errors import UserError

REFERENCES = dict(whole_picture=(0.0, 0.0, 1.0, 1.0), centre_half=(0.25, 0.25, 0.75, 0.75))
LEAST_LEFT = 0.1


@METRICS.register_module()
class RegionQuality(BaseMetric):
    """Regions of the second scale and finer ones against the true boxes of the picture's class.

    Each data sample needs the evidence of looks that zoom in, which ``RACNN(with_evidence=True)`` tells (``regions``
    (K, 4) with ``region_names``), ``pred_label``, ``gt_label``, and ``gt_boxes`` (n, 4) with ``gt_box_labels`` (n,),
    as :class:`mmlattn.CUBBox` has them. In percent, under the prefix ``regions/``, for each finer scale on the
    pictures that it looked at, and on all for the references ``whole_picture`` and ``centre_half``, a centred box of
    half the side. ``docs/metrics.md`` says what each value means.

    Args:
        center_crop (bool): Whether the test pipeline ends with ``CenterCrop`` after a resize, as for CUB: true boxes
            are moved into the crop, cut at its borders, and left out if less than 10 % of their area remains. A crop
            of another place cannot be told from one of the middle. Without it cropped pictures are refused, flipped
            and padded ones always.
        **kwargs: Of mmengine's ``BaseMetric``.
    """

    default_prefix = 'regions'
    reads_evidence = True

    def __init__(self, center_crop: bool = False, **kwargs) -> None:
        super().__init__(**kwargs)
        self.center_crop = center_crop

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep of each sample (2 + K - 1, 3) of IoU, covered share and side, references first, and boxes left out."""
        for sample in data_samples:
            regions = np.concatenate([list(REFERENCES.values()), read_scale_regions(sample)[1:]])
            boxes, left_out = self._true_boxes(sample)
            quality = np.empty((0, 3))
            if len(boxes):
                sides = (regions[:, 2:] - regions[:, :2]).mean(axis=1)
                quality = np.stack([*region_overlaps(regions, boxes), sides], axis=1)
            self.results.append((quality, left_out))

    def _true_boxes(self, sample: Mapping) -> tuple[np.ndarray, int]:
        """Boxes of the true class in the frame of the network input, and how many were left out."""
        boxes = true_boxes(sample)[0].astype(np.float64)
        resized, shown = frame_sizes(sample)
        if not self.center_crop:
            if (shown < resized - 1).any():
                raise UserError(
                    f'{sample.get("img_path", "a sample")}: (h, w) = {tuple(shown.tolist())} of '
                    f'{tuple(resized.round().astype(int).tolist())} pixels are shown: set center_crop=True of '
                    'RegionQuality if CenterCrop cut it out, else use a single Resize in the test pipeline'
                )
            check_frame(sample)
            return boxes, 0
        resized = resized.round().astype(int)
        # The frame before the crop.
        check_frame(dict(sample, img_shape=np.maximum(resized, shown)))
        boxes, left = boxes_in_center_crop(boxes, tuple(resized), tuple(np.minimum(resized, shown)))
        return boxes[left >= LEAST_LEFT], int((left < LEAST_LEFT).sum())

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the means from the qualities of all processes."""
        check_results(results)
        judged = [quality for quality, _ in results if len(quality)]
        if not judged:
            raise UserError(
                'no picture has a box of its true class, so no region can be judged: check gt_box_labels'
            )
        finer = [f'scale_{k + 2}' for k in range(max(map(len, judged)) - len(REFERENCES))]
        metrics, counts = {}, {}
        for row, name in [*enumerate(finer, len(REFERENCES)), *enumerate(REFERENCES)]:
            iou, covered, side = np.array([quality[row] for quality in judged if row < len(quality)]).T
            values = dict(iou=iou, pcp=iou >= 0.5, covered=covered, contained=covered >= 0.9, side=side)
            metrics |= {f'{name}_{kind}': 100 * float(value.mean()) for kind, value in values.items()}
            if name in finer:
                counts[f'{name}_pictures'] = len(iou)
        left_out = sum(count for _, count in results)
        return metrics | counts | dict(pictures=len(judged), boxes_left_out=left_out)
