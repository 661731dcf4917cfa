"""Time and memory of loading a MultiLabelFile, against json.load and pandas.read_csv of the same file.

Files as large as COCO's are generated with a seed, with empty pictures. Each measurement is a process of its own: CPU
seconds of loading, imports not counted, the best of all rounds, in which the two take turns; and by how much the peak
of memory lies above what the imports take. MultiLabelFile reads, checks, looks for every picture and packs the items.

    python tools/analysis_tools/benchmark_label_files.py
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import make_parser
from mmlattn.utils.timing import take_turns

SIDES = (640, 480)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--images', type=int, default=123287, help='pictures (COCO 2017: 123,287)')
    parser.add_argument(
        '--labels', type=int, default=860001, help='annotations of the COCO json (2017: 896,782)'
    )
    parser.add_argument('--num-classes', type=int, default=80, help='classes')
    parser.add_argument('--rows', type=int, default=1_000_000, help='rows of the csv with one label a row')
    parser.add_argument('--repeats', type=int, default=3, help='rounds')
    parser.add_argument('--seed', type=int, default=0, help='seed of the labels')
    parser.add_argument('--measure', nargs=3, metavar=('LOADER', 'FILE', 'FOLDER'), help=argparse.SUPPRESS)
    return parser.parse_args()


def write_files(args: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """The label files by kind, with the pictures they name in the folder ``pictures``."""
    rng = np.random.default_rng(args.seed)
    names = [f'{number:012d}.jpg' for number in range(args.images)]
    classes = [f'class {number:02d}' for number in range(args.num_classes)]
    pictures = folder / 'pictures'
    pictures.mkdir()
    for name in names:
        (pictures / name).touch()
    files = {kind: folder / f'{kind.replace(" ", "_")}' for kind in ('coco.json', 'rows.csv', 'onehot.csv')}
    image, category = (rng.integers(0, most, args.labels) for most in (args.images, args.num_classes))
    files['coco.json'].write_text(to_json(_coco(names, classes, image, category, rng)))
    with files['rows.csv'].open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['image', 'label'])
        picked = (rng.integers(0, most, args.rows) for most in (args.images, args.num_classes))
        writer.writerows((names[row], classes[code]) for row, code in zip(*picked, strict=True))
    labels = np.zeros((args.images, args.num_classes), np.int8)
    labels[image, category] = 1
    with files['onehot.csv'].open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['image', *classes])
        writer.writerows([name, *row] for name, row in zip(names, labels.tolist(), strict=True))
    return files


def _coco(names: list[str], classes: list[str], image: np.ndarray, category: np.ndarray, rng) -> dict:
    boxes = np.round(rng.random((len(image), 4)) * [300, 200, 300, 200] + 1, 2).tolist()
    width, height = SIDES
    return dict(
        images=[
            dict(id=number, file_name=name, width=width, height=height, license=1, date_captured='2013-11-14')
            for number, name in enumerate(names)
        ],
        annotations=[
            dict(id=number, image_id=row, category_id=code, bbox=box, area=box[2] * box[3], iscrowd=0)
            for number, (row, code, box) in enumerate(
                zip(image.tolist(), category.tolist(), boxes, strict=True)
            )
        ],
        categories=[dict(id=number, name=name) for number, name in enumerate(classes)],
    )


def _load_ours(file: str, folder: str) -> int:
    from mmengine.logging import MMLogger

    from mmlattn.datasets import MultiLabelFile

    MMLogger.get_instance('benchmark', log_level='ERROR')
    dataset = MultiLabelFile(file, data_prefix=folder, lazy_init=True)
    return _timed(lambda: dataset.full_init() or len(dataset))


def _load_json(file: str, folder: str) -> int:
    import json

    with Path(file).open() as text:
        return _timed(lambda: len(json.load(text)))


def _load_csv(file: str, folder: str) -> int:
    import pandas as pd

    return _timed(lambda: len(pd.read_csv(file)))


LOADERS = {'MultiLabelFile': _load_ours, 'json.load': _load_json, 'pandas.read_csv': _load_csv}


def _timed(load: Callable[[], int]) -> int:
    """Print CPU seconds and MiB of one call."""
    before, start = _memory('VmRSS'), time.process_time()
    # Pandas is imported by what reads tables; its import counts for ours.
    count = load()
    print('measured', time.process_time() - start, _memory('VmHWM') - before)
    return count


def _memory(name: str) -> float:
    """MiB, as Linux says."""
    try:
        status = Path('/proc/self/status').read_text()
    except OSError as error:
        raise UserError('memory is read from /proc: measure on Linux') from error
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) / 1024


def measure(loader: str, file: Path, folder: Path) -> tuple[float, float]:
    """CPU seconds and MiB of a process that loads a file."""
    command = [sys.executable, '-W', 'ignore', __file__, '--measure', loader, str(file), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith('measured')]
    if done.returncode or not lines:
        raise UserError(f'{loader} of {file.name} failed: {done.stderr.strip()[-300:]}')
    _, seconds, mib = lines[0].split()
    return float(seconds), float(mib)


def main() -> None:
    """Measure and print the table."""
    args = parse_args()
    if args.measure:
        loader, file, folder = args.measure
        LOADERS[loader](file, folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(args, Path(folder))
        print(
            f'{args.images} pictures, {args.num_classes} classes, {args.labels} annotations, {args.rows} rows'
        )
        print(f'{"file":12}{"MB":>6}{"":>4}{"loader":18}{"s":>8}{"MiB":>9}{"ratio of s":>12}{"of MiB":>9}')
        for kind, file in files.items():
            other = 'json.load' if kind.endswith('json') else 'pandas.read_csv'
            turns = {
                name: lambda name=name, file=file: measure(name, file, Path(folder, 'pictures'))
                for name in ('MultiLabelFile', other)
            }
            best = {name: np.min(found, axis=0) for name, found in take_turns(turns, args.repeats).items()}
            for name, (seconds, mib) in best.items():
                told = ''
                if name == 'MultiLabelFile':
                    told = f'{seconds / best[other][0]:12.2f}{mib / best[other][1]:9.2f}'
                size = file.stat().st_size / 1e6
                print(f'{kind:12}{size:6.0f}{"":>4}{name:18}{seconds:8.2f}{mib:9.0f}{told}')


if __name__ == '__main__':
    run_tool(main)
