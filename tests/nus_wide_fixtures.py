"""A small generated set in NUS-WIDE's layout: plain pictures, and text files as Windows wrote them."""

from pathlib import Path

import numpy as np
from PIL import Image

CONCEPTS = ('sky', 'clouds', 'person', 'water', 'lake', 'boats', 'animal', 'grass', 'horses', 'military')


def write_nus_wide(folder, num_train=12, num_test=8, concepts=CONCEPTS, seed=0, end='\r\n'):
    """Pictures of 8 x 6, a third of them without a label, training and test mixed in ``Imagelist.txt``.

    Returns:
        tuple[Path, dict]: ``folder``/NUS-WIDE, and by the name of each picture (with forward slashes, in the order of
        ``Imagelist.txt``) its split and the sorted indices of its concepts.
    """
    root, rng, count = Path(folder) / 'NUS-WIDE', np.random.default_rng(seed), num_train + num_test
    splits = rng.permutation(['train'] * num_train + ['test'] * num_test).tolist()
    labels = rng.random((count, len(concepts))) < 0.3
    labels[::3] = False
    labels[1::3, 0] = True
    tags = ('actor', 'boat', 'zoo')
    names = [f'{tags[n % 3]}/{n // 3 + 1:04d}_{2124494179 + n}.jpg' for n in range(count)]
    for name in names:
        path = root / 'Flickr' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).save(path)
    lists = {
        'Imagelist': names,
        'TrainImagelist': [name for name, split in zip(names, splits, strict=True) if split == 'train'],
        'TestImagelist': [name for name, split in zip(names, splits, strict=True) if split == 'test'],
    }
    for stem, listed in lists.items():
        write_lines(root / 'ImageList' / f'{stem}.txt', [name.replace('/', '\\') for name in listed], end)
    write_lines(root / 'ConceptsList' / 'Concepts81.txt', concepts, end)
    for concept, column in zip(concepts, labels.T, strict=True):
        path = root / 'Groundtruth' / 'AllLabels' / f'Labels_{concept}.txt'
        write_lines(path, ['1' if value else '0' for value in column], end)
    indices = [np.flatnonzero(row).tolist() for row in labels]
    return root, dict(zip(names, zip(splits, indices, strict=True), strict=True))


def write_lines(path, lines, end='\r\n'):
    """Lines of text, each with the same ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(''.join(f'{line}{end}' for line in lines).encode())
