"""Begin a project of your own from a folder of pictures and a file of their labels.

python tools/new_project.py photos photos.csv --out-dir my_project

Looks at the data, splits them into train, val and test, writes my_project/config.py, labels.csv and classes.txt, and
prints what to type next. Pictures stay where they are. docs/own_data.md goes through it.
"""

import argparse
from pathlib import Path

from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import DictAction, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('pictures', type=Path, help='folder that the paths in LABELS begin at')
    parser.add_argument(
        'labels', type=Path, help='labels: csv, txt, json lines, COCO, VOC, ... (docs/label_files.md)'
    )
    parser.add_argument('--out-dir', type=Path, required=True, help='folder to make; it must not exist yet')
    parser.add_argument('--format', help='format of LABELS, where it is not found out')
    parser.add_argument(
        '--classes', help='file with the names of the classes, one a line, in the order to take'
    )
    parser.add_argument(
        '--unlisted',
        choices=('absent', 'unknown'),
        help='what a class that LABELS does not name for a picture means',
    )
    parser.add_argument(
        '--split',
        help='shares of train, val and test; default what LABELS says, or 80/10/10, of few pictures 60/20/20',
    )
    parser.add_argument(
        '--group-by',
        metavar='REGEX',
        help="pictures in whose paths its one group finds the same stay together, as '(.+)_[0-9]+'",
    )
    parser.add_argument('--group-column', help='column of LABELS that says which pictures stay together')
    parser.add_argument(
        '--read',
        nargs='+',
        action=DictAction,
        default={},
        help="what is not to be found out of a table, as separator=' ' label_columns=cat,dog image_column=file",
    )
    parser.add_argument('--seed', type=int, default=0, help='of the split; default 0')
    parser.add_argument(
        '--system', default='csra', help='csra, st-lstm, cnn-rnn, racnn or linear; default csra'
    )
    parser.add_argument(
        '--backbone',
        default='resnet50',
        help='resnet50 (default), resnet101, resnet18, mobilenet_v2 or convnext_tiny',
    )
    parser.add_argument('--weights', help='file with weights of the backbone, or none; default: of ImageNet')
    parser.add_argument(
        '--size', type=int, help='side to which pictures are resized; default 224 or 448, by theirs'
    )
    parser.add_argument('--epochs', type=int, help='default 30, for racnn of more than 500 pictures 81')
    parser.add_argument('--batch-size', type=int, help='pictures a step; default 8 to 32, by their number')
    return parser.parse_args()


def main() -> None:
    """Read, split, propose, write."""
    args = parse_args()

    from mmlattn.projects.folder import next_commands, refuse_taken, write_project
    from mmlattn.projects.making import make_project
    from mmlattn.projects.proposals import Wishes
    from mmlattn.projects.splitting import parse_shares

    refuse_taken(args.out_dir)
    wishes = Wishes(args.system, args.backbone, args.weights, args.size, args.epochs, args.batch_size)
    reading = dict(args.read, format=args.format, classes=args.classes, unlisted=args.unlisted)
    if args.group_column is not None:
        reading['group_column'] = args.group_column
    shares = None if args.split is None else parse_shares(args.split)
    project = make_project(
        args.pictures, args.labels, args.out_dir, wishes, shares, args.group_by, args.seed, **reading
    )
    print('\n'.join(project.report))
    write_project(args.out_dir, project.table, project.config)
    print(f'\nwrote {args.out_dir}: config.py, labels.csv, classes.txt. Next:\n')
    print('\n'.join(next_commands(args.out_dir, project.proposal.epochs, project.has_thresholds)))


if __name__ == '__main__':
    run_tool(main)
