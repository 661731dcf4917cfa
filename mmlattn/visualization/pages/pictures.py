"""Pictures as data within a page."""

import base64
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from ..layout import check_picture

#: Of WebP, from 0 to 100. Browsers have read it since 2020, and it is a third smaller than JPEG.
QUALITY = 75


@dataclass(frozen=True)
class PagePicture:
    """A picture that a page holds: its address, which is its content, and its size in pixels."""

    uri: str
    width: int
    height: int


def page_picture(image: np.ndarray, side: int | None = None) -> PagePicture:
    """A picture, (H, W, 3) in RGB or (H, W, 1), uint8, for a page.

    Args:
        image (np.ndarray): It is never made larger.
        side (int, optional): Of the longer side, in pixels; smaller ones stay as they are.
    """
    image = check_picture(image)
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    if side is not None:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = BytesIO()
    picture.save(file, 'WEBP', quality=QUALITY, method=4)
    text = base64.b64encode(file.getvalue()).decode('ascii')
    return PagePicture(f'data:image/webp;base64,{text}', *picture.size)
