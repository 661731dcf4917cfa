"""Pictures that can not be read are named, or left out, and nothing else changes."""

import json
import os
import shutil
import struct
import zlib
from pathlib import Path

import mmengine
import numpy as np
import pytest
from mmpretrain.datasets import CustomDataset
from tiny_run import BY_ITERATION, differing, final_state, run_tool, train_in_processes, write_tiny_run

from mmlattn.datasets.unreadable_pictures import guard_pictures, load_picture
from mmlattn.utils.errors import UserError

HTML = b'<!DOCTYPE html><html><body>404</body></html>'


def enlarged(png):
    """The same file, whose header promises 20,001 x 10,000 pixels."""
    header = png[12:16] + struct.pack('>II', 20_001, 10_000) + png[24:29]
    return png[:12] + header + struct.pack('>I', zlib.crc32(header)) + png[33:]


# What lies in the place of a picture, and what is said of it.
SPOILT = {
    'empty': (lambda path, whole: path.write_bytes(b''), 'it is empty (0 bytes)'),
    'cut': (lambda path, whole: path.write_bytes(whole[:60]), 'it is damaged or cut off (60 bytes)'),
    'cut in the middle': (lambda path, whole: path.write_bytes(whole[:1500]), 'damaged or cut off (1500 bytes)'),
    'web page': (lambda path, whole: path.write_bytes(HTML), 'it is a web page'),
    'text': (lambda path, whole: path.write_text('no picture'), 'its content is no picture'),
    'bomb': (lambda path, whole: path.write_bytes(enlarged(whole)), 'its header says 20001 x 10000 pixels, and more'),
    'link': (lambda path, whole: path.symlink_to('/no/such.png'), 'it is a link to /no/such.png, which is not there'),
    'folder': (lambda path, whole: path.mkdir(), 'it is a folder, expected a file'),
    'nothing': (lambda path, whole: None, 'it is not there'),
    'no permission': (lambda path, whole: (path.write_bytes(whole), path.chmod(0)), 'it may not be read'),
}  # fmt: skip


def spoil(path, kind):
    whole = path.read_bytes()
    path.unlink()
    SPOILT[kind][0](path, whole)


@pytest.fixture
def tiny(tmp_path):
    """The tiny run: its config, and the picture that is spoilt, which is not the first."""
    config = write_tiny_run(tmp_path)
    return config, tmp_path / 'data' / 'b' / '4.png'


def load(config, **kwargs):
    steps = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=8), dict(type='PackInputs')]
    return CustomDataset(data_root=str(config.parent / 'data'), pipeline=steps, **kwargs)


@pytest.mark.parametrize('kind', SPOILT)
def test_the_file_and_the_reason_are_said(tiny, kind):
    if kind == 'no permission' and os.geteuid() == 0:
        pytest.skip('root may read everything')
    config, path = tiny
    dataset = load(config)  # lists the folder
    index = next(i for i in range(11) if dataset.get_data_info(i)['img_path'] == str(path))
    spoil(path, kind)
    guard_pictures(dataset, 'raise', training=True)
    with pytest.raises(UserError) as error:
        dataset[index]
    said = str(error.value)
    assert said.startswith(f'{path} can not be read') and SPOILT[kind][1] in said and 'on_error=skip' in said
    assert '\n' not in said


def test_bombs_take_no_memory(tiny):
    """Neither the training's loader nor that of the inferencer is asked for them."""
    config, path = tiny
    spoil(path, 'bomb')
    with pytest.raises(UserError, match='its header says 20001 x 10000 pixels'):
        load_picture(lambda _: pytest.fail('it was loaded'), str(path))
    dataset = load(config)
    loader = dataset.pipeline.transforms[0]
    asked, transform = [], loader.transform
    loader.transform = lambda results: asked.append(results['img_path']) or transform(results)
    (guard,) = guard_pictures(dataset, 'skip', training=False)
    assert len([dataset[index] for index in range(11)]) == 11
    assert guard.paths() == [str(path)] and str(path) not in asked and len(asked) == 11


def test_only_loading_is_guarded(tiny):
    """A mistake in a transform is no bad picture."""

    def fail(results):
        raise RuntimeError('mine')

    dataset = load(tiny[0])
    dataset.pipeline.transforms.insert(1, fail)
    guard_pictures(dataset, 'skip', training=True)
    with pytest.raises(RuntimeError, match='mine'):
        dataset[0]


def test_a_skipped_picture_is_replaced_in_training_and_marked_in_testing(tiny):
    config, path = tiny
    training, testing = load(config), load(config, test_mode=True)
    paths = [training.get_data_info(i)['img_path'] for i in range(11)]
    index = paths.index(str(path))
    spoil(path, 'empty')
    [guard] = guard_pictures(training, 'skip', training=True)
    np.random.seed(0)
    assert training[index]['data_samples'].img_path in set(paths) - {str(path)}
    assert guard.paths() == [str(path)]
    [guard] = guard_pictures(testing, 'skip', training=False)
    sample = testing[index]['data_samples']
    assert sample.stands_in_for == str(path) and sample.img_path == paths[index + 1]
    assert 'stands_in_for' not in testing[index + 1]['data_samples']
    assert guard.paths() == [str(path)] and len(testing) == 11


