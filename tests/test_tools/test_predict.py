"""The prediction tool on folders of files: what it writes, against the test loop; killed, continued, refused."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.apis import get_model
from PIL import Image
from tiny_run import run_tool, tool_environment

from mmlattn.structures import Decision, with_decision

CLASSES = ['a "quoted", name', 'cat', 'dog']
CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=4, base_channels=4),
    head=dict(type='mmlattn.CSRAHead', num_classes=3, in_channels=32, num_heads=1, lam=0.1, bias=True))
data_preprocessor = dict(mean=[127.5] * 3, std=[40.0] * 3, to_rgb=True)
test_dataloader = dict(
    batch_size=8, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root={data!r}, with_label=False, pipeline=[
        dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]))
test_evaluator = dict(type='Accuracy')
test_cfg = dict()
"""
FOLDERS = ('a', 'b', 'b/c')
BROKEN = {'a/3.jpg': b'', 'b/13.jpg': b'<html>not here</html>', 'b/c/5.jpg': b'\xff\xd8\xff\xe0 cut'}


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Config, weights, and 80 pictures of many sizes in three folders, three of them damaged."""
    folder = tmp_path_factory.mktemp('world')
    rng = np.random.default_rng(0)
    for number in range(80):
        file = folder / 'data' / FOLDERS[number % 3] / f'{number}.jpg'
        file.parent.mkdir(parents=True, exist_ok=True)
        low = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(low).resize((40 + number, 60), Image.Resampling.BILINEAR).save(file)
    (folder / 'data/b/notes.txt').write_text('no picture')
    for name, content in BROKEN.items():
        (folder / 'data' / name).write_bytes(content)
    config = folder / 'small.py'
    config.write_text(CONFIG.replace('{data!r}', repr(str(folder / 'data'))))
    torch.manual_seed(0)
    model = get_model(Config.fromfile(config), device='cpu')
    model.init_weights()
    with torch.no_grad():
        for weight in model.head.parameters():
            weight.normal_(0, 1)
    checkpoint = dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES)))
    torch.save(checkpoint, folder / 'small.pth')
    decision = Decision(CLASSES, [0.2, 0.5, 0.9], [2.0, 1.0, 1.0], [0.0, 0.5, 0.0], 'f1', 'val', 100)
    torch.save(with_decision(checkpoint, decision), folder / 'small_tuned.pth')
    return folder


def predict(world, out, *flags, checkpoint='small.pth', inputs=('data',), cwd=None):
    inputs = [world / name for name in inputs]
    return run_tool(
        'predict.py', world / 'small.py', world / checkpoint, *inputs, '--out-dir', out, *flags, cwd=cwd
    )


@pytest.fixture(scope='module')
def whole(world, tmp_path_factory):
    cwd = tmp_path_factory.mktemp('cwd')
    run = predict(world, cwd / 'out', '--batch-size', '8', '--evidence', cwd=cwd)
    return run, cwd / 'out'


def rows_of(folder):
    with (folder / 'predictions.csv').open() as file:
        return list(csv.DictReader(file))


def lines_of(folder):
    return [json.loads(line) for line in (folder / 'predictions.jsonl').read_text().splitlines()]


def test_three_damaged_pictures_cost_themselves_alone(world, whole):
    run, out = whole
    assert run.returncode == 2, run.stderr
    assert '77 pictures predicted' in run.stdout and '3 could not be read' in run.stderr
    with (out / 'failed.csv').open() as file:
        failed = {row['picture']: row['error'] for row in csv.DictReader(file)}
    assert set(failed) == {str(world / 'data' / name) for name in BROKEN}
    for name, words in zip(BROKEN, ('it is empty', 'it is a web page', 'damaged or cut off'), strict=True):
        assert words in failed[str(world / 'data' / name)] and str(world / 'data' / name) in run.stderr
    pictures = [row['picture'] for row in rows_of(out)]
    in_order = sorted((number % 3, number) for number in range(80) if number not in (3, 5, 13))
    assert pictures == [str(world / 'data' / FOLDERS[place] / f'{number}.jpg') for place, number in in_order]
    assert [line['path'] for line in lines_of(out) if 'error' not in line] == pictures


def test_numbers_are_those_of_the_test_loop(world, whole):
    """Of the same model over the same pictures, by mmengine's own loader."""
    cfg = Config.fromfile(world / 'small.py')
    model = get_model(cfg, str(world / 'small.pth'), device='cpu')
    files = [row['picture'] for row in rows_of(whole[1])]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        loader = Runner.build_dataloader(dict(cfg.test_dataloader, collate_fn=dict(type='default_collate')))
    dataset = loader.dataset
    by_file = {dataset.get_data_info(i)['img_path']: i for i in range(len(dataset))}
    with torch.no_grad():
        for row, line in zip(
            rows_of(whole[1]), [x for x in lines_of(whole[1]) if 'error' not in x], strict=True
        ):
            item = dataset[by_file[row['picture']]]
            (sample,) = model.test_step(
                dict(inputs=item['inputs'][None], data_samples=[item['data_samples']])
            )
            scores = [float(row[f'score:{name}']) for name in CLASSES]
            np.testing.assert_allclose(scores, sample.pred_score, atol=1e-5)
            assert [line['scores'][name] for name in CLASSES] == scores
            best_first = sorted(sample.pred_label.tolist(), key=lambda label: -scores[label])
            assert line['labels'] == [CLASSES[label] for label in best_first]
            assert row['labels'] == ';'.join(line['labels'])
            assert line['evidence']['attention_maps'].keys() == set(line['labels'])
            assert {float(row[f'threshold:{name}']) for name in CLASSES} == {0.5}
    assert len({len(row['labels']) for row in rows_of(whole[1])}) > 1 and len(files) == 77


