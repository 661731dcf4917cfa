"""One of five windows of a picture, as a view for test-time augmentation that tells where it lies."""

from mmcv.transforms import BaseTransform

from mmlattn.registry import TRANSFORMS
from mmlattn.utils.arguments import check_choice, check_number
from mmlattn.utils.errors import UserError

#: Left and top of each window, as parts of what is left over.
PLACES = dict(top_left=(0, 0), top_right=(1, 0), bottom_left=(0, 1), bottom_right=(1, 1), center=(0.5, 0.5))


@TRANSFORMS.register_module()
class ViewCrop(BaseTransform):
    """Cuts a window out of ``img`` and notes as ``view_box`` where it lies, (x1, y1, x2, y2) as fractions.

    ``view_shape`` is the size (h, w) of what it was cut from. With both among ``meta_keys`` of ``PackInputs``,
    ``mmlattn.MultiLabelTTAModel`` puts evidence back into the picture.

    Args:
        place (str): 'top_left', 'top_right', 'bottom_left', 'bottom_right' or 'center'.
        ratio (float): Of the sides of the window to those of the picture, in (0, 1]; to the nearest pixel.

    Raises:
        UserError: For a wrong argument, or if the picture was flipped before.
    """

    def __init__(self, place: str, ratio: float = 0.875) -> None:
        check_choice('place', place, PLACES)
        check_number('ratio', ratio, least=1e-3, most=1)
        self.place, self.ratio = place, float(ratio)

    def transform(self, results: dict) -> dict:
        """Replace ``img`` (h, w, c) and ``img_shape``."""
        if results.get('flip'):
            raise UserError(
                f'{results.get("img_path", "a picture")} was flipped before ViewCrop, whose place is told of the '
                'picture as it is: crop first'
            )
        image = results['img']
        height, width = image.shape[:2]
        high, wide = (max(round(side * self.ratio), 1) for side in (height, width))
        across, down = PLACES[self.place]
        left, top = int((width - wide) * across), int((height - high) * down)
        crop = image[top : top + high, left : left + wide]
        box = (left / width, top / height, (left + wide) / width, (top + high) / height)
        return results | dict(img=crop, img_shape=crop.shape[:2], view_box=box, view_shape=(height, width))
