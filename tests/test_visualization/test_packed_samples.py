"""Samples as the test pipelines of the base configs pack them: what the metric ignores is drawn as ignored."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import DATASETS
from PIL import Image

from mmlattn.structures import label_matrix
from mmlattn.visualization import EvidenceVisualizer
from mmlattn.visualization.wording import Wording

VOC_OBJECTS = [('dog', 0), ('dog', 1), ('cat', 1), ('person', 0)]


@pytest.fixture(scope='module')
def voc_root(tmp_path_factory):
    """A dog that is difficult once only, a cat always, and a person; in another picture just a difficult sofa."""
    root = tmp_path_factory.mktemp('voc') / 'VOC2007'
    for name in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / name).mkdir(parents=True)
    box = '<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>'
    for name, objects in (('1', VOC_OBJECTS), ('2', [('sofa', 1)])):
        Image.new('RGB', (40, 30)).save(root / 'JPEGImages' / f'{name}.jpg')
        entries = [f'<object><name>{n}</name><difficult>{d}</difficult>{box}</object>' for n, d in objects]
        size = '<size><width>40</width><height>30</height><depth>3</depth></size>'
        text = f'<annotation><filename>{name}.jpg</filename>{size}{"".join(entries)}</annotation>'
        (root / 'Annotations' / f'{name}.xml').write_text(text)
    (root / 'ImageSets/Main/test.txt').write_text('1\n2\n')
    return dict(data_root=str(root))


@pytest.fixture(scope='module')
def coco(make_coco, tmp_path_factory):
    """Drawn pictures, one of which has a crowd and nothing else."""
    files = dict(ann_file='annotations/instances_train2017.json', data_prefix='train2017')
    root = make_coco(tmp_path_factory.mktemp('coco'))
    return dict(data_root=str(root), filter_empty=False, crowd='ignore', **files)


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    """A list of pictures that says of some classes that they are not to be asked for."""
    root = tmp_path_factory.mktemp('plain')
    Image.new('RGB', (30, 40)).save(root / 'a.png')
    item = dict(img_path='a.png', gt_label=[1], gt_label_ignore=[0], gt_label_difficult=[1, 3])
    content = dict(metainfo=dict(classes=list('abcde')), data_list=[item])
    (root / 'list.json').write_text(json.dumps(content))
    return dict(type='mmlattn.PlainMultiLabel', data_root=str(root), ann_file='list.json')


CASES = [
    ('coco14_448.py', 'coco'), ('coco14_224.py', 'coco'), ('coco17_448.py', 'coco'), ('voc07_448.py', 'voc_root'),
    ('voc07_512.py', 'voc_root'), ('voc07_448.py', 'plain'),
]  # fmt: skip


def packed(repo_root, config, options):
    """All samples as they reach a model: through the test pipeline, the collation and the data preprocessor."""
    cfg = Config.fromfile(repo_root / 'configs/_base_/datasets' / config)
    wanted = cfg.test_dataloader.dataset.to_dict()
    if 'type' in options:
        wanted = dict(pipeline=wanted['pipeline'])
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(wanted | options)
    classes = dataset.metainfo['classes']
    preprocessor = ClsDataPreprocessor(**(cfg.data_preprocessor | dict(num_classes=len(classes))))
    batch = pseudo_collate([dataset[index] for index in range(len(dataset))])
    return preprocessor(batch, False)['data_samples'], classes


@pytest.mark.parametrize(('config', 'data'), CASES)
def test_outcomes_are_those_that_the_metric_counts(repo_root, request, config, data):
    """With every class predicted, and with none, on every picture."""
    samples, classes = packed(repo_root, config, request.getfixturevalue(data))
    targets = label_matrix(samples, len(classes))
    assert (targets == -1).any() and (targets == 1).any()
    counted = {1: 'correct', 0: 'wrong', -1: 'ignored'}
    for sample, row in zip(samples, targets.tolist(), strict=True):
        sample.set_pred_score(torch.linspace(0.9, 0.1, len(classes))).set_pred_label(
            list(range(len(classes)))
        )
        assert Wording(sample).outcomes == {c: counted[int(value)] for c, value in enumerate(row)}
        sample.set_pred_label([])
        assert Wording(sample).outcomes == {c: 'missed' for c, value in enumerate(row) if value == 1}


@pytest.mark.parametrize(('config', 'data'), [CASES[0], CASES[3], CASES[5]])
def test_they_are_drawn(repo_root, request, config, data):
    samples, classes = packed(repo_root, config, request.getfixturevalue(data))
    for sample in samples[:2]:
        sample.set_pred_score(torch.linspace(0.9, 0.1, len(classes))).set_pred_label([0, 1, 2])
    drawer = EvidenceVisualizer(f'packed{data}', cell_size=100)
    drawer.draw_sheet([np.zeros((30, 40, 3), np.uint8)] * len(samples[:2]), samples[:2], classes)
    said = {text.get_text() for text in drawer.ax_save.texts}
    assert data == 'voc_root' or 'ignored in the truth' in said
