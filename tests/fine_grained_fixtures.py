"""Small sets of drawn pictures in the layouts of the fine-grained data sets, a plain rectangle on dark noise each.

Every picture has an object in the colour of its class, and nothing else in it is bright: :func:`bright_box` finds
the box without the annotation. ``per_class`` pictures of a class are split evenly, training gets the odd one.
"""

import colorsys
import uuid
from pathlib import Path

import numpy as np
import scipy.io
from mmpretrain.datasets.categories import CUB_CATEGORIES, FGVCAIRCRAFT_CATEGORIES
from PIL import Image, ImageDraw

# Two breeds whose names have a hyphen or an underscore, in the order of the official labels.
DOG_FOLDERS = (
    'n02085620-Chihuahua', 'n02085782-Japanese_spaniel', 'n02085936-Maltese_dog', 'n02086079-Pekinese',
    'n02086240-Shih-Tzu', 'n02086646-Blenheim_spaniel',
)  # fmt: skip
# Ids with gaps, as the published classes that have pictures have them; 0 and 5 are groups without pictures.
NABIRDS_CLASSES = {
    0: 'Birds',
    5: 'Hawks',
    295: 'Common Eider (Adult male)',
    296: 'Common Eider (Female/juvenile)',
    817: 'Red-tailed Hawk',
    1010: 'Sulphur-bellied Flycatcher',
}


