"""show_errors.py: its page says what the models say, of every system, from weights and from a file of predictions."""

import base64
import io
import re

import mmengine
import numpy as np
import pytest
import torch
from mmengine.config import Config
from page_reader import Page
from PIL import Image
from tiny_run import run_tool

from mmlattn.apis import MultiLabelInferencer, load_model
from mmlattn.apis.tested import FileTest, ModelTest, short_names
from mmlattn.structures import label_matrix
from mmlattn.structures.decisions import Decision, with_decision
from mmlattn.utils.errors import UserError
from mmlattn.utils.predictions import load_predictions
from mmlattn.visualization import EvidenceVisualizer
from mmlattn.visualization.pages.errors import errors_page
from mmlattn.visualization.pages.findings import find
from mmlattn.visualization.pages.sheets import page_pictures

TOOL = 'analysis_tools/show_errors.py'
CLASSES = (
    'person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat', 'traffic light',
)  # fmt: skip
SETS = """
_base_ = {base!r}
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)),
    dict(type='PackInputs', algorithm_keys=('gt_boxes', 'gt_box_labels'))]
test_dataloader = dict(batch_size=7, dataset=dict(
    _delete_=True, type='mmlattn.COCOMultiLabel', data_root={root!r}, data_prefix='train2017',
    ann_file='annotations/instances_train2017.json', metainfo=dict(classes={classes!r}), pipeline=test_pipeline))
test_evaluator = dict(_delete_=True, type='mmlattn.MultiLabelReport')
"""
SINGLE = """
_base_ = {base!r}
test_pipeline = {pipeline}
test_dataloader = dict(batch_size=7, dataset=dict(
    _delete_=True, type='CustomDataset', data_root={root!r}, pipeline=test_pipeline))
"""
RESIZED = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)), dict(type='PackInputs')]
PADDED = [
    dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='Resize', scale=(28, 28)),
    dict(type='RandomCrop', crop_size=32, padding=2), dict(type='PackInputs'),
]  # fmt: skip
#: Base config, whether pictures have one label, test pipeline, evidence.
SYSTEMS = dict(
    csra=('csra_resnet-mini_multidigits', None, 'attention_maps'),
    st_lstm=('st-lstm_resnet-mini_multidigits', None, 'regions'),
    cnn_rnn=('cnn-rnn_resnet-mini_digit-sets', None, 'label_path'),
    linear=('linear_resnet-mini_multidigits', None, ''),
    racnn=('racnn_resnet-mini_cluttered-digits', RESIZED, 'regions'),
    ran=('ran_attention-mini_fashion-mnist', PADDED, 'trunk_masks'),
)

RULES = dict(
    csra="the head's own rule: CSRAHead, a score of at least 0.5",
    st_lstm="the head's own rule: STLSTMHead, a score of at least 0.5",
    cnn_rnn="the head's own rule: CNNRNNHead",
    linear="the head's own rule: MultiLabelLinearClsHead, a score of at least 0.5",
    racnn='the best class: LinearClsHead',
    ran='the best class: LinearClsHead',
)


@pytest.fixture(scope='module')
def world(repo_root, make_coco, tmp_path_factory):
    """Makes a config and a checkpoint of random weights for a system, on drawn pictures; both are made once."""
    folder = tmp_path_factory.mktemp('errors')
    coco, rng = make_coco(folder / 'coco', num_images=16, num_classes=10), np.random.default_rng(0)
    for number in range(20):
        file = folder / 'single' / f'class{number % 10}' / f'{number}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        colours = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)  # of their own, or all look alike
        Image.fromarray(colours.repeat(20, axis=0).repeat(20, axis=1)).save(file)

    def make(system):
        base, pipeline, _ = SYSTEMS[system]
        config, checkpoint = folder / f'{system}.py', folder / f'{system}.pth'
        if not config.exists():
            text, root = (SETS, coco) if pipeline is None else (SINGLE, folder / 'single')
            base = str(repo_root / 'configs' / f'{base}.py')
            config.write_text(text.format(base=base, root=str(root), classes=CLASSES, pipeline=pipeline))
            model = load_model(Config.fromfile(config), False, seed=3)
            torch.save(dict(state_dict=model.state_dict()), checkpoint)
        return Config.fromfile(config), checkpoint

    make.folder, make.tested = folder, {}
    return make


