"""True boxes, and whether they lie where the network saw them.

True boxes are fractions of the original picture, evidence is told in fractions of what the network saw. The two can
be compared where the test pipeline only resizes. A sample is a ``DataSample`` or a mapping, with the default
``meta_keys`` of ``PackInputs``.
"""

from typing import Any

import numpy as np

from mmlattn.utils.arrays import as_array
from mmlattn.utils.errors import UserError

from .labels import listed_labels


def has_area(boxes: np.ndarray) -> np.ndarray:
    """Which boxes (..., 4) have an area: (...) bool."""
    return (boxes[..., 2:] > boxes[..., :2]).all(axis=-1)


def true_boxes(sample: Any) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) and their classes (n,): those with an area, of classes in ``gt_label``."""
    missing = [name for name in ('pred_label', 'gt_label', 'gt_boxes', 'gt_box_labels') if name not in sample]
    if missing:
        raise UserError(
            f'the data samples lack {", ".join(missing)}: use a data set with boxes, such as mmlattn.COCOMultiLabel, '
            "mmlattn.VOCBox and mmlattn.CUBBox, and dict(type='PackInputs', algorithm_keys=('gt_boxes', "
            "'gt_box_labels')) in the test pipeline"
        )
    boxes, labels = as_array(sample.get('gt_boxes')), as_array(sample.get('gt_box_labels'))
    kept = has_area(boxes) & np.isin(labels, listed_labels([sample])[0].numpy())
    return boxes[kept], labels[kept]


def frame_sizes(sample: Any) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) that the original picture was resized to, and that of what the network saw, in pixels."""
    if 'ori_shape' not in sample or 'img_shape' not in sample:
        raise UserError(
            'ori_shape and img_shape are needed to compare evidence with the picture: keep them in meta_keys of '
            'PackInputs'
        )
    # (w, h) -> (h, w), as the shapes.
    scale = np.array(sample.get('scale_factor', (1.0, 1.0)))[::-1]
    return np.array(sample.get('ori_shape')[:2]) * scale, np.array(sample.get('img_shape')[:2])


def keeps_frame(sample: Any) -> bool:
    """Whether the network saw the whole picture, unflipped, as far as the sample tells."""
    if sample.get('flip'):
        return False
    if 'ori_shape' not in sample or 'img_shape' not in sample:
        return True
    resized, shown = frame_sizes(sample)
    return bool((np.abs(shown - resized) <= 1).all())


def check_frame(sample: Any) -> None:
    """See that the network saw the whole original picture, unflipped.

    Rotations, shears, and padding by the model's ``data_preprocessor`` leave no trace in a sample.

    Raises:
        UserError: If the picture was flipped; if its size is not the original one times ``scale_factor``, to within a
            pixel, so that something cropped or padded it; or if the sample does not tell.
    """
    resized, shown = frame_sizes(sample)
    name = sample.get('img_path', 'a sample')
    if sample.get('flip'):
        raise UserError(
            f'{name} was flipped, but places in it are told in the frame of the original image: remove RandomFlip '
            'from the test pipeline'
        )
    if not keeps_frame(sample):
        raise UserError(
            f'{name}: an original of (h, w) = {tuple(sample.get("ori_shape")[:2])} was resized to '
            f'{tuple(resized.tolist())} and shown as {tuple(shown.tolist())}, so the test pipeline crops, pads or '
            'resizes twice: use a single Resize, so that the evidence and the picture share one frame'
        )
