"""Check the data sets of a config before training on them.

Builds the data sets of the train, val and test data loaders, which checks their annotation files, and prints
what they hold. Exits with 1 and the reason if a file is bad, if a picture can't be decoded or has another size than
its annotation says (--images), if the splits have different classes, or if the number of classes in the model differs
from the data set's.
"""

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import zip_longest

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmlattn.datasets.unreadable_pictures import load_picture, loader_in
from mmlattn.utils.arguments import check_whole
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_config, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, make_parser

SPLITS = ('train', 'val', 'test')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='path of a config')
    parser.add_argument('--images', action='store_true', help='decode every picture and compare its size')
    parser.add_argument('--workers', type=int, default=4, help='threads that decode pictures')
    add_cfg_options(parser)
    return parser.parse_args()


def labels_of(item: dict) -> np.ndarray:
    """The class indices of a picture, (n,) int64; mmpretrain's VOC says None where there are no annotations."""
    labels = item.get('gt_label')
    return np.array([] if labels is None else labels, np.int64).reshape(-1)


def describe(name: str, dataset: BaseDataset, console: Console) -> list[dict]:
    """Print what a data set holds.

    Returns:
        list[dict]: Its items, before the pipeline.
    """
    items = [dataset.get_data_info(i) for i in range(len(dataset))]
    labels = [labels_of(item) for item in items]
    ignored = [set(item.get('gt_label_ignore') or item.get('gt_label_difficult') or []) for item in items]
    boxes = Counter(c for item in items for c in item.get('gt_box_labels', np.array([])).tolist())
    images = Counter(c for row in labels for c in set(row.tolist()))
    unsure = Counter(
        c for row, ignore in zip(labels, ignored, strict=True) for c in ignore - set(row.tolist())
    )
    classes = dataset.metainfo.get('classes') or range(max(images, default=-1) + 1)

    console.print(f'{name}: {len(items)} images, {sum(not len(row) for row in labels)} without a label, '
                  f'{np.mean([len(row) for row in labels]) if items else 0:.2f} labels an image, '
                  f'{sum(boxes.values())} boxes')  # fmt: skip
    table = Table('class', 'images', 'ignored', 'boxes')
    for c, label in enumerate(classes):
        table.add_row(str(label), str(images[c]), str(unsure[c]), str(boxes[c]))
    console.print(table)
    return items


def loader_of(dataset: BaseDataset) -> LoadImageFromFile:
    """What loads the pictures of a data set; one with mmcv's defaults where its pipeline has none."""
    while not hasattr(dataset, 'pipeline') and hasattr(dataset, 'dataset'):  # RepeatDataset and its like
        dataset = dataset.dataset
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    return loader_in(transforms) or LoadImageFromFile()


def picture_problem(loader: LoadImageFromFile, item: dict) -> str | None:
    """Why training cannot load a picture, or how its size differs from the ``width`` and ``height`` of its item."""
    path = item.get('img_path')
    if path is None:
        # Of CIFAR and its like, whose pictures are in one file that was read already.
        return None
    try:
        loaded = load_picture(loader, path)
    except UserError as error:
        return str(error)
    height, width = loaded['ori_shape']
    told = (item.get('width', width), item.get('height', height))
    if told != (width, height):
        return (
            f'{path}: is {width} x {height} as LoadImageFromFile turns it, but the annotation file says {told[0]} x '
            f'{told[1]}, so its boxes do not fit'
        )
    return None


def picture_problems(dataset: BaseDataset, items: list[dict], workers: int, console: Console) -> list[str]:
    """Decode every picture as the data set does and list what is wrong with it."""
    loader = loader_of(dataset)
    with ThreadPoolExecutor(workers) as pool:
        results = track(
            pool.map(partial(picture_problem, loader), items), 'decoding', total=len(items), console=console
        )
        return [result for result in results if result is not None]


def class_name_problems(classes: dict[str, tuple[str, ...]]) -> list[str]:
    """Where the classes of a split, by its name, differ from those of the first split."""
    problems = []
    first, *others = classes or ['']
    for name in others:
        for c, (a, b) in enumerate(zip_longest(classes[first], classes[name], fillvalue='missing')):
            if a != b:
                problems.append(
                    f'the classes of {first} and {name} differ: class {c} is {a} in {first} and {b} in {name}: give '
                    'both the same metainfo=dict(classes=...)'
                )
                break
    return problems


def class_count_problems(cfg: Config, name: str, num_classes: int) -> list[str]:
    """Where the config's number of classes differs from the data set's."""
    model = cfg.get('model', {})
    told = {
        'model.head.num_classes': (model.get('head') or {}).get('num_classes'),
        'data_preprocessor.num_classes': (
            model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
        ).get('num_classes'),
    }
    return [
        f'{key} is {count} but the {name} data set has {num_classes} classes: set {key}={num_classes}'
        for key, count in told.items()
        if count not in (None, num_classes)
    ]


def warn_of_shared_pictures(pictures: dict[str, set[str]]) -> None:
    """Say which pictures of training are tested on; with a warning, for a trial run may mean it."""
    for name in ('val', 'test'):
        shared = sorted(pictures.get('train', set()) & pictures.get(name, set()))
        if shared:
            print(
                f'warning: {len(shared)} pictures of train are in {name} too, first {shared[0]}: its scores say '
                'nothing of new pictures; set another ann_file in one of them',
                file=sys.stderr,
            )


def main() -> None:
    """Check all splits; end with 1 if anything is wrong."""
    args = parse_args()
    check_whole('--workers', args.workers, 1)
    cfg = read_config(args)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    console, problems, seen, classes, pictures = Console(markup=False), [], [], {}, {}
    for name in SPLITS:
        dataset_cfg = (cfg.get(f'{name}_dataloader') or {}).get('dataset')
        if dataset_cfg is None or dataset_cfg in seen:
            continue
        seen.append(dataset_cfg)
        try:
            with explain_config():
                dataset = DATASETS.build(dataset_cfg)
        except (UserError, OSError) as error:
            problems.append(f'{name}: {" ".join(str(error).split())}')
            continue
        items = describe(name, dataset, console)
        pictures[name] = {os.path.realpath(item['img_path']) for item in items if item.get('img_path')}
        if not any(len(labels_of(item)) for item in items):
            problems.append(f'{name}: no picture has a label: set metainfo.classes to the names in use')
        if dataset.metainfo.get('classes'):
            classes[name] = tuple(dataset.metainfo['classes'])
            problems += class_count_problems(cfg, name, len(classes[name]))
        if args.images:
            problems += picture_problems(dataset, items, args.workers, console)
    if not seen:
        problems.append(f'{args.config} has no data set in a train, val or test data loader')
    problems += class_name_problems(classes)
    warn_of_shared_pictures(pictures)
    for problem in problems:
        print(f'error: {problem}', file=sys.stderr)
    sys.exit(bool(problems))


if __name__ == '__main__':
    run_tool(main)
