"""Predictions of several runs become one, matched by picture; a hostile file runs nothing."""

import json
import pickle
import re

import mmengine
import numpy as np
import pytest
import torch
from mmengine.evaluator import DumpResults
from mmpretrain.apis import get_model
from mmpretrain.structures import DataSample
from sklearn.metrics import average_precision_score
from tiny_run import MarkWhenOpened, run_tool, write_tiny_run

FUSE = 'analysis_tools/fuse_scores.py'
PICTURES, CLASSES = 40, 5
CONFIG = """
default_scope = 'mmpretrain'
model = dict(type='mmlattn.MultiCropClassifier', head=dict({head}, num_classes=5, in_channels=3))
test_evaluator = {evaluator}
"""
REPORT = dict(type='mmlattn.MultiLabelReport', out_file='report.csv')
TOPK = "type='MultiLabelLinearClsHead', topk=2"


def write_config(folder, head=TOPK, evaluator=REPORT):
    path = folder / 'config.py'
    path.write_text(CONFIG.format(head=head, evaluator=repr(evaluator)))
    return path


def predictions(seed, **fields):
    """Samples as a test run has them, in an order of their own, and their scores in order of the pictures."""
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.random((PICTURES, CLASSES), dtype=np.float32))
    samples = []
    for i in rng.permutation(PICTURES):
        meta = dict(
            img_path=f'{i}.jpg', img_shape=(20, 20), ori_shape=(10, 10), scale_factor=(np.float64(2), 2.0)
        )
        sample = DataSample(metainfo=meta).set_gt_label([i % 5, (i + 1) % 5] if i % 2 else [(i + 2) % 5])
        sample.set_pred_score(scores[i]).set_pred_label(scores[i].topk(2).indices)
        sample.set_field(np.array([[0, 0, 1, 1]]), 'gt_boxes')
        for name, value in fields.items():
            sample.set_field(value, name)
        samples.append(sample.to_dict())
    return samples, scores.numpy()


def dump(path, samples):
    metric = DumpResults(out_file_path=str(path))
    metric.process(None, samples)
    metric.evaluate(len(samples))
    return path


def run(folder, *args):
    return run_tool(FUSE, *args, cwd=folder)


@pytest.fixture
def two(tmp_path):
    """Two files and their scores."""
    (a, scores_a), (b, scores_b) = predictions(0), predictions(1)
    return dump(tmp_path / 'a.pkl', a), dump(tmp_path / 'b.pkl', b), scores_a, scores_b


@pytest.mark.parametrize(
    ('options', 'how'),
    [
        ([], lambda a, b: (a + b) / 2),
        (['--weights', '1', '3'], lambda a, b: 0.25 * a + 0.75 * b),
        (['--fuse', 'max'], np.maximum),
    ],
)
def test_scores_labels_and_metrics_of_the_fusion(two, tmp_path, options, how):
    a, b, scores_a, scores_b = two
    done = run(tmp_path, write_config(tmp_path), a, b, *options, '--out', 'fused.pkl')
    assert done.returncode == 0, done.stderr
    samples = mmengine.load(tmp_path / 'fused.pkl')
    expected = how(scores_a, scores_b)
    target = np.zeros((PICTURES, CLASSES))
    for sample in samples:
        i = int(sample['img_path'].removesuffix('.jpg'))
        np.testing.assert_allclose(sample['pred_score'], expected[i], rtol=1e-6)
        assert sample['pred_label'].tolist() == np.argsort(-expected[i])[:2].tolist()
        target[i, sample['gt_label']] = 1
    assert len(samples) == PICTURES
    printed = re.search(r'\| multi-label/mAP \| (\S+) \| (\S+) \| (\S+) \|', done.stdout)
    for value, scores in zip(printed.groups(), (scores_a, scores_b, expected), strict=True):
        assert float(value) == pytest.approx(100 * average_precision_score(target, scores), abs=0.006)


