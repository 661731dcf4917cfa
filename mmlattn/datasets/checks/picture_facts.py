"""What one picture file is, and what the loader of a data set makes of it; measured, not taken from a manual."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

import cv2
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.fileio import get
from PIL import Image, ImageOps

from mmlattn.utils.errors import UserError

from ..unreadable_pictures import load_picture

#: A short side below this many pixels has little to look at.
TINY = 32
#: One side that many times the other: resizing to a square bends it, a centre crop leaves most of it out.
EXTREME = 4
_ORIENTATION = 0x0112
_SEVERAL = {'GIF', 'WEBP', 'PNG', 'TIFF'}  # a phone's MPO has a preview for its second picture
_SIDE, _LOW, _THUMB = 32, 8, 16
_DARK, _NEAR = 32, 12


@dataclass(frozen=True)
class PictureFacts:
    """Of one file.

    Args:
        problem (str, optional): Why it can not be loaded; nothing else is known then.
        size (tuple[int, int]): Width and height as loaded.
        channels (int): Of the loaded array.
        kinds (dict[str, str]): What is special, a code of :data:`KINDS`, and what the loader makes of that.
        content (bytes): Digest of the bytes of the file.
        pixels (bytes): Digest of the loaded array.
        fingerprint (int): 64 bits that stay nearly the same when a picture is saved or resized anew.
        thumbnail (np.ndarray): Shape (256,), uint8, its brightness in 16 x 16 fields.
    """

    problem: str | None = None
    size: tuple[int, int] = (0, 0)
    channels: int = 0
    kinds: dict[str, str] = field(default_factory=dict)
    content: bytes = b''
    pixels: bytes = b''
    fingerprint: int = 0
    thumbnail: np.ndarray | None = None


#: Kinds of pictures, and how each is called in a message.
KINDS = {
    'grayscale': 'grayscale',
    'cmyk': 'CMYK, as for print',
    '16-bit': '16 bits a channel',
    'transparent': 'transparent in places',
    'exif-rotated': 'stored in another orientation, said in EXIF',
    'several-frames': 'several frames',
    'tiny': f'a side below {TINY} pixels',
    'extreme-aspect': f'one side more than {EXTREME} times the other',
    'one-colour': 'one colour all over',
}
#: What a loader makes of some kinds, and does not tell.
HARMFUL = {
    'cmyk': 'loaded in other colours than they are shown',
    '16-bit': 'loaded cut off at 255, so that brighter parts are lost',
    '16-bit, dark': 'loaded with 8 bits, nearly black: save them with 8 bits over the values in use',
    'exif-rotated': 'loaded as they are stored, not as they are shown',
    'one-colour': 'nothing is in them',
}


def picture_facts(loader: LoadImageFromFile, path: str) -> PictureFacts:
    """Load a picture as a data set does, once, and look at its header."""
    try:
        array = load_picture(loader, path)['img']
    except UserError as error:
        return PictureFacts(problem=str(error))
    content = get(path, backend_args=getattr(loader, 'backend_args', None))
    gray = _gray(array)
    small = cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return PictureFacts(
        size=(array.shape[1], array.shape[0]),
        channels=1 if array.ndim == 2 else array.shape[2],
        kinds=_loaded_kinds(array) | _stored_kinds(content, array),
        content=blake2b(content, digest_size=16).digest(),
        pixels=blake2b(
            np.ascontiguousarray(array), digest_size=16, person=repr(array.shape).encode()[:16]
        ).digest(),
        fingerprint=fingerprint(small),
        thumbnail=cv2.resize(small, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
        .astype(np.uint8)
        .reshape(-1),
    )


def fingerprint(gray: np.ndarray) -> int:
    """Perceptual hash of a picture's brightness, (32, 32) float32: which of 64 low frequencies exceed their median.

    The frequencies are OpenCV's; the idea is that of C. Zauner, Implementation and Benchmarking of Perceptual Image
    Hash Functions, 2010, section 3.2.1.
    """
    low = cv2.dct(gray)[:_LOW, :_LOW].reshape(-1)
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), 'little')


def _gray(array: np.ndarray) -> np.ndarray:
    """Brightness, float32 in [0, 255] for 8 bits, of BGR, BGRA or one channel."""
    array = (
        array.astype(np.float32) / 257 if array.dtype == np.uint16 else array.astype(np.float32, copy=False)
    )
    if array.ndim == 2 or array.shape[2] < 3:
        return array if array.ndim == 2 else np.ascontiguousarray(array[..., 0])
    return cv2.cvtColor(np.ascontiguousarray(array[..., :3]), cv2.COLOR_BGR2GRAY)


def _loaded_kinds(array: np.ndarray) -> dict[str, str]:
    short, long = sorted(array.shape[:2])
    kinds = {}
    if short < TINY:
        kinds['tiny'] = 'they show little when they are enlarged'
    if long > EXTREME * short:
        kinds['extreme-aspect'] = 'a resize to a square bends them, a crop leaves most of them out'
    if all((part == array[:1, :1]).all() for part in (array[::16, ::16], array)):
        kinds['one-colour'] = HARMFUL['one-colour']
    elif array.ndim == 3 and array.shape[2] >= 3 and _equal_channels(array):
        kinds['grayscale'] = f'loaded as {array.shape[2]} channels, the colours equal'
    return kinds


def _equal_channels(array: np.ndarray) -> bool:
    few = array[::16, ::16]
    return all((part[..., 0] == part[..., c]).all() for part in (few, array) for c in (1, 2))


def _stored_kinds(content: bytes, array: np.ndarray) -> dict[str, str]:
    """What the header tells, and what has become of it; nothing where Pillow does not know the format."""
    kinds = {}
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if array.ndim == 2 and (picture.mode in ('1', 'L', 'LA') or picture.mode.startswith('I')):
                kinds['grayscale'] = 'loaded as one channel'
            for kind, look in _LOOKS.items():
                outcome = look(picture, content, array)
                if outcome:
                    kinds[kind] = outcome
    except (
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
    ):  # Pillow's ways to say that it does not read this
        pass
    return kinds


def _cmyk(picture: Image.Image, content: bytes, array: np.ndarray) -> str | None:
    if picture.mode != 'CMYK':
        return None
    far = _distance(array, ImageOps.exif_transpose(picture))
    return HARMFUL['cmyk'] if far > _NEAR else 'loaded in colours as they are shown'


def _sixteen_bit(picture: Image.Image, content: bytes, array: np.ndarray) -> str | None:
    bits = {'PNG': lambda: content[24], 'TIFF': lambda: max(np.atleast_1d(picture.tag_v2.get(258, 1)))}
    depth = bits[picture.format]() if picture.format in bits else 16 if picture.mode.startswith('I') else 8
    if depth < 16:
        return None
    if array.dtype == np.uint16:
        return 'loaded with 16 bits'
    whole = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if whole is not None:
        # Means stay where a picture is turned, or gets a second and third channel of the same values.
        upper, cut = (whole / 257).mean(), np.minimum(whole, 255).mean()
        if abs(array.mean() - cut) < abs(array.mean() - upper):
            return HARMFUL['16-bit'] if (whole > 255).mean() > 0.01 else 'loaded with their values, below 256'
    return HARMFUL['16-bit, dark'] if array.max() < _DARK else 'loaded with 8 bits, the upper ones'


def _transparent(picture: Image.Image, content: bytes, array: np.ndarray) -> str | None:
    if not ('transparency' in picture.info or picture.mode in ('RGBA', 'LA', 'PA')):
        return None
    shown = ImageOps.exif_transpose(picture.convert('RGBA'))
    colours = np.asarray(shown)
    clear = colours[..., 3] < 128
    if not clear.any():
        return None
    if array.ndim == 3 and array.shape[2] == 4:
        return 'loaded with a fourth channel'
    if array.shape[:2] != clear.shape or array.ndim == 2:
        return 'loaded without the fourth channel'
    hidden = np.abs(array[..., ::-1].astype(float) - colours[..., :3])[clear].mean()
    return (
        'loaded with whatever colours the clear places hide'
        if hidden < 4
        else 'loaded on a ground of one colour'
    )


def _rotated(picture: Image.Image, content: bytes, array: np.ndarray) -> str | None:
    if picture.getexif().get(_ORIENTATION, 1) not in range(2, 9):
        return None
    picture.draft('RGB', (256, 256))
    stored = picture.convert('RGB')
    upright = _distance(array, ImageOps.exif_transpose(stored)) <= _distance(array, stored)
    return 'loaded upright' if upright else HARMFUL['exif-rotated']


def _frames(picture: Image.Image, content: bytes, array: np.ndarray) -> str | None:
    several = picture.format in _SEVERAL and getattr(picture, 'is_animated', False)
    return 'only the first one is loaded' if several else None


def _distance(array: np.ndarray, picture: Image.Image) -> float:
    """Mean difference of a loaded array, BGR or gray, and a picture, in 64 x 64 fields; infinite where one lies."""
    wide = array.shape[1] > array.shape[0]
    if (
        array.shape[0] != array.shape[1]
        and picture.width != picture.height
        and wide != (picture.width > picture.height)
    ):
        return float('inf')
    other = np.asarray(picture.convert('RGB').resize((64, 64), Image.Resampling.BOX), np.float32)
    mine = array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
    mine = cv2.resize(mine[..., 2::-1].astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
    if array.ndim == 2 or array.shape[2] == 1:
        other = np.repeat(other @ np.float32([[0.299], [0.587], [0.114]]), 3, axis=2)
    return float(np.abs(mine - other).mean())


_LOOKS: dict[str, Callable[[Image.Image, bytes, np.ndarray], str | None]] = {
    # A later look may decode the picture, so headers first.
    'several-frames': _frames,
    '16-bit': _sixteen_bit,
    'exif-rotated': _rotated,
    'cmyk': _cmyk,
    'transparent': _transparent,
}