def test_killed_and_continued_it_is_the_same(world, whole, tmp_path):
    """A process of its own, by the name of the tool, killed while it predicts; then with half of a line gone."""
    command = [
        sys.executable, '-W', 'ignore', '-m', 'mmlattn', 'predict', world / 'small.py', world / 'small.pth',
        world / 'data', '--out-dir', 'out', '--batch-size', '8', '--evidence', '--workers', '1',
    ]  # fmt: skip
    record = tmp_path / 'out' / 'predictions.jsonl'
    with open(tmp_path / 'log.txt', 'w') as log:
        process = subprocess.Popen(
            list(map(str, command)), cwd=tmp_path, env=tool_environment(), stdout=log, stderr=log
        )
    # Some time after its first batch, another one each time.
    least = 1 + int(np.random.default_rng().integers(0, 4)) * 8
    while process.poll() is None and (not record.exists() or record.read_bytes().count(b'\n') < least):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode in (-signal.SIGKILL, 2), (tmp_path / 'log.txt').read_text()
    content = record.read_bytes()
    assert content.count(b'\n') >= least
    cut = min(len(content), (whole[1] / 'predictions.jsonl').stat().st_size - 1)
    record.write_bytes(content[: cut - int(np.random.default_rng().integers(0, 300))])
    run = predict(world, 'out', '--batch-size', '8', '--evidence', '--resume', cwd=tmp_path)
    assert run.returncode == 2 and 'pictures are in out' in run.stdout, run.stderr
    assert sorted(os.listdir(tmp_path / 'out')) == sorted(os.listdir(whole[1]))
    for file in whole[1].iterdir():
        assert (tmp_path / 'out' / file.name).read_bytes() == file.read_bytes(), file.name
    again = predict(world, 'out', '--batch-size', '8', '--evidence', '--resume', cwd=tmp_path)
    assert again.returncode == 2 and '80 pictures are in out' in again.stdout
    assert record.read_bytes() == (whole[1] / 'predictions.jsonl').read_bytes()


