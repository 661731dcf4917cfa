"""Write a label file in another format.

    python tools/dataset_converters/convert_labels.py labels.csv labels.json --to coco --pictures images
    python tools/dataset_converters/convert_labels.py VOC2007 labels.csv --to csv-onehot --split train

What a format can not say is refused if it is labels, and logged if it is boxes, splits or groups. docs/label_files.md
has all formats with an example.
"""

import argparse
from pathlib import Path

import numpy as np

from mmlattn.datasets.label_files import FORMATS, LabelTable, read_label_file, write_label_file
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import DictAction, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('src', metavar='IN', type=Path, help='label file or folder')
    parser.add_argument(
        'dst', metavar='OUT', type=Path, help='file or folder to write; it must not exist yet'
    )
    parser.add_argument('--to', choices=FORMATS, required=True, metavar='FORMAT', help=', '.join(FORMATS))
    parser.add_argument('--format', help='format of IN; found out by default')
    parser.add_argument('--classes', help='list of class names, one a line; by default those of IN')
    parser.add_argument(
        '--unlisted', choices=('absent', 'unknown'), help='what a class not named for a picture means'
    )
    parser.add_argument('--split', help='only pictures of this split')
    parser.add_argument(
        '--pictures', type=Path, help='folder with the pictures, to copy them or to read their sizes'
    )
    parser.add_argument(
        '--read',
        nargs='+',
        action=DictAction,
        default={},
        help='what is not to be found out of IN: key=value',
    )
    return parser.parse_args()


def of_split(table: LabelTable, split: str | None, path: Path) -> LabelTable:
    """The pictures of a split, or all."""
    splits = table.columns.splits
    if split is None:
        return table
    chosen = np.flatnonzero([name == split for name in splits or ()])
    if not len(chosen):
        there = ', '.join(sorted({str(name) for name in splits or ()})) or 'none'
        raise UserError(f'{path}: has no picture of the split {split}; its splits: {there}')
    return table.take(chosen)


def main() -> None:
    """Read, write, and say what was written."""
    args = parse_args()
    if args.dst.exists() or args.dst.is_symlink():
        raise UserError(f'{args.dst} exists already; choose another name')
    table = read_label_file(args.src, args.format, args.classes, args.unlisted, **args.read)
    for note in table.notes:
        print(f'{args.src}: {note}')
    table = of_split(table, args.split, args.src)
    pictures = None if args.pictures is None else str(args.pictures)
    write_label_file(table, args.dst, args.to, pictures)
    print(
        f'{args.dst}: {len(table)} pictures, {len(table.classes)} classes, from {table.format} to {args.to}'
    )


if __name__ == '__main__':
    run_tool(main)
