"""export_regions.py: boxes against a model run by hand, the file as COCO's readers take it, and refusals."""

import json
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from scipy import ndimage
from tiny_run import run_tool

from mmlattn.apis import load_model
from mmlattn.apis.pictures import file_items
from mmlattn.datasets import COCOMultiLabel
from mmlattn.utils.errors import UserError

TOOL = 'analysis_tools/export_regions.py'
CLASSES = ('car', 'person', 'bicycle')  # 3, 1 and 2 in the json
CONFIG = """
_base_ = {base!r}
model = dict(head=dict(num_classes=3, normalize=False, with_evidence=False))
data_preprocessor = dict(num_classes=3)
data = dict(
    _delete_=True, type='mmlattn.COCOMultiLabel', data_root={root!r}, data_prefix='train2017',
    ann_file='annotations/instances_train2017.json', metainfo=dict(classes={classes!r}))
train_dataloader = dict(dataset=dict(**data, pipeline=[
    dict(type='LoadImageFromFile'), dict(type='RandomResizedCrop', scale=64), dict(type='PackInputs')]))
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)), dict(type='PackInputs')]
test_dataloader = dict(batch_size=5, num_workers=0, dataset=dict(**data, pipeline=test_pipeline))
del data
"""


@pytest.fixture(scope='module')
def run(repo_root, make_coco, tmp_path_factory):
    """A config on drawn pictures, and a checkpoint whose attention is sharp enough for boxes to differ."""
    folder = tmp_path_factory.mktemp('export')
    coco = make_coco(folder / 'coco', num_images=12)
    base = str(repo_root / 'configs' / 'csra_resnet-mini_multidigits.py')
    config = folder / 'small.py'
    config.write_text(CONFIG.format(base=base, root=str(coco), classes=CLASSES))
    cfg = Config.fromfile(config)
    model = load_model(cfg, False, seed=1)
    with torch.no_grad():
        model.head.weight.normal_(std=3, generator=torch.Generator().manual_seed(0))
    torch.save(dict(state_dict=model.state_dict()), folder / 'random.pth')
    return SimpleNamespace(folder=folder, coco=coco, config=config, cfg=cfg, checkpoint=folder / 'random.pth')


@pytest.fixture(scope='module')
def tool(repo_root):
    """The tool's functions."""
    return SimpleNamespace(**runpy.run_path(str(repo_root / 'tools' / TOOL)))


def export(run, out, *args):
    done = run_tool(TOOL, run.config, run.checkpoint, '--out', out, *args, cwd=run.folder)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.fixture(scope='module')
def of_truth(run):
    """Boxes of true labels, and the file they are in; the train pipeline, which crops, must not be used."""
    out = run.folder / 'new folder' / 'truth.json'
    return export(run, out, '--labels', 'gt', '--split', 'train'), out


def predict_by_hand(run):
    """The entry of each picture in the json, and what the model says of it alone."""
    model = load_model(run.cfg, str(run.checkpoint))
    for image in json.loads((run.coco / 'annotations/instances_train2017.json').read_text())['images']:
        [item] = file_items(run.cfg, [run.coco / 'train2017' / image['file_name']])
        batch = dict(inputs=[item['inputs']], data_samples=[item['data_samples']])
        with torch.no_grad():
            data = model.data_preprocessor(batch, False)
            [sample] = model.predict(**data, with_evidence=True)
        yield image, sample


@pytest.fixture(scope='module')
def by_hand(run):
    """Scores and boxes in pixels, by file name and class."""
    found = {}
    for image, sample in predict_by_hand(run):
        for name, score, drawn in zip(CLASSES, sample.pred_score, sample.attention_maps.numpy(), strict=True):
            parts, count = ndimage.label(drawn >= 0.2 * drawn.max(), np.ones((3, 3)))
            best = max(range(1, count + 1), key=lambda i: ((parts == i).sum(), drawn[parts == i].sum()))
            rows, columns = ndimage.find_objects(parts)[best - 1]
            cell_w, cell_h = image['width'] / drawn.shape[1], image['height'] / drawn.shape[0]
            box = [columns.start * cell_w, rows.start * cell_h]
            box += [(columns.stop - columns.start) * cell_w, (rows.stop - rows.start) * cell_h]
            found[image['file_name'], name] = score.item(), box
    return found


def check(content, expected):
    """That the annotations are exactly those expected, in COCO's format."""
    files = {image['id']: image['file_name'] for image in content['images']}
    names = {category['id']: category['name'] for category in content['categories']}
    assert names == {3: 'car', 1: 'person', 2: 'bicycle'}
    assert [a['id'] for a in content['annotations']] == list(range(1, len(expected) + 1))
    seen = {(files[a['image_id']], names[a['category_id']]): a for a in content['annotations']}
    assert seen.keys() == expected.keys() and len(content['annotations']) == len(expected) > 3
    for key, (score, box) in expected.items():
        np.testing.assert_allclose(seen[key]['bbox'], box, atol=0.0051)
        assert seen[key]['score'] == pytest.approx(score, abs=1e-5)
        assert seen[key]['area'] == pytest.approx(box[2] * box[3], rel=1e-2) and seen[key]['iscrowd'] == 0


def truth(run):
    return COCOMultiLabel(
        'annotations/instances_train2017.json',
        data_root=str(run.coco),
        data_prefix='train2017',
        classes=CLASSES,
    )


def test_true_labels_are_boxed_as_by_hand(run, of_truth, by_hand):
    content, _ = of_truth
    labels = {item['img_path'].rpartition('/')[2]: item['gt_label'] for item in truth(run)}
    assert len({tuple(box) for _, box in by_hand.values()}) > len(by_hand) / 3  # else anything would pass
    check(content, {key: v for key, v in by_hand.items() if CLASSES.index(key[1]) in labels[key[0]]})


