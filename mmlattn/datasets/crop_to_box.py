"""A sample that is a part of a picture: cut out of it before anything else."""

import numpy as np
from mmcv.transforms import BaseTransform

from mmlattn.registry import TRANSFORMS
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
