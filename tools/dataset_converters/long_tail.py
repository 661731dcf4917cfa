"""Choose pictures of a data set so that its classes become rarer one after the other: a long tail of real labels.

    python tools/dataset_converters/long_tail.py instances_train.json --out long_tail.json --most 1000 --fewest 5

Of C classes, the most frequent one first, class c keeps MOST * (FEWEST / MOST)^(c / (C - 1)) pictures. Pictures stay
where they are; only the list of them is written, in the format of LABELS, or as a table with a column for each class
if --out ends with .csv. The choice is a function of the labels and the seed.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import make_parser


def long_tail_profile(counts: np.ndarray, most: int, fewest: int) -> np.ndarray:
    """Wanted pictures of each class, (C,) whole numbers.

    Args:
        counts (np.ndarray): Pictures of each class, (C,). Of equally frequent classes the lower one is the more
            frequent; no class is wanted more often than it is there.
        most (int): Wanted of the most frequent class.
        fewest (int): Wanted of the least frequent one.
    """
    order = np.argsort(-counts, kind='stable')
    steps = np.linspace(0, 1, len(counts)) if len(counts) > 1 else np.zeros(1)
    wanted = np.empty(len(counts), dtype=np.int64)
    wanted[order] = np.rint(most * (fewest / most) ** steps)
    return np.minimum(wanted, counts)


def choose_pictures(present: np.ndarray, wanted: np.ndarray, seed: int) -> np.ndarray:
    """Which pictures stay so that no class has more than wanted, where the labels allow it.

    From the rarest class on, pictures that show too many of a class are left out by chance, but none that shows a
    rarer class: those are needed there. Pictures without a label stay.

    Args:
        present (np.ndarray): Shape (N, C), bool.
        wanted (np.ndarray): Shape (C,).
        seed (int): Of the chance.

    Returns:
        np.ndarray: Shape (N,), bool.
    """
    shuffled = np.random.default_rng(seed).permutation(len(present))
    stay = np.ones(len(present), dtype=bool)
    shows_rarer = np.zeros(len(present), dtype=bool)
    for label in np.argsort(wanted, kind='stable'):
        has = present[:, label]
        surplus = (has & stay).sum() - wanted[label]
        spare = shuffled[(has & stay & ~shows_rarer)[shuffled]]
        stay[spare[: max(surplus, 0)]] = False
        shows_rarer |= has
    return stay


def check_out(out: Path, labels: Path) -> None:
    """Raises ``UserError`` for a file that exists, or whose ending names no format that can be written."""
    if os.path.lexists(out):
        raise UserError(f'{out} exists already; choose another --out')
    if out.suffix != '.csv' and out.suffix != labels.suffix:
        raise UserError(f'--out must end with .csv, or with {labels.suffix} as {labels} does, got {out}')


def describe(classes: tuple[str, ...], before: np.ndarray, wanted: np.ndarray, after: np.ndarray) -> str:
    """A line for each class, the most frequent one first."""
    order = sorted(range(len(classes)), key=lambda c: (-after[c], -before[c], c))
    width = max(map(len, classes))
    lines = [
        f'{classes[c]:{width}}  {before[c]:7} -> {after[c]:6}'
        + ('' if after[c] == wanted[c] else f'   wanted {wanted[c]}')
        for c in order
    ]
    return '\n'.join(lines)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        'labels', metavar='LABELS', type=Path, help='label file; docs/datasets.md has the formats'
    )
    parser.add_argument('--out', type=Path, required=True, help='label file to write; it must not exist yet')
    parser.add_argument('--most', type=int, required=True, help='pictures of the most frequent class')
    parser.add_argument('--fewest', type=int, required=True, help='pictures of the rarest class')
    parser.add_argument('--split', help='thin out pictures of this split alone, and keep all others')
    parser.add_argument('--seed', type=int, default=0, help='default 0')
    args = parser.parse_args()
    if not 1 <= args.fewest <= args.most:
        parser.error(f'1 <= --fewest <= --most is needed, got {args.fewest} and {args.most}')
    if args.seed < 0:
        parser.error(f'--seed must be 0 or more, got {args.seed}')
    return args


def main() -> None:
    """Choose and write."""
    args = parse_args()
    check_out(args.out, args.labels)
    from mmlattn.datasets.label_files import PRESENT, read_label_file, write_label_file

    table = read_label_file(args.labels)
    columns, present = table.columns, table.matrix() == PRESENT
    thinned = np.ones(len(table), dtype=bool)
    if args.split is not None:
        thinned = np.array([split == args.split for split in columns.splits or [None] * len(table)])
        if not thinned.any():
            raise UserError(
                f'{args.labels} has no picture of the split {args.split!r}: choose another --split'
            )
    before = present[thinned].sum(axis=0)
    wanted = long_tail_profile(before, args.most, args.fewest)
    stay = np.ones(len(table), dtype=bool)
    stay[thinned] = choose_pictures(present[thinned], wanted, args.seed)
    form = table.format if args.out.suffix == args.labels.suffix else 'csv-onehot'
    write_label_file(table.take(np.flatnonzero(stay)), args.out, form)
    print(describe(table.classes, before, wanted, present[thinned & stay].sum(axis=0)))
    print(f'{args.out}: {(thinned & stay).sum()} of {thinned.sum()} pictures')


if __name__ == '__main__':
    run_tool(main)
