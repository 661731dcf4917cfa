"""Composed pictures for small data sets: objects are placed on a canvas, and the pictures written in COCO's format.

Boxes are (x, y, width, height) in pixels.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from tqdm import tqdm

from .downloads import fetch_wheel
from .errors import UserError
from .json_files import to_json

RECIPE_FILE = 'recipe.json'
SPLITS = ('train', 'val')
# One fixed wheel, whatever Python runs this: the pictures in it are all we want.
TEXTURES_WHEEL = 'scikit-image==0.25.2'
TEXTURES_OPTIONS = ('--python-version', '3.11', '--platform', 'manylinux2014_x86_64')

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Scene:
    """One composed picture, (H, W) or (H, W, 3) uint8, with the class, from 0, and the box of each object."""

    image: np.ndarray
    labels: tuple[int, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Split:
    """A subset to write: ``compose(i)`` makes scene ``i`` and depends on nothing else."""

    name: str
    length: int
    compose: Callable[[int], Scene]


def fetch_textures(cache: Path) -> list[np.ndarray]:
    """Three backgrounds, each (H, W) uint8, from the wheel of scikit-image."""
    with zipfile.ZipFile(fetch_wheel(TEXTURES_WHEEL, cache, *TEXTURES_OPTIONS)) as archive:
        files = [archive.read(f'skimage/data/{name}.png') for name in ('brick', 'grass', 'gravel')]
    return [np.asarray(Image.open(io.BytesIO(file)).convert('L')) for file in files]


def find_spot(
    rng: np.random.Generator,
    size: tuple[int, int],
    canvas: int,
    taken: Sequence[Box],
    max_overlap: float = 0.0,
) -> tuple[int, int] | None:
    """Left and top of a box of ``size`` (width, height) on a square canvas, or None if 20 draws found no place.

    Of no box in ``taken`` it shares more than ``max_overlap``, 0 to 1, of the smaller one's area.
    """
    width, height = size
    for _ in range(20):
        x, y = int(rng.integers(canvas - width + 1)), int(rng.integers(canvas - height + 1))
        if all(overlap((x, y, width, height), box) <= max_overlap for box in taken):
            return x, y
    return None


def overlap(a: Box, b: Box) -> float:
    """Intersection of two boxes over the smaller of their areas."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0) / min(a[2] * a[3], b[2] * b[3])


def tight_box(mask: np.ndarray) -> Box:
    """The smallest box that holds every true pixel of a non-empty (H, W) mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def split_scenes(
    labels: np.ndarray,
    train_fraction: float,
    lengths: dict[str, int],
    seed: int,
    composer: Callable[[np.ndarray], Callable[[np.random.Generator], Scene]],
) -> list[Split]:
    """Split objects of classes ``labels`` (N,) into train and val, class by class, before any scene is composed.

    Scene i of a split is a function of (seed, split, i), so more scenes never change earlier ones. ``lengths`` are
    the numbers of scenes of train and val, in this order; ``composer`` takes indices of objects and gives what
    composes a scene of them.
    """
    rng, train, val = np.random.default_rng(seed), [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        cut = round(len(members) * train_fraction)
        train.append(members[:cut])
        val.append(members[cut:])

    def split(number: int, name: str, members: list[np.ndarray]) -> Split:
        compose = composer(np.sort(np.concatenate(members)))
        return Split(name, lengths[name], lambda i: compose(np.random.default_rng([seed, number, i])))

    return [split(number, *pair) for number, pair in enumerate(zip(lengths, (train, val), strict=True))]


def write_dataset(
    out: Path, recipe: dict, classes: Sequence[str], splits: Callable[[], Sequence[Split]]
) -> bool:
    """Write a data set in COCO's format, all of it or nothing.

    The pictures go to ``<out>/<split>/``, the boxes to ``<out>/annotations/instances_<split>.json``, what made them,
    ``recipe``, with the number of scenes of each split, to ``<out>/recipe.json``. The same recipe gives the same
    bytes. Category ids count from 1. ``splits`` is called only when there is something to write.

    Returns:
        bool: Whether the data set was written; False if it was there already.

    Raises:
        UserError: If ``out`` holds anything else than this data set, or not all of it.
    """
    if _is_complete(out, recipe):
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own for each run, so that two at once do not write into one another's.
    with TemporaryDirectory(dir=out.parent, prefix=f'.{out.name}-') as folder:
        whole = Path(folder, 'whole')
        (whole / 'annotations').mkdir(parents=True)
        for split in splits():
            instances = _write_split(whole / split.name, split, classes)
            _write_json(whole / 'annotations' / f'instances_{split.name}.json', instances)
        _write_json(whole / RECIPE_FILE, recipe)
        try:
            whole.rename(out)  # which may be there, if it is empty
        except OSError:
            if not _is_complete(out, recipe):  # as another run has left it meanwhile
                raise
            return False
    return True


def _is_complete(out: Path, recipe: dict) -> bool:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    found = out / RECIPE_FILE
    if not found.is_file():
        raise UserError(f'{out} exists and is no data set of this tool; choose another --out-dir')
    made_with = json.loads(found.read_text())
    differing = [key for key in {**recipe, **made_with} if recipe.get(key) != made_with.get(key)]
    if differing:
        raise UserError(
            f'{out} was made with other settings ({", ".join(differing)}); choose another --out-dir, or delete it'
        )
    missing = sorted(out / name for name in _file_names(recipe) if not (out / name).is_file())
    if missing:
        raise UserError(
            f'{out} lacks {len(missing)} of its files, first {missing[0]}: delete it, and it is made anew'
        )
    return True


def _file_names(recipe: dict) -> Iterator[str]:
    """The files of a data set, by the number of scenes that its recipe gives for each split."""
    for split in SPLITS:
        yield f'annotations/instances_{split}.json'
        yield from (f'{split}/{_picture_name(index)}' for index in range(recipe[split]))


def _picture_name(index: int) -> str:
    return f'{index:06d}.png'


def _write_split(folder: Path, split: Split, classes: Sequence[str]) -> dict:
    folder.mkdir()
    images, annotations = [], []
    for index in tqdm(range(split.length), desc=f'{split.name} scenes', unit='scene', disable=None):
        scene = split.compose(index)
        name = _picture_name(index)
        Image.fromarray(scene.image).save(folder / name)
        height, width = scene.image.shape[:2]
        images.append(dict(id=index + 1, file_name=name, width=width, height=height))
        for label, box in zip(scene.labels, scene.boxes, strict=True):
            ids = dict(id=len(annotations) + 1, image_id=index + 1, category_id=label + 1)
            annotations.append(dict(**ids, bbox=list(box), area=box[2] * box[3], iscrowd=0))
    categories = [dict(id=label + 1, name=name) for label, name in enumerate(classes)]
    return dict(images=images, annotations=annotations, categories=categories)


def _write_json(path: Path, content: dict) -> None:
    path.write_text(to_json(content, indent=1) + '\n')