def test_stored_thresholds_and_those_that_are_typed(world, whole, tmp_path):
    """Scores are calibrated; without evidence the record is shorter."""
    run = predict(
        world, 'out', checkpoint='small_tuned.pth', inputs=['data/a/0.jpg', 'data/a/6.jpg'], cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    plain = {row['picture']: row for row in rows_of(whole[1])}
    for row in rows_of(tmp_path / 'out'):
        before = np.array([float(plain[row['picture']][f'score:{name}']) for name in CLASSES])
        logits = np.log(before) - np.log1p(-before)
        expected = 1 / (1 + np.exp(-(logits * [2, 1, 1] + [0, 0.5, 0])))
        scores = np.array([float(row[f'score:{name}']) for name in CLASSES])
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        assert [float(row[f'threshold:{name}']) for name in CLASSES] == [0.2, 0.5, 0.9]
        named = {
            name
            for name, score, limit in zip(CLASSES, scores, [0.2, 0.5, 0.9], strict=True)
            if score >= limit
        }
        assert set(filter(None, row['labels'].split(';'))) == named
    assert all('evidence' not in line for line in lines_of(tmp_path / 'out'))
    run = predict(world, 'typed', '--threshold', '0', '--topk', '2', inputs=['data/a/0.jpg'], cwd=tmp_path)
    (row,) = rows_of(tmp_path / 'typed')
    assert len(row['labels'].split(';')) == 2 and row['threshold:cat'] == '0.0'
    options = dict(checkpoint='small_tuned.pth', inputs=['data/a/0.jpg'], cwd=tmp_path)
    predict(world, 'own', '--ignore-decision', **options)
    (row,) = rows_of(tmp_path / 'own')
    for name in CLASSES:
        assert abs(float(row[f'score:{name}']) - float(plain[row['picture']][f'score:{name}'])) < 1e-6
    again = predict(world, 'own', '--resume', **options)
    assert again.returncode == 1 and 'ignore_decision true, now false' in again.stderr


@pytest.mark.parametrize('kind', ['csv', 'json'])
def test_the_test_tool_writes_the_same_with_the_truth(world, whole, tmp_path, kind):
    """Of pictures in a folder for each class; the damaged one is left out."""
    for number, name in enumerate(CLASSES):
        (tmp_path / 'data' / name).mkdir(parents=True)
        for picture in (number, number + 3):
            shutil.copy(world / 'data' / FOLDERS[number] / f'{picture}.jpg', tmp_path / 'data' / name)
    data = [
        f'test_dataloader.dataset.{k}={v}'
        for k, v in dict(data_root=tmp_path / 'data', with_label=True).items()
    ]
    run = run_tool(
        'test.py', world / 'small.py', world / 'small.pth', '--out', f'out.{kind}', '--cfg-options', *data,
        'default_hooks.pictures.on_error=skip', cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    predicted = {os.path.basename(row['picture']): row for row in rows_of(whole[1])}
    text = (tmp_path / f'out.{kind}').read_text()
    found = json.loads(text) if kind == 'json' else list(csv.DictReader(text.splitlines()))
    assert [os.path.basename(row.get('path') or row['picture']) for row in found] == [
        '0.jpg',
        '1.jpg',
        '4.jpg',
        '2.jpg',
    ]
    for row, truth in zip(found, [CLASSES[0], CLASSES[1], CLASSES[1], CLASSES[2]], strict=True):
        expected = predicted[os.path.basename(row.get('path') or row['picture'])]
        for name in CLASSES:
            score = row['scores'][name] if kind == 'json' else float(row[f'score:{name}'])
            np.testing.assert_allclose(score, float(expected[f'score:{name}']), atol=1e-5)
        labels = row['labels'] if kind == 'json' else row['labels'].split(';')
        assert [name for name in labels if name] == list(filter(None, expected['labels'].split(';')))
        assert row['truth'] == ([truth] if kind == 'json' else truth)


def test_video_list_and_drawings(world, tmp_path):
    import cv2

    writer = cv2.VideoWriter(str(tmp_path / 'clip.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for number in range(25):
        writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    writer.release()
    (tmp_path / 'list.txt').write_text(f'{world}/data/a/0.jpg\nclip.avi\nmissing.jpg\n')
    flags = ('--fps', '2', '--draw', '--workers', '1', '--batch-size', '2')
    run = run_tool(
        'predict.py',
        world / 'small.py',
        world / 'small.pth',
        'list.txt',
        '--out-dir',
        'out',
        *flags,
        cwd=tmp_path,
    )
    assert (
        run.returncode == 2 and 'missing.jpg can not be read as a picture: it is not there' in run.stderr
    ), run.stderr
    assert [row['picture'] for row in rows_of(tmp_path / 'out')] == [
        f'{world}/data/a/0.jpg', *(f'clip.avi#t={time}00' for time in ('0.0', '0.5', '1.0', '1.5', '2.0'))
    ]  # fmt: skip
    assert [line.get('time') for line in lines_of(tmp_path / 'out')] == [None, 0, 0.5, 1, 1.5, 2, None]
    assert all('evidence' not in line for line in lines_of(tmp_path / 'out'))  # it is for the drawings alone
    drawn = sorted(path.name for path in (tmp_path / 'out' / 'drawn').rglob('*.png'))
    assert drawn == ['0.png', *(f'00000{time}00.png' for time in ('0.0', '0.5', '1.0', '1.5', '2.0'))]


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (['--batch-size', '0'], '--batch-size must be a whole number of 1 or more, got 0'),
        (['--fps', '0'], '--fps must be a finite number'),
        (['--threshold', '2'], r'--threshold must lie in [0, 1], got 2.0'),
        (['--constraints', 'no.json'], 'there is no file --constraints no.json'),
        (
            ['--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=x'],
            'does not pass the test pipeline: ',
        ),
    ],
)
def test_what_is_refused(world, tmp_path, flags, words):
    """In one line, and without a table."""
    run = predict(world, 'out', '--workers', '0', *flags, cwd=tmp_path)
    assert run.returncode == 1 and words in run.stderr.splitlines()[-1], run.stderr
    assert 'Traceback' not in run.stderr and not (tmp_path / 'out' / 'predictions.csv').exists()


def test_a_folder_with_results_is_left_as_it_is(world, whole):
    before = {path.name: path.read_bytes() for path in whole[1].iterdir()}
    cwd = whole[1].parent
    for flags, words in (
        ((), 'predictions.jsonl exists already: go on with it by --resume, or choose another --out-dir'),
        (('--resume', '--batch-size', '8'), 'begun with other settings: evidence true, now false'),
        (
            ('--resume', '--batch-size', '8', '--evidence', '--threshold', '0.4'),
            'thresholds [0.5, 0.5, 0.5], now [0.4',
        ),
    ):
        run = predict(world, whole[1], *flags, cwd=cwd)
        assert run.returncode == 1 and words in run.stderr.splitlines()[-1], run.stderr
    other = predict(
        world, whole[1], '--resume', '--batch-size', '8', '--evidence', checkpoint='small_tuned.pth', cwd=cwd
    )
    assert other.returncode == 1 and 'begun with other settings: ' in other.stderr, other.stderr
    assert before == {path.name: path.read_bytes() for path in whole[1].iterdir()}
