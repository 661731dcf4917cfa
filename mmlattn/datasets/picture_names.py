"""What picture files are called."""

from pathlib import PurePath

#: Extensions of pictures, in small letters.
PICTURE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def is_picture(path: str | PurePath) -> bool:
    """Whether a path looks like that of a picture file."""
    return PurePath(path).suffix.lower() in PICTURE_EXTENSIONS
