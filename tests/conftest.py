"""Fixtures shared by all tests: the checkout, and a data set in COCO's own layout."""

import colorsys
import gc
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image, ImageDraw
from tiny_run import write_tiny_run
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

# Tools are tested in forked processes, in which autograd works if its first backward here came before any
# torch.compile.
torch.ones((), requires_grad=True).backward()

# torchvision lists COCO's 80 names at their official ids, with 'N/A' in the gaps.
COCO_CATEGORIES = [
    dict(id=index, name=name)
    for index, name in enumerate(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta['categories'])
    if name not in ('__background__', 'N/A')
]


def pytest_collection_finish():
    """What is imported by now stays: each new data set collects garbage, and need not look through all of it."""
    gc.freeze()


def write_coco(root, num_images=24, num_classes=6, split='train2017', seed=0):
    """Draw a small seeded data set in COCO's layout: one shape and colour for each class drawn.

    The first image holds one crowd box and nothing else, the last one no annotation at all; ids have gaps.

    Args:
        root (Path): Folder to make; gets ``<split>/`` and ``annotations/instances_<split>.json``.
        num_images (int): Number of pictures, 64 to 96 pixels a side, every fourth a PNG.
        num_classes (int): The first so many of COCO's 80 categories are drawn; the json lists all 80.
        split (str): Name of the picture folder.
        seed (int): Seed of everything drawn.

    Returns:
        Path: ``root``.
    """
    rng = np.random.default_rng(seed)
    root = Path(root)
    (root / split).mkdir(parents=True)
    (root / 'annotations').mkdir(exist_ok=True)
    images, annotations = [], []
    for i in range(num_images):
        width, height = (int(side) for side in rng.integers(64, 97, 2))
        picture = Image.fromarray(rng.integers(0, 60, (height, width, 3), dtype=np.uint8))
        image_id = 9 + 7 * i
        count = 0 if i == num_images - 1 else 1 if i == 0 else rng.integers(1, 4)
        for _ in range(count):
            index = int(rng.integers(num_classes))
            box_w, box_h = (int(side) for side in rng.integers(16, 33, 2))
            x, y = int(rng.integers(width - box_w)), int(rng.integers(height - box_h))
            rgb = tuple(int(255 * v) for v in colorsys.hsv_to_rgb(index / num_classes, 1, 1))
            draw = ImageDraw.Draw(picture)
            (draw.ellipse if index % 2 else draw.rectangle)((x, y, x + box_w - 1, y + box_h - 1), fill=rgb)
            annotations.append(
                dict(
                    id=100 + 3 * len(annotations),
                    image_id=image_id,
                    category_id=COCO_CATEGORIES[index]['id'],
                    bbox=[x, y, box_w, box_h],
                    area=box_w * box_h,
                    iscrowd=int(i == 0),
                )
            )
        file_name = f'{image_id:012d}.{"png" if i % 4 == 3 else "jpg"}'
        picture.save(root / split / file_name)
        images.append(dict(id=image_id, file_name=file_name, width=width, height=height))
    content = dict(images=images, annotations=annotations, categories=COCO_CATEGORIES)
    (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))
    return root


@pytest.fixture(scope='session')
def repo_root():
    """Root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """Path of the config of ``tiny_run.py``, with its pictures, for a file of tests."""
    return write_tiny_run(tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='session')
def digits_csra(repo_root):
    """Config of a small CSRA, its network with random weights, and the checkpoint of these; all read only."""
    from mmpretrain.apis import get_model

    config = repo_root / 'configs' / 'csra_resnet-mini_multidigits.py'
    torch.manual_seed(0)
    model = get_model(Config.fromfile(config), device='cpu').eval()
    meta = dict(dataset_meta=dict(classes=tuple('0123456789')))
    return config, model, dict(state_dict=model.state_dict(), meta=meta)


@pytest.fixture(scope='session')
def make_coco():
    """The function :func:`write_coco`, for tests that need a data set of their own."""
    return write_coco


@pytest.fixture(scope='session')
def coco_root(tmp_path_factory):
    """Folder with ``train2017/`` and ``annotations/instances_train2017.json``; read only.

    Real pictures where ``MMLATTN_COCO128`` names them, else drawn ones.
    """
    if 'MMLATTN_COCO128' in os.environ:
        return Path(os.environ['MMLATTN_COCO128'])
    return write_coco(tmp_path_factory.mktemp('data') / 'coco')
