"""Drawn pictures of three classes with boxes, three splits, and a small network, to compare heads on in seconds."""

from pathlib import Path

import numpy as np
import torch
from mmpretrain.models import ResNet
from PIL import Image

from mmlattn.utils.json_files import to_json

LENGTHS = dict(train=24, val=12, test=16)
CLASSES = ('red', 'green', 'blue')

DATA = """
pack = dict(type='PackInputs', algorithm_keys=('gt_boxes', 'gt_box_labels'))
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)), pack]
data = dict(type='mmlattn.COCOMultiLabel', data_root={root!r}, data_prefix='', pipeline=pipeline)
train_dataloader = dict(batch_size=8, num_workers=0, dataset=dict(data, ann_file='train.json'))
val_dataloader = dict(batch_size=8, num_workers=0, dataset=dict(data, ann_file='val.json', test_mode=True))
test_dataloader = dict(batch_size=8, num_workers=0, dataset=dict(data, ann_file='test.json', test_mode=True))
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)
"""
MODEL = """
model = dict(type='ImageClassifier', backbone={backbone!r})
"""


def write_pictures(folder: Path, seed: int = 0) -> None:
    """A COCO json for each split, and its pictures: a square of each class that is there, on noise."""
    rng = np.random.default_rng(seed)
    for split, length in LENGTHS.items():
        images, annotations = [], []
        for number in range(length):
            pixels = rng.integers(0, 60, (64, 64, 3)).astype(np.uint8)
            for label in range(3):
                if rng.random() < 0.5 or label == number % 3:
                    x, y = (int(v) for v in rng.integers(0, 40, 2))
                    pixels[y : y + 24, x : x + 24, label] = 250
                    annotations.append(
                        dict(
                            id=len(annotations),
                            image_id=number,
                            category_id=label,
                            bbox=[x, y, 24, 24],
                            iscrowd=0,
                        )
                    )
            name = f'{split}_{number}.png'
            Image.fromarray(pixels).save(folder / name)
            images.append(dict(id=number, file_name=name, width=64, height=64))
        categories = [dict(id=label, name=name) for label, name in enumerate(CLASSES)]
        content = dict(images=images, annotations=annotations, categories=categories)
        (folder / f'{split}.json').write_text(to_json(content))


def write_config(folder: Path) -> Path:
    """The pictures, a checkpoint of a small ResNet, and a config of both."""
    write_pictures(folder)
    settings = dict(depth=18, stem_channels=4, base_channels=4)
    torch.manual_seed(0)
    weights = ResNet(**settings)
    weights.init_weights()
    state = {f'backbone.{name}': value for name, value in weights.state_dict().items()}
    torch.save(dict(state_dict=state), folder / 'weights.pth')
    init = dict(type='Pretrained', checkpoint=str(folder / 'weights.pth'), prefix='backbone')
    config = folder / 'pictures.py'
    text = DATA.replace('{root!r}', repr(str(folder)))
    config.write_text(
        text + MODEL.replace('{backbone!r}', repr(dict(type='ResNet', **settings, init_cfg=init)))
    )
    return config