def test_labels_follow_the_rule_of_the_head(two, tmp_path):
    a, b, scores_a, scores_b = two
    head = "type='mmlattn.STLSTMHead', thr=0.6, topk=2"
    done = run(tmp_path, write_config(tmp_path, head), a, b, '--out', 'fused.pkl')
    assert done.returncode == 0, done.stderr
    for sample in mmengine.load(tmp_path / 'fused.pkl'):
        i = int(sample['img_path'].removesuffix('.jpg'))
        scores = (scores_a[i] + scores_b[i]) / 2
        assert sample['pred_label'].tolist() == sorted(c for c in np.argsort(-scores)[:2] if scores[c] >= 0.6)


def test_metrics_of_evidence_are_of_the_files_that_have_it(tmp_path):
    maps = torch.full((CLASSES, 2, 2), 0.25)
    told, _ = predictions(0, attention_maps=maps, gt_box_labels=torch.tensor([2]))
    silent, _ = predictions(1)
    files = dump(tmp_path / 'told.pkl', told), dump(tmp_path / 'silent.pkl', silent)
    config = write_config(tmp_path, evaluator=[REPORT, dict(type='mmlattn.PointingGame')])
    done = run(tmp_path, config, *files, '--out', 'metrics.json')
    assert done.returncode == 0, done.stderr
    metrics = {
        name.split('/')[-1]: m for name, m in json.loads((tmp_path / 'metrics.json').read_text()).items()
    }
    assert metrics['told.pkl']['pointing/present'] == 100  # the box is the whole picture
    assert metrics.keys() == {'told.pkl', 'silent.pkl', 'fused'}
    for name in ('silent.pkl', 'fused'):
        assert (
            not any(key.startswith('pointing') for key in metrics[name])
            and 'multi-label/mAP' in metrics[name]
        )
    assert re.search(r'silent\.pkl: without evidence, so without PointingGame\nfused: without', done.stdout)
    mmengine.dump(told, tmp_path / 'again.pkl')
    done = run(tmp_path, config, files[0], 'again.pkl', '--out', 'fused.pkl')
    assert done.returncode == 0, done.stderr
    assert all('attention_maps' not in sample for sample in mmengine.load(tmp_path / 'fused.pkl'))


def changed(samples, **fields):
    return [samples[0] | fields, *samples[1:]]


MISMATCHES = {
    r'2 pictures are in one of them only, such as \S+ in': lambda s: changed(s, img_path='x.jpg'),
    r'40 predictions of 39 pictures': lambda s: changed(s, img_path=s[1]['img_path']),
    r'scores 5 classes and \S+ 6': lambda s: [x | dict(pred_score=torch.rand(6)) for x in s],
    r'differ in gt_label of \d+\.jpg, \[.*\] and \[0, 2, 4\]: ': lambda s: changed(
        s, gt_label=torch.tensor([4, 0, 2])
    ),
    r'differ in gt_score of \d+\.jpg, None and \[1, 3\]: ': lambda s: changed(
        s, gt_score=torch.tensor([0, 1, 0, 1, 0])
    ),
    r'gt_label of \S+\.jpg is not of the 5 classes .* got \[9\]': lambda s: changed(
        s, gt_label=torch.tensor([9])
    ),
    r'gt_score of \S+\.jpg is not of the 5 classes .* got 3:': lambda s: changed(s, gt_score=torch.ones(3)),
    r'gt_label of \S+\.jpg must be a list of numbers': lambda s: changed(s, gt_label=torch.ones(1, 1)),
    r'has no gt_label or gt_score': lambda s: changed(s, gt_label=None),
    r'img_path=3: expected the path': lambda s: changed(s, img_path=3),
    r'scores 5 classes of \S+\.jpg and 4 of \S+\.jpg': lambda s: [
        s[0],
        s[1] | dict(pred_score=torch.rand(4)),
        *s[2:],
    ],
    r'pred_score of \S+\.jpg must be a tensor .* got .tensor\(\[nan': lambda s: changed(
        s, pred_score=torch.full((5,), torch.nan)
    ),
    r'pred_score of \S+\.jpg must be a tensor .* got .\[0\.5': lambda s: changed(s, pred_score=[0.5] * 5),
    r'pred_score of \S+\.jpg must be a tensor .* got .\[1\. ': lambda s: changed(s, pred_score=np.ones(5)),
    r"pred_score of \S+\.jpg must be a tensor .* got '3'": lambda s: changed(s, pred_score=3),
    'without img_path': lambda s: [{k: v for k, v in x.items() if k != 'img_path'} for x in s],
    'holds no predictions': lambda s: [],
}