def test_predicted_labels_are_boxed_as_by_hand(run, by_hand):
    scores = sorted(score for score, _ in by_hand.values())
    middle = (scores[len(scores) // 2 - 1] + scores[len(scores) // 2]) / 2
    content = export(run, run.folder / 'predicted.json', '--threshold', middle)
    check(content, {key: value for key, value in by_hand.items() if value[0] >= middle})


REGIONS = """
_base_ = {base!r}
model = dict(
    neck=dict(
        _delete_=True, type='mmlattn.STLSTM', in_channels=64, num_steps=3, region_size=4, embed_dims=8, hidden_dims=8,
        out_dims=8),
    head=dict(_delete_=True, type='mmlattn.STLSTMHead', num_classes=3, in_channels=8))
"""


def test_regions_are_boxes_as_by_hand(run, tmp_path):
    config = tmp_path / 'regions.py'
    config.write_text(REGIONS.format(base=str(run.config)))
    cfg = Config.fromfile(config)
    model = load_model(cfg, False, seed=0)
    with torch.no_grad():
        model.neck.loc.weight.normal_(
            std=3, generator=torch.Generator().manual_seed(0)
        )  # regions that differ
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'random.pth')
    regional = SimpleNamespace(
        folder=tmp_path, coco=run.coco, config=config, cfg=cfg, checkpoint=tmp_path / 'random.pth'
    )
    found, steps = {}, set()
    for image, sample in predict_by_hand(regional):
        for c, name in enumerate(CLASSES):
            step = max(range(3), key=lambda k: sample.region_scores[k, c].item())
            left, top, right, bottom = sample.regions[step].tolist()
            steps.add(step)
            if right > left and bottom > top:
                box = [left * image['width'], top * image['height']]
                box += [(right - left) * image['width'], (bottom - top) * image['height']]
                found[image['file_name'], name] = sample.pred_score[c].item(), box
    assert len(steps) > 1
    check(export(regional, tmp_path / 'regions.json', '--threshold', 0), found)


def test_file_is_read_back(run, of_truth):
    content, out = of_truth
    given = truth(run)
    read = COCOMultiLabel(str(out), data_root=str(run.coco), data_prefix='train2017', classes=CLASSES)
    for item, original in zip(read, given, strict=True):
        for key in ('img_path', 'img_id', 'width', 'height', 'gt_label'):
            assert item[key] == original[key]
        boxes = [a['bbox'] for a in content['annotations'] if a['image_id'] == item['img_id']]
        pixels = item['gt_boxes'] * np.tile([item['width'], item['height']], 2)
        np.testing.assert_allclose(
            pixels[:, 2:] - pixels[:, :2], np.reshape(boxes, (-1, 4))[:, 2:], atol=0.02
        )


def test_pycocotools_reads_the_file(of_truth):
    coco = pytest.importorskip('pycocotools.coco')
    content, out = of_truth
    read = coco.COCO(str(out))
    assert read.getCatIds(catNms=['car']) == [3]
    assert len(read.getAnnIds()) == len(content['annotations'])
    some = content['annotations'][0]
    assert some in read.loadAnns(read.getAnnIds(imgIds=[some['image_id']], catIds=[some['category_id']]))


CROP = (
    "dict(type='LoadImageFromFile'), dict(type='ResizeEdge', scale=80), dict(type='CenterCrop', crop_size=64)"
)
REFUSALS = {
    'file': ([], 2, r'predicted.json exists already'),
    'evidence': (['--evidence', 'regions'], 1, 'no regions but attention_maps'),
    'crop': ([], 1, 'crops, pads or resizes twice'),
    'sizes': ([], 1, '--batch-size 1'),
    'classes': ([], 1, 'scores 3 classes but the data set has 80'),
}


@pytest.mark.parametrize('name', REFUSALS)
def test_refusals_leave_no_file(run, tmp_path, name):
    args, code, words = REFUSALS[name]
    out = tmp_path / 'predicted.json'
    changes = dict(
        crop=f'test_pipeline = [{CROP}, dict(type="PackInputs")]\n',
        sizes="test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]\n",
    ).get(name, '')
    config = tmp_path / 'changed.py'
    config.write_text(f'_base_ = {str(run.config)!r}\n{changes}')
    if changes:
        config.write_text(
            config.read_text() + 'test_dataloader = dict(dataset=dict(pipeline=test_pipeline))\n'
        )
    if name == 'file':
        out.write_text('mine')
    if name == 'classes':
        args = ['--cfg-options', 'test_dataloader.dataset.metainfo=None']
    done = run_tool(TOOL, config, run.checkpoint, '--out', out, *args, cwd=tmp_path)
    assert done.returncode == code and words in done.stderr and 'Traceback' not in done.stderr
    assert out.read_text() == 'mine' if name == 'file' else not out.exists()


def test_data_sets_that_cannot_be_exported(run, tool):
    cfg = run.cfg.copy()
    cfg.val_dataloader = dict(
        dataset=dict(type='RepeatDataset', times=2, dataset=cfg.test_dataloader.dataset)
    )
    with pytest.raises(UserError, match='is a RepeatDataset, which has no pipeline of its own'):
        tool.build_dataset(cfg, 'val')
    cfg.val_dataloader = None
    with pytest.raises(UserError, match='the config has no val_dataloader'):
        tool.build_dataset(cfg, 'val')
    cfg.train_dataloader.dataset = dict(type='mmlattn.SeededDataset', dataset=cfg.train_dataloader.dataset)
    assert isinstance(tool.build_dataset(cfg, 'train'), COCOMultiLabel)  # what a run of train.py dumps