def counts_of(tested):
    """Rows TP, FP, FN, TN, unknown of all classes."""
    p, t = tested.predicted, tested.targets
    masks = (p & (t == 1), p & (t == 0), ~p & (t == 1), ~p & (t == 0), t < 0)
    return np.stack([mask.sum(axis=0) for mask in masks], axis=1).tolist()


def picture_at(address):
    content = base64.b64decode(address.partition(',')[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert('RGB'), float)


def class_rows(page):
    (table,) = [rows for rows in page.tables if rows[0][:2] == ['class', 'TP']]
    return [row[0] for row in table[1:]], [[int(text) for text in row[1:6]] for row in table[1:]]


@pytest.mark.parametrize('system', SYSTEMS)
def test_every_system_has_a_page_of_what_it_says(world, system):
    cfg, checkpoint = world(system)
    _, pipeline, evidence = SYSTEMS[system]
    test = ModelTest(cfg, str(checkpoint))
    tested = test.run()
    paths = [test.dataset.get_data_info(i)['img_path'] for i in range(len(test.dataset))]
    results = MultiLabelInferencer(cfg, str(checkpoint), device='cpu')(paths, batch_size=7)
    for row, result in enumerate(results):
        assert np.allclose(tested.scores[row], result['pred_scores'], atol=1e-5)
        assert np.flatnonzero(tested.predicted[row]).tolist() == sorted(result['pred_labels'])
    assert tested.exclusive == (pipeline is not None)
    assert test.rule == RULES[system]
    infos = [test.dataset.get_data_info(i) for i in range(len(test.dataset))]
    assert np.array_equal(tested.targets, label_matrix(infos, 10).numpy())

    found = find(tested)
    seen = {}

    def look(number, evidence):
        seen[number] = test.look(number, evidence)
        return seen[number]

    store = page_pictures(look, tested.classes, found, 4, EvidenceVisualizer('errors', max_classes=2))
    drawn = set(found.looked_at) & set(seen)
    assert len(drawn) == 4 and {key for key in store if key[0] == 's'} == {f's{n}' for n in drawn}
    for number in drawn:
        picture, sample = seen[number]
        assert evidence in sample if evidence else test.no_evidence != ''
        assert np.flatnonzero(tested.predicted[number]).tolist() == sorted(sample.pred_label.tolist())
        # The original where the network saw all of it, else what it saw.
        original = np.asarray(Image.open(paths[number]).convert('RGB'))
        assert picture.shape == ((32, 32, 3) if pipeline is PADDED else original.shape)
    page = Page(errors_page(tested, found, store, title='x', facts=[('by', test.rule)], version='0'))
    assert class_rows(page) == (list(tested.classes), counts_of(tested))


def run(folder, *args):
    done = run_tool(TOOL, *args, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tool_takes_the_stored_decision_and_a_file_says_the_same(world):
    cfg, checkpoint = world('csra')
    tested = ModelTest(cfg, str(checkpoint)).run()
    thresholds = np.median(tested.scores, axis=0).astype(float).tolist()
    decision = Decision(CLASSES, thresholds, [1.0] * 10, [0.0] * 10, 'recall 0.5', 'val', 16)
    content = torch.load(checkpoint, weights_only=True)
    torch.save(with_decision(content, decision), world.folder / 'tuned.pth')
    said = run(world.folder, 'csra.py', 'tuned.pth', '--out', 'new/tuned.html', '--pictures', 4)
    page = Page((world.folder / 'new' / 'tuned.html').read_text())
    assert decision.summary() in said
    assert f'the decision stored in the checkpoint: {decision.summary()}' in page.texts
    predicted = tested.scores >= np.float32(thresholds)
    names, rows = class_rows(page)
    assert names == list(CLASSES)
    assert [row[0] for row in rows] == (predicted & (tested.targets == 1)).sum(axis=0).tolist()
    assert [row[1] for row in rows] == (predicted & (tested.targets == 0)).sum(axis=0).tolist()
    assert len([a for a in page.of('symbol') if a['id'][0] == 'p']) == 4
    assert not re.search(r'(src|href)="(?!data:image|#)', (world.folder / 'new' / 'tuned.html').read_text())

    done = run_tool('test.py', 'csra.py', 'tuned.pth', '--out', 'pred.pkl', cwd=world.folder)
    assert done.returncode == 0, done.stderr
    run(world.folder, 'csra.py', '--predictions', 'pred.pkl', '--out', 'file.html', '--pictures', 4)
    again = Page((world.folder / 'file.html').read_text())
    # A file does not tell the thresholds, which stand in the last column.
    assert page.tables[0][0][-1] == 'threshold' and again.tables[0][0][-1] == 'AP'
    assert [row[-1] for row in page.tables[0][1:]] == [f'{value:g}' for value in thresholds]
    assert again.tables == [[row[:-1] for row in page.tables[0]], *page.tables[1:]]
    assert f'pred.pkl: {decision.summary()}' in again.texts
    # The file holds the evidence: both draw the same, but for what a batch of another size rounds.
    drawn, of_file = ([picture_at(a['href']) for a in p.of('image')] for p in (page, again))
    assert len(drawn) == len(of_file) == 8
    for one, other in zip(drawn, of_file, strict=True):
        assert one.shape == other.shape and abs(one - other).mean() < 1


def test_a_threshold_given_counts(world):
    cfg, checkpoint = world('csra')
    test = ModelTest(cfg, str(checkpoint), threshold=0.45)
    tested = test.run()
    assert np.array_equal(tested.predicted, tested.scores >= np.float32(0.45))
    assert test.rule == 'a score of at least 0.45, given for all classes'
    assert list(test.thresholds) == [0.45] * 10


def samples_of(world, changes=(), system='csra'):
    """Predictions as in a file, without evidence, with fields changed."""
    cfg, checkpoint = world(system)
    if system not in world.tested:
        test = ModelTest(cfg, str(checkpoint))
        world.tested[system] = test, test.run()
    (test, tested), samples = world.tested[system], []
    for row in range(len(tested.names)):
        sample = dict(
            img_path=test.dataset.get_data_info(row)['img_path'],
            pred_score=torch.from_numpy(tested.scores[row]),
            pred_label=torch.from_numpy(np.flatnonzero(tested.predicted[row])),
            gt_label=torch.from_numpy(np.flatnonzero(tested.targets[row] == 1)),
        )
        samples.append({k: v for k, v in (sample | dict(changes)).items() if v is not None})
    return cfg, samples


def test_a_file_without_evidence_says_so(world, tmp_path):
    cfg, samples = samples_of(world)
    mmengine.dump(samples, tmp_path / 'plain.pkl')
    test = FileTest(cfg, 'plain.pkl', load_predictions(str(tmp_path / 'plain.pkl')), threshold=0.4)
    tested = test.run()
    assert np.array_equal(tested.predicted, tested.scores >= np.float32(0.4))
    picture, sample = test.look(3, evidence=True)
    assert (
        picture.shape[2] == 3 and sample.pred_label.tolist() == np.flatnonzero(tested.predicted[3]).tolist()
    )
    assert test.no_evidence.startswith('plain.pkl holds no evidence')


def test_evidence_of_cropped_pictures_is_not_drawn_on_whole_ones(world):
    maps = torch.full((10, 4, 4), 1 / 16)
    shapes = dict(ori_shape=(100, 50), img_shape=(40, 40), scale_factor=(0.8, 0.8), attention_maps=maps)
    cfg, samples = samples_of(world, shapes)
    test = FileTest(cfg, 'cropped.pkl', samples)
    _, sample = test.look(0, evidence=True)
    assert 'attention_maps' not in sample and 'crops, pads or resizes twice' in test.no_evidence
    cfg, samples = samples_of(world, dict(shapes, img_shape=(80, 40)))
    test = FileTest(cfg, 'whole.pkl', samples)
    assert 'attention_maps' in test.look(0, evidence=True)[1] and test.no_evidence == ''


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        (dict(img_path=None), 'without img_path'),
        (dict(pred_score=[0.1] * 10), 'pred_score of .* is no tensor'),
        (
            dict(pred_score=torch.zeros(4)),
            'f.pkl scores 4 classes and the test data set of the config has 10',
        ),
        (dict(pred_score=torch.full((10,), 2.0)), r'scores must lie in \[0, 1\]'),
        (dict(pred_score=torch.full((10,), torch.nan)), 'NaN'),
        (dict(pred_label=None), 'has no pred_label'),
        (dict(gt_label=None), 'neither gt_label nor gt_score'),
        (dict(gt_score=torch.full((10,), 0.3)), 'takes sets of labels'),
    ],
)
def test_files_that_hold_something_else(world, changes, says):
    cfg, samples = samples_of(world, changes)
    with pytest.raises(UserError, match=says):
        FileTest(cfg, 'f.pkl', samples).run()