def draw(path, index, num_classes, rng, count=1):
    """Draw ``count`` rectangles of a class side by side.

    Returns:
        list[tuple[int, int, int, int]]: x, y, width and height of each in pixels, inside the picture.
    """
    width, height = (int(side) for side in rng.integers(64, 97, 2))
    picture = Image.fromarray(rng.integers(0, 40, (height, width, 3), dtype=np.uint8))
    rgb = tuple(int(255 * v) for v in colorsys.hsv_to_rgb(index / num_classes, 1, 1))
    slot, boxes = width // count, []
    for number in range(count):
        w, h = int(rng.integers(slot // 3, slot // 2)), int(rng.integers(height // 3, height // 2))
        x, y = number * slot + int(rng.integers(slot - w)), int(rng.integers(height - h))
        ImageDraw.Draw(picture).rectangle((x, y, x + w - 1, y + h - 1), fill=rgb)
        boxes.append((x, y, w, h))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=100, subsampling=0)
    return boxes


def bright_box(path):
    """Xyxy in [0, 1] of what is bright in a picture with one rectangle."""
    pixels = np.asarray(Image.open(path)).max(axis=-1) > 140
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    corners = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return corners / np.tile(pixels.shape[::-1], 2)


def is_train(number, per_class):
    """Whether the picture of this number in its class is one of training."""
    return number < (per_class + 1) // 2


def _write_tables(root, rows):
    """The text files of CUB and NABirds, from (id, file, class id, is training, box) of each picture."""
    tables = {
        'images.txt': [f'{key} {file}' for key, file, *_ in rows],
        'image_class_labels.txt': [f'{key} {class_id}' for key, _, class_id, *_ in rows],
        'train_test_split.txt': [f'{key} {int(train)}' for key, _, _, train, _ in rows],
        'bounding_boxes.txt': [f'{key} {x} {y} {w} {h}' for key, *_, (x, y, w, h) in rows],
    }
    for name, lines in tables.items():
        (root / name).write_text('\n'.join(lines) + '\n')


def write_cub(folder, num_classes=3, per_class=4, seed=0):
    """The first ``num_classes`` of CUB's 200, in the layout of CUB-200-2011.

    Returns:
        Path: ``folder``/CUB_200_2011.
    """
    root, rng, rows = Path(folder) / 'CUB_200_2011', np.random.default_rng(seed), []
    for index, name in enumerate(CUB_CATEGORIES[:num_classes]):
        for number in range(per_class):
            file = f'{index + 1:03d}.{name}/{name}_{number:04d}_{1000 * index + number}.jpg'
            box = draw(root / 'images' / file, index, num_classes, rng)[0]
            rows.append(
                (
                    len(rows) + 1,
                    file,
                    index + 1,
                    is_train(number, per_class),
                    [f'{value:.1f}' for value in box],
                )
            )
    _write_tables(root, rows)
    return root


def write_nabirds(folder, per_class=4, seed=0):
    """The classes of ``NABIRDS_CLASSES`` from 295 on, in the layout of NABirds.

    Returns:
        Path: ``folder``/nabirds.
    """
    root, rng, rows = Path(folder) / 'nabirds', np.random.default_rng(seed), []
    visual = [class_id for class_id in NABIRDS_CLASSES if class_id >= 295]
    for index, class_id in enumerate(visual):
        for number in range(per_class):
            key = uuid.UUID(bytes=rng.bytes(16))
            file = f'{class_id:04d}/{key.hex}.jpg'
            box = draw(root / 'images' / file, index, len(visual), rng)[0]
            rows.append((key, file, class_id, is_train(number, per_class), box))
    _write_tables(root, sorted(rows, key=lambda row: str(row[0])))
    lines = [f'{class_id} {name}' for class_id, name in NABIRDS_CLASSES.items()]
    (root / 'classes.txt').write_text('\n'.join(lines) + '\n')
    (root / 'hierarchy.txt').write_text('5 0\n295 0\n296 0\n817 5\n1010 0\n')
    return root


def _column(values):
    """A MATLAB cell array of strings, one a row."""
    return np.array(values, dtype=object).reshape(-1, 1)


def write_dogs(folder, num_classes=3, per_class=4, seed=0):
    """The first ``num_classes`` breeds in the layout of Stanford Dogs; every other picture holds two dogs.

    Returns:
        Path: ``folder``/stanford_dogs.
    """
    root, rng = Path(folder) / 'stanford_dogs', np.random.default_rng(seed)
    lists = {'train': [], 'test': []}
    for index, breed in enumerate(DOG_FOLDERS[:num_classes]):
        wnid, _, name = breed.partition('-')
        for number in range(per_class):
            stem = f'{breed}/{wnid}_{100 * index + number}'
            boxes = draw(root / 'Images' / f'{stem}.jpg', index, num_classes, rng, count=1 + number % 2)
            width, height = Image.open(root / 'Images' / f'{stem}.jpg').size
            objects = ''.join(
                f'<object><name>{name}</name><pose>Unspecified</pose><difficult>0</difficult><bndbox>'
                f'<xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>'
                for x, y, w, h in boxes
            )
            xml = root / 'Annotation' / stem
            xml.parent.mkdir(parents=True, exist_ok=True)
            xml.write_text(
                f'<annotation><filename>%s</filename><size><width>{width}</width><height>{height}</height>'
                f'<depth>3</depth></size>{objects}</annotation>'
            )
            split = 'train' if is_train(number, per_class) else 'test'
            lists[split].append((stem, index + 1))
    for split, rows in lists.items():
        stems, labels = zip(*rows, strict=True)
        write_dog_list(root / f'{split}_list.mat', stems, labels)
    return root


def write_dog_list(path, stems, labels):
    """A list of Stanford Dogs, from names without extension and labels that count from 1."""
    content = dict(
        file_list=_column([f'{stem}.jpg' for stem in stems]),
        annotation_list=_column(list(stems)),
        labels=np.array(labels, float).reshape(-1, 1),
    )
    scipy.io.savemat(path, content)


def write_cars(folder, num_classes=3, per_class=4, seed=0):
    """The first ``num_classes`` of Stanford Cars' 196, in the layout with devkit.

    Returns:
        Path: ``folder``/stanford_cars.
    """
    root, rng = Path(folder) / 'stanford_cars', np.random.default_rng(seed)
    rows = {'train': [], 'test': []}
    for index in range(num_classes):
        for number in range(per_class):
            split = 'train' if is_train(number, per_class) else 'test'
            name = f'{len(rows[split]) + 1:05d}.jpg'
            x, y, w, h = draw(root / f'cars_{split}' / name, index, num_classes, rng)[0]
            rows[split].append((x + 1, y + 1, x + w, y + h, index + 1, name))
    (root / 'devkit').mkdir()
    fields = [(f'bbox_{corner}', 'O') for corner in ('x1', 'y1', 'x2', 'y2')] + [
        ('class', 'O'),
        ('fname', 'O'),
    ]
    for split, ending in (('train', ''), ('test', '_withlabels')):
        annotations = np.array(rows[split], dtype=fields)[None]
        scipy.io.savemat(root / 'devkit' / f'cars_{split}_annos{ending}.mat', dict(annotations=annotations))
    return root


def write_aircraft(folder, num_classes=3, per_class=4, seed=0):
    """The first ``num_classes`` of FGVC-Aircraft's 100 variants, in its layout; the split ``val`` is left out.

    Returns:
        Path: ``folder``/fgvc-aircraft-2013b.
    """
    root, rng = Path(folder) / 'fgvc-aircraft-2013b', np.random.default_rng(seed)
    lines = {'trainval': [], 'test': []}
    for index, name in enumerate(FGVCAIRCRAFT_CATEGORIES[:num_classes]):
        for number in range(per_class):
            key = f'{1000 * index + number:07d}'
            draw(root / 'data' / 'images' / f'{key}.jpg', index, num_classes, rng)
            lines['trainval' if is_train(number, per_class) else 'test'].append(f'{key} {name}')
    for split, rows in lines.items():
        (root / 'data' / f'images_variant_{split}.txt').write_text('\n'.join(rows) + '\n')
    (root / 'data' / 'variants.txt').write_text('\n'.join(FGVCAIRCRAFT_CATEGORIES) + '\n')
    return root