@pytest.mark.parametrize('message', MISMATCHES)
def test_files_of_other_data_are_refused_in_one_line(two, tmp_path, message):
    other = dump(tmp_path / 'other.pkl', MISMATCHES[message](predictions(1)[0]))
    done = run(tmp_path, write_config(tmp_path), two[0], other)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith('error: ') and re.search(message, line)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['a.pkl'], 'give two or more'),
        (['a.pkl', 'a.pkl'], 'given twice'),
        (['a.pkl', 'none.pkl'], 'there is no file of predictions none.pkl'),
        (['a.pkl', 'config.py'], 'config.py is cut off, damaged or no file of predictions'),
        (['a.pkl', 'b.pkl', '--weights', '1'], '2 files need as many --weights'),
        (['a.pkl', 'b.pkl', '--weights', '1', 'nan'], 'above 0'),
        (['a.pkl', 'b.pkl', '--weights', '1e308', '1e308'], 'a sum that a float holds'),
        (['a.pkl', 'b.pkl', '--weights', '1', '2', '--fuse', 'max'], 'those of a mean'),
        (['a.pkl', 'b.pkl', '--out', 'a.pkl'], 'a.pkl exists already'),
        (['a.pkl', 'b.pkl', '--out', 'a.csv'], '--out takes'),
        (['a.pkl', 'b.pkl', '--cfg-options', 'test_evaluator=None'], 'needs model.head'),
        (['a.pkl', 'b.pkl', '--cfg-options', 'test_evaluator.type=Nothing'], 'this config does not work: '),
        (['a.pkl', 'b.pkl', '--cfg-options', 'model.head.type=Nothing'], 'this config does not work: '),
    ],
)
def test_mistakes(two, tmp_path, args, message):
    before = two[0].read_bytes()
    done = run(tmp_path, write_config(tmp_path), *args)
    assert done.returncode != 0 and 'Traceback' not in done.stderr
    assert message in done.stderr.strip().splitlines()[-1]
    assert two[0].read_bytes() == before


def test_a_file_that_runs_code_is_refused_unless_trusted(two, tmp_path):
    marker = tmp_path / 'marker'
    samples = predictions(1)[0]
    (tmp_path / 'evil.pkl').write_bytes(pickle.dumps(changed(samples, note=MarkWhenOpened(marker))))
    config = write_config(tmp_path)
    done = run(tmp_path, config, two[0], 'evil.pkl')
    assert done.returncode == 1 and not marker.exists()
    (line,) = done.stderr.strip().splitlines()
    assert re.match(
        r'error: refused to open evil\.pkl: it asks for \w+\.open, .*add --trust-checkpoint$', line
    )
    done = run(tmp_path, config, two[0], 'evil.pkl', '--trust-checkpoint')
    assert done.returncode == 0 and marker.exists(), done.stderr


@pytest.mark.slow
def test_what_test_py_writes_of_two_scales(tmp_path):
    config = write_tiny_run(tmp_path)
    scores, truth = [], {}
    for seed, side in enumerate((32, 64)):
        torch.manual_seed(seed)
        weights = get_model(str(config), device='cpu').state_dict()
        torch.save(dict(state_dict=weights), tmp_path / f'{side}.pth')
        scale = f'test_dataloader.dataset.pipeline.1.scale={side}'
        options = ['--out', f'{side}.pkl', '--cfg-options', scale]
        done = run_tool('test.py', config, f'{side}.pth', *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        samples = mmengine.load(tmp_path / f'{side}.pkl')
        scores.append({s['img_path']: s['pred_score'] for s in samples})
        truth = {s['img_path']: s['gt_label'].item() for s in samples}
    done = run(tmp_path, config, '32.pkl', '64.pkl')
    assert done.returncode == 0, done.stderr
    hits = [(scores[0][path] + scores[1][path]).argmax().item() == label for path, label in truth.items()]
    assert len(hits) == 11
    assert float(re.search(r'accuracy/top1 .* (\S+) \|', done.stdout)[1]) == pytest.approx(
        100 * np.mean(hits), abs=0.006
    )
