"""A part of a picture as the sample: cut out of it before anything else."""

import numpy as np
from mmcv.transforms import BaseTransform

from mmlattn.registry import TRANSFORMS
from mmlattn.utils.arguments import check_number
from mmlattn.utils.errors import UserError


@TRANSFORMS.register_module()
class CropToBox(BaseTransform):
    """Cuts ``crop_box`` out of ``img``, as PIL's ``Image.crop`` does: corners are rounded, outside it is black.

    The box is (left, top, right, bottom) in pixels of the picture as loaded, edges between pixels. ``ori_shape``
    stays that of the whole picture, so metrics and drawings that tell places in it refuse such samples.

    Raises:
        UserError: If a sample has no box, or one that has no area or lies outside its picture.
    """

    def transform(self, results: dict) -> dict:
        """Replace ``img`` (h, w, c) and ``img_shape``."""
        name = results.get('img_path', 'a picture')
        if results.get('crop_box') is None:
            raise UserError(
                f'{name} has no crop_box: use a data set of parts of pictures, as mmlattn.WIDERAttribute'
            )
        image = results['img']
        left, top, right, bottom = (round(float(edge)) for edge in results['crop_box'])
        (high, wide), (height, width) = (bottom - top, right - left), image.shape[:2]
        rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            raise UserError(
                f'{name}: the box from {left}, {top} to {right}, {bottom} has nothing of the picture, {width} wide '
                f'and {height} high: mend or remove it'
            )
        crop = np.zeros((high, wide, *image.shape[2:]), image.dtype)
        there = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        crop[there] = image[rows, columns]
        return results | dict(img=crop, img_shape=crop.shape[:2])


@TRANSFORMS.register_module()
class CropAroundBoxes(BaseTransform):
    """Cuts out of ``img`` what a perfect localizer would look at: the smallest part that holds all ``gt_boxes``.

    It has the shape of the picture, lies inside, and is never smaller than ``least``, as a square of RA-CNN. What a
    classifier of such crops gains over one of whole pictures is the most that zooming in can gain.

    Args:
        enlarge (float): Times the longer side of the boxes, as fractions of the picture, at least 1.
        least (float): Smallest side as a fraction of the picture's, in (0, 1].

    Raises:
        UserError: For a wrong argument, or if a sample has no boxes.
    """

    def __init__(self, enlarge: float = 1.2, least: float = 1 / 3) -> None:
        check_number('enlarge', enlarge, least=1)
        check_number('least', least, least=0, most=1)
        self.enlarge, self.least = float(enlarge), float(least)

    def transform(self, results: dict) -> dict:
        """Replace ``img`` (h, w, c) and ``img_shape``; ``gt_boxes``, which are of the whole picture, are left out."""
        boxes = results.get('gt_boxes')
        if boxes is None or not len(boxes):
            raise UserError(
                f'{results.get("img_path", "a picture")} has no gt_boxes to crop around: use a data set with boxes, '
                'as mmlattn.CUBBox'
            )
        image = results['img']
        low, high = np.min(boxes[:, :2], axis=0), np.max(boxes[:, 2:], axis=0)
        side = np.clip(self.enlarge * np.max(high - low), self.least, 1)
        corner = np.clip((low + high) / 2 - side / 2, 0, 1 - side)
        size = np.array((image.shape[1], image.shape[0]))
        # Whole pixels around it, except for what is no more than rounding.
        left, top = np.floor(corner * size + 1e-3).astype(int)
        right, bottom = np.ceil((corner + side) * size - 1e-3).astype(int)
        crop = image[top:bottom, left:right]
        kept = {name: value for name, value in results.items() if name not in ('gt_boxes', 'gt_box_labels')}
        return kept | dict(img=crop, img_shape=crop.shape[:2])