def test_no_picture_at_all(tiny):
    config, _ = tiny
    dataset = load(config)
    for path in (config.parent / 'data').rglob('*.png'):
        path.write_bytes(b'')
    guard_pictures(dataset, 'skip', training=False)
    with pytest.raises(UserError, match='none of the 11 pictures can be read'):
        dataset[0]


def test_the_only_picture_that_can_be_read_stands_in_for_all_others(tiny):
    dataset = load(tiny[0], test_mode=True)
    *spoilt, whole = (dataset.get_data_info(i)['img_path'] for i in range(11))
    for path in spoilt:
        Path(path).write_bytes(b'')
    guard_pictures(dataset, 'skip', training=False)
    assert [dataset[i]['data_samples'].img_path for i in range(11)] == [whole] * 11


SKIP = ['--cfg-options', 'default_hooks.pictures.on_error=skip']


@pytest.mark.slow
@pytest.mark.parametrize('unit', ['epoch', 'iter'])
def test_training_goes_on_and_resumes_bit_for_bit(tiny, tmp_path, unit):
    """With two workers and without any, whole and in two parts."""
    config, path = tiny
    spoil(path, 'web page')
    options = [*SKIP, 'train_cfg.max_epochs=2']
    first, last = 'epoch_1.pth', 'epoch_2.pth'
    if unit == 'iter':
        cfg = mmengine.Config.fromfile(config)
        config = tmp_path / 'iter.py'
        cfg.merge_from_dict(BY_ITERATION)
        cfg.dump(str(config))
        options, first, last = SKIP, 'iter_3.pth', 'iter_9.pth'
    done = run_tool('train.py', config, '--work-dir', tmp_path / 'whole', *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    log = next((tmp_path / 'whole').glob('*/*.log')).read_text()
    assert (
        f'1 of 11 pictures of train_dataloader can not be read, and others take their places: {path}' in log
    )
    if unit == 'epoch':
        assert '[1][3/3]' in log  # as long as without it
    (tmp_path / 'rest').mkdir()
    shutil.copy(tmp_path / 'whole' / first, tmp_path / 'rest')
    resume = ['--work-dir', tmp_path / 'rest', '--resume', tmp_path / 'rest' / first]
    done = run_tool('train.py', config, *resume, *options, 'train_dataloader.num_workers=2', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    states = [final_state(tmp_path / name / last) for name in ('whole', 'rest')]
    assert differing(*states) == []


@pytest.mark.slow
def test_metrics_and_predictions_are_those_of_the_other_pictures(tiny, tmp_path):
    config, path = tiny
    done = run_tool('train.py', config, '--cfg-options', 'train_cfg.max_epochs=1', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    checkpoint = tmp_path / 'work_dirs/tiny/epoch_1.pth'
    shutil.copytree(tmp_path / 'data', tmp_path / 'without')
    (tmp_path / 'without/b/4.png').unlink()
    spoil(path, 'empty')
    runs = {
        'skip': SKIP,
        'without': ['--cfg-options', f'test_dataloader.dataset.data_root={tmp_path}/without'],
    }
    metrics = {}
    for name, options in runs.items():
        out = ['--out', f'{name}.json', '--out-item', 'metrics']
        done = run_tool('test.py', config, checkpoint, *out, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        metrics[name] = json.loads((tmp_path / f'{name}.json').read_text())
    assert metrics['skip'].pop('pictures/left_out') == 1
    assert metrics['skip'] == metrics['without']
    options = [*SKIP, 'test_dataloader.num_workers=2']
    done = run_tool('test.py', config, checkpoint, '--out', 'pred.pkl', *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = [os.path.basename(sample['img_path']) for sample in mmengine.load(tmp_path / 'pred.pkl')]
    assert sorted(names) == sorted(f'{i}.png' for i in range(11) if i != 4)
    done = run_tool('test.py', config, checkpoint, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith(f'error: {path} can not')


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes(tiny, tmp_path):
    config, path = tiny
    spoil(path, 'empty')
    options = [
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1',
        'train_dataloader.batch_size=2',
    ]
    train_in_processes(config, tmp_path / 'raise', *options, expected=1)
    said = [(tmp_path / f'rank{rank}/stderr.txt').read_text() for rank in range(2)]
    assert sum(f'error: {path} can not be read' in text for text in said) == 1
    assert not any('Traceback' in text for text in said)
    train_in_processes(config, tmp_path / 'skip', *options, SKIP[1])
    log = next((tmp_path / 'skip').glob('*/*.log')).read_text()
    assert '1 of 11 pictures of val_dataloader can not be read, and they are in no metric' in log
    assert 'pictures/left_out: 1' in log