def test_one_label_each_takes_no_threshold(world):
    cfg, checkpoint = world('racnn')
    with pytest.raises(UserError, match='gives each picture its best class: leave --threshold out'):
        ModelTest(cfg, str(checkpoint), threshold=0.5)
    cfg, samples = samples_of(world, system='racnn')
    with pytest.raises(UserError, match=r'one label for each picture.*: leave --threshold out'):
        FileTest(cfg, 'f.pkl', samples, threshold=0.5).run()


def test_refusals_take_one_line(world):
    world('csra')
    (world.folder / 'there.html').write_text('mine')
    for args, says in [
        (('csra.py', 'csra.pth', '--out', 'there.html'), 'exists already'),
        (('csra.py', 'csra.pth', '--out', 'page.pdf'), 'must end in .html'),
        (('csra.py', '--out', 'a.html'), 'give a checkpoint, or --predictions'),
        (('csra.py', 'csra.pth', '--predictions', 'p.pkl', '--out', 'a.html'), 'and not both'),
        (('csra.py', '--predictions', 'p.pkl', '--split', 'val', '--out', 'a.html'), 'made before'),
        (('csra.py', 'csra.pth', '--out', 'a.html', '--threshold', 2), r'must lie in [0, 1]'),
        (('csra.py', 'csra.pth', '--out', 'a.html', '--pictures', -1), 'at least 0'),
        (
            ('csra.py', 'csra.pth', '--out', 'a.html', '--cfg-options', 'test_dataloader=None'),
            'no test_dataloader',
        ),
        (('csra.py', 'csra.pth', '--out', 'csra.py/a.html'), 'csra.py is a file'),
    ]:
        done = run_tool(TOOL, *args, cwd=world.folder)
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode in (1, 2) and says in last and 'Traceback' not in done.stderr, done.stderr
    assert (world.folder / 'there.html').read_text() == 'mine' and not (world.folder / 'a.html').exists()


def test_names_of_pictures_are_short():
    assert short_names(['/a/b/c.jpg', '/a/d.jpg']) == ['b/c.jpg', 'd.jpg']
    assert short_names(['x/a.jpg', 'x/b.jpg']) == ['a.jpg', 'b.jpg']
    assert short_names(['x/a.jpg', '/b.jpg']) == ['x/a.jpg', '/b.jpg']
    assert short_names(['a.jpg', 'picture 1']) == ['a.jpg', 'picture 1']
