"""Damaged checkpoints: whatever is wrong ends in one line that names the file, and nothing is written."""

import copy
import io
import random
import re
import runpy
import sys
from collections import OrderedDict
from functools import partial
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmpretrain.apis import get_model
from tiny_run import run_tool

from mmlattn.apis.loading import load_trained
from mmlattn.engine.hooks.checkpoint_checks import _check_groups
from mmlattn.utils import UserError
from mmlattn.utils.checkpoint.archives import archive_damage
from mmlattn.utils.checkpoint.digests import DIGESTS, digest
from mmlattn.utils.checkpoint.loading import load_weights_only, use_safe_loading
from mmlattn.utils.launch.config import keep_checkpoints_safe, make_reproducible
from mmlattn.utils.launch.runner import build_runner

WEIGHT, MEAN = 'backbone.layer1.0.conv1.weight', 'backbone.bn1.running_mean'


@pytest.fixture(scope='module')
def saved(config, tmp_path_factory):
    """Path of the checkpoint after the second of three epochs."""
    run = tmp_path_factory.mktemp('run')
    options = ['train_cfg.val_interval=1', 'default_hooks.checkpoint.save_best=accuracy/top1']
    done = run_tool('train.py', config, '--work-dir', run, '--cfg-options', *options, cwd=run)
    assert done.returncode == 0, done.stderr
    return run / 'epoch_2.pth'


@pytest.fixture(scope='module')
def runner(config, tmp_path_factory):
    """As ``train.py --resume`` has it when it opens the checkpoint."""
    schemes = CheckpointLoader._schemes.copy()
    cfg = Config.fromfile(config)
    cfg.work_dir = str(tmp_path_factory.mktemp('resumed'))
    cfg.launcher, cfg.experiment_name, cfg.resume = 'none', 'damaged', True
    make_reproducible(cfg)
    keep_checkpoints_safe(cfg)
    use_safe_loading()
    runner = build_runner(cfg, 'train_loop')
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    runner.call_hook('before_run')
    yield runner
    CheckpointLoader._schemes = schemes


@pytest.fixture(scope='module')
def content(saved):
    """What the file of someone else could hold as well: it has no digests."""
    checkpoint = torch.load(saved, weights_only=False)
    del checkpoint[DIGESTS]
    return checkpoint


@pytest.fixture(scope='module')
def model(config):
    return get_model(str(config), device='cpu')


def put(*path):
    """A mutilation: the last of ``path`` in the place that the others lead to."""
    *keys, last, value = path

    def mutilate(checkpoint):
        for key in keys:
            checkpoint = checkpoint[key]
        checkpoint[last] = value(checkpoint[last]) if callable(value) else value

    return mutilate


def drop(*path):
    *keys, last = path

    def mutilate(checkpoint):
        for key in keys:
            checkpoint = checkpoint[key]
        del checkpoint[last]

    return mutilate


def one(number):
    """The tensor with one number replaced."""

    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[3 % tensor.numel()] = number
        return tensor

    return change


NAN, INF = float('nan'), float('inf')
GROUP, STATE = ('optimizer', 'param_groups', 0), ('optimizer', 'state')
INFO, SCALARS = ('message_hub', 'runtime_info'), ('message_hub', 'log_scalars')
ADAM = dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False)
BROKEN_HISTORY = HistoryBuffer([1.0, 2.0], [1, 1])
BROKEN_HISTORY._count_history = np.ones(3)

# What is wrong with the weights, so that nobody can use the file.
OF_WEIGHTS = {
    'list for weights': (put('state_dict', list), 'state_dict is a list, not a dict'),
    'no weights': (put('state_dict', None), 'state_dict is a NoneType'),
    'list for a weight': (put('state_dict', WEIGHT, torch.Tensor.tolist), 'is a list, not a tensor'),
    'array for a weight': (put('state_dict', WEIGHT, torch.Tensor.numpy), 'is a ndarray, not a tensor'),
    'number for a name': (put('state_dict', 7, torch.ones(1)), 'has the name 7'),
    'nan in a weight': (put('state_dict', WEIGHT, one(NAN)), 'holds NaN.*earlier checkpoint'),
    'inf in a weight': (put('state_dict', WEIGHT, one(-INF)), 'holds inf'),
    'nan in a buffer': (put('state_dict', MEAN, one(NAN)), rf'{MEAN}.*holds NaN'),
    'half of nan': (put('state_dict', WEIGHT, lambda w: one(NAN)(w.half())), 'holds NaN'),
    'complex buffer': (put('state_dict', MEAN, lambda w: w + 1j), 'complex'),
    'buffer of integers': (
        put('state_dict', 'backbone.bn1.num_batches_tracked', torch.tensor(1.5)),
        'float32 in the file, torch.int64',
    ),
    'missing buffer': (drop('state_dict', MEAN), rf'missing are {MEAN}'),
    'missing weight': (drop('state_dict', WEIGHT), f'missing are {WEIGHT}'),
    'other shape': (
        put('state_dict', WEIGHT, lambda w: w[:, :1]),
        'of another shape .*4 x 1 x 3 x 3 in the file',
    ),
    'transposed': (put('state_dict', 'head.layers.1.fc.weight', lambda w: w.t()), 'of another shape'),
    'another layer': (
        put('state_dict', 'backbone.extra', torch.ones(1)),
        'without a place are backbone.extra',
    ),
    'claims more than it holds': (
        put('state_dict', WEIGHT, lambda w: w[:1, :1, :1, :1].expand(10**4, 10**4, 100, 100)),
        'claims 10{12} numbers',
    ),
    'on no device': (put('state_dict', WEIGHT, lambda w: w.to('meta')), 'no ordinary tensor'),
    'sparse': (put('state_dict', WEIGHT, lambda w: w.to_sparse()), 'no ordinary tensor'),
    'meta is a list': (put('meta', list), 'meta is a list, not a dict'),
    'data as a list': (put('meta', 'dataset_meta', list), 'dataset_meta.* is a list'),
    'classes in one text': (put('meta', 'dataset_meta', 'classes', 'abc'), 'is a str, not a list of names'),
    'numbers for classes': (put('meta', 'dataset_meta', 'classes', (0, 1, 2)), 'is a int, not a name'),
}

# What is wrong with the state of the training.
OF_TRAINING = {
    'no meta': (drop('meta'), 'has no meta'),
    'meta is none': (put('meta', None), 'has no meta'),
    'no epoch': (drop('meta', 'epoch'), 'has no epoch'),
    'epoch as text': (put('meta', 'epoch', '2'), "epoch.* is '2', not a whole number"),
    'half an epoch': (put('meta', 'epoch', 1.5), 'is 1.5, not a whole number'),
    'epoch is true': (put('meta', 'epoch', True), 'is True, not a whole number'),
    'epoch below 0': (put('meta', 'epoch', -1), 'is -1, expected 0 or more'),
    'absurd epoch': (put('meta', 'epoch', 10**9), 'is 1000000000, but its run had max_epochs=3'),
    'absurd epoch of another': (
        lambda c: (put('meta', 'epoch', 10**9)(c), put(*INFO, 'max_epochs', 10**9)(c)), 'but this run ends at'
    ),
    'absurd iteration': (put('meta', 'iter', 10**9), 'its run had max_iters=9'),
    'no iteration': (put('meta', 'iter', None), 'has no iter'),
    'seed as text': (put('meta', 'seed', 'x'), "seed.* is 'x'"),
    'seed below 0': (put('meta', 'seed', -1), 'is -1, expected 0 or more'),
    'seed too large': (put('meta', 'seed', 2**40), 'less than 4294967296'),
    'no log': (drop('message_hub'), 'has no message_hub'),
    'log is a list': (put('message_hub', list), 'message_hub is a list'),
    'scalars are a list': (put('message_hub', 'log_scalars', list), 'log_scalars.* is a list'),
    'no information': (drop(*INFO), 'runtime_info.* is a NoneType'),
    'keys are a list': (put('message_hub', 'resumed_keys', list), 'resumed_keys.* is a list'),
    'key with a text': (put('message_hub', 'resumed_keys', 'iter', 'yes'), 'is a str, not True or False'),
    'history of two lengths': (put(*SCALARS, 'train/loss', BROKEN_HISTORY), 'no history of numbers'),
    'best score is nan': (put(*INFO, 'best_score', NAN), 'best_score.* is nan'),
    'best score as text': (put(*INFO, 'best_score', '0.5'), 'is a str, not a number'),
    'kept steps as text': (put(*INFO, 'keep_ckpt_ids', '12'), 'keep_ckpt_ids.* is a str'),
    'no optimizer': (drop('optimizer'), 'has no optimizer'),
    'optimizer is a list': (put('optimizer', list), 'optimizer is a list'),
    'groups are a dict': (put('optimizer', 'param_groups', lambda g: dict(enumerate(g))), 'is a dict, not a list'),
    'rate is nan': (put(*GROUP, 'lr', NAN), 'lr.* is nan'),
    'rate is infinite': (put(*GROUP, 'lr', INF), 'lr.* is inf'),
    'rate below 0': (put(*GROUP, 'lr', -0.1), 'is -0.1, expected 0 or more'),
    'rate as text': (put(*GROUP, 'lr', '0.1'), 'is a str, not a number'),
    'momentum is nan': (put(*GROUP, 'momentum', NAN), 'momentum.* is nan'),
    'parameters less': (put(*GROUP, 'params', lambda p: p[:-1]), '63 parameters in 1 groups, this run 64'),
    'parameters in another order': (put(*GROUP, 'params', lambda p: p[::-1]), 'other numbers of parameters'),
    'another group': (
        put('optimizer', 'param_groups', lambda g: [*g, dict(g[0], params=[64])]), '65 parameters in 2 groups'
    ),
    'another optimizer': (
        put('optimizer', 'param_groups', lambda g: [dict(ADAM, params=g[0]['params'])]), 'this run SGD with dampening'
    ),
    'state is a list': (put(*STATE, lambda s: list(s.values())), 'state.* is a list'),
    'state of an unknown': (put(*STATE, 99, {}), 'state of a parameter 99'),
    'state of another shape': (
        put(*STATE, 5, 'momentum_buffer', lambda b: torch.zeros(7)), r'momentum_buffer of \(7,\) for parameter 5'
    ),
    'state is nan': (put(*STATE, 5, 'momentum_buffer', one(NAN)), 'momentum_buffer.* holds NaN'),
    'no schedulers': (drop('param_schedulers'), 'param_schedulers are none'),
    'schedulers are a dict': (put('param_schedulers', lambda s: {'a': s}), 'of another kind'),
    'fewer schedulers': (put('param_schedulers', []), 'has 0 param_schedulers, this run 1'),
    'another scheduler': (drop('param_schedulers', 0, 'start_factor'), 'only one has start_factor'),
    'a list for a scheduler': (put('param_schedulers', 0, list), 'is a list, not a dict'),
    'scheduler at no step': (put('param_schedulers', 0, 'last_step', 0.5), 'is a float, not a whole number'),
    'scheduler at an absurd step': (put('param_schedulers', 0, 'last_step', 10**9), 'is 1000000000, after 6'),
    'scheduler with nan': (put('param_schedulers', 0, 'base_values', [NAN]), 'base_values.* is nan'),
    'scheduler of a text': (put('param_schedulers', 0, 'end_factor', '1'), 'end_factor of its LinearLR is a str'),
    'averages are a list': (put('ema_state_dict', list), 'ema_state_dict is a list'),
    'average missing': (drop('ema_state_dict', f'module.{WEIGHT}'), f'does not fit its state_dict in {WEIGHT}'),
    'average of another shape': (put('ema_state_dict', f'module.{WEIGHT}', torch.ones(2)), 'does not fit'),
    'average is nan': (put('ema_state_dict', f'module.{WEIGHT}', one(NAN)), 'holds NaN'),
    'validated at a text': (put('validated', 'x'), "validated is 'x'"),
    'gradients are a list': (put('gathered_gradients', [1]), 'gathered_gradients is a list'),
    'digests are a list': (put(DIGESTS, [1]), 'digests is a list'),
}  # fmt: skip


def resume(runner, path):
    runner._load_from, runner._resume = str(path), True
    runner.resume(str(path))


def write_mutilated(content, mutilate, path):
    mutilated = copy.deepcopy(content)
    mutilate(mutilated)
    torch.save(mutilated, path)


def check_message(error, path, expected):
    message = str(error)
    assert str(path) in message and '\n' not in message, message
    assert re.search(expected, message), message


@pytest.mark.parametrize('kind', OF_WEIGHTS | OF_TRAINING)
def test_a_mutilated_checkpoint_is_not_resumed(runner, content, tmp_path, kind):
    path, (mutilate, expected) = tmp_path / 'a.pth', (OF_WEIGHTS | OF_TRAINING)[kind]
    write_mutilated(content, mutilate, path)
    with pytest.raises(UserError) as caught:
        resume(runner, path)
    check_message(caught.value, path, expected)


@pytest.mark.parametrize('kind', OF_WEIGHTS)
def test_mutilated_weights_are_not_used(model, content, tmp_path, kind):
    """By the apis and the tools that look inside; ``test.py`` opens and compares with the same functions."""
    path, (mutilate, expected) = tmp_path / 'a.pth', OF_WEIGHTS[kind]
    write_mutilated(content, mutilate, path)
    with pytest.raises(UserError) as caught:
        load_trained(model, str(path))
    check_message(caught.value, path, expected)


@pytest.mark.parametrize(
    'content, expected',
    [
        ([1], 'is a list'),
        ('weights', 'is a str'),
        (torch.ones(3), 'is a Tensor'),
        ({}, 'no weights are in it but nothing'),
        (dict(model={}, epoch=3), "no weights are in it but 'model', 'epoch'"),
        (dict(state_dict={}), 'missing are'),
    ],
)
def test_what_is_no_checkpoint_is_not_used(model, tmp_path, content, expected):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(UserError) as caught:
        load_trained(model, str(tmp_path / 'a.pth'))
    check_message(caught.value, tmp_path / 'a.pth', expected)


def test_whole_ones_are_resumed(runner, saved, content, tmp_path):
    resume(runner, saved)
    assert (runner.epoch, runner.iter) == (2, 6)
    momentum = content['optimizer']['state'][5]['momentum_buffer']
    weight = list(runner.model.parameters())[5]
    assert torch.equal(runner.optim_wrapper.optimizer.state[weight]['momentum_buffer'], momentum)
    torch.save(content, tmp_path / 'without_digests.pth')
    resume(runner, tmp_path / 'without_digests.pth')


def test_a_run_that_was_resumed_with_larger_batches_is_whole(runner, content, tmp_path):
    """Its plan of iterations is shorter than what it has done."""
    write_mutilated(content, put(*INFO, 'max_iters', 3), tmp_path / 'a.pth')
    resume(runner, tmp_path / 'a.pth')
    assert runner.iter == 6


def test_adamw_of_torch_that_did_not_note_its_decay():
    optimizer = torch.optim.AdamW([torch.ones(2, requires_grad=True)])
    [group] = optimizer.state_dict()['param_groups']
    flag = group.pop('decoupled_weight_decay', True)
    _check_groups(optimizer, [group], 'optimizer')
    if 'decoupled_weight_decay' in optimizer.param_groups[0]:  # from torch 2.7 on
        with pytest.raises(UserError, match='of another optimizer'):
            _check_groups(optimizer, [group | dict(decoupled_weight_decay=not flag)], 'optimizer')


def test_infinity_is_for_masks(tmp_path, model):
    mask = torch.full((3, 3), -INF).triu(1)
    weights = {**model.state_dict(), 'mask': mask, 'empty': torch.ones(0), 'yes': torch.ones(2) > 0}
    torch.save(weights, tmp_path / 'a.pth')
    load_trained(model, str(tmp_path / 'a.pth'))
    torch.save(weights | {'mask': mask + 1}, tmp_path / 'b.pth')
    with pytest.raises(UserError, match=r"'mask'.*inf among other numbers"):
        load_trained(model, str(tmp_path / 'b.pth'))


# Changed by a hand, or before they were written: the checksums of the file are right.
CHANGES = {
    'a weight by its last bit': (
        'state_dict',
        put('state_dict', WEIGHT, lambda w: torch.nextafter(w, w + 1)),
    ),
    'two weights exchanged': ('state_dict', put('state_dict', WEIGHT, lambda w: w.flip(0))),
    'a buffer left out': ('state_dict', drop('state_dict', MEAN)),
    'a weight in half precision': ('state_dict', put('state_dict', WEIGHT, torch.Tensor.half)),
    'another shape': ('state_dict', put('state_dict', WEIGHT, lambda w: w.reshape(3, 3, 4, 4))),
    'an average': ('ema_state_dict', put('ema_state_dict', f'module.{WEIGHT}', one(0.5))),
    'a momentum': ('optimizer', put(*STATE, 5, 'momentum_buffer', one(0.5))),
    'a learning rate': ('optimizer', put(*GROUP, 'lr', 0.07)),
}


@pytest.mark.parametrize('kind', CHANGES)
def test_what_was_changed_after_saving_is_told(model, saved, tmp_path, kind):
    path, (part, change) = tmp_path / 'a.pth', CHANGES[kind]
    changed = torch.load(saved, weights_only=False)
    change(changed)
    torch.save(changed, path)
    with pytest.raises(UserError) as caught:
        load_trained(model, str(path))
    check_message(caught.value, path, f"its {part} is not what was saved.*without its 'digests'")


def test_the_remedy_for_changes_made_on_purpose_works(model, saved, tmp_path):
    changed = torch.load(saved, weights_only=False)
    put('state_dict', WEIGHT, one(0.5))(changed)
    changed.pop('digests')
    torch.save(changed, tmp_path / 'a.pth')
    load_trained(model, str(tmp_path / 'a.pth'))
    assert model.state_dict()[WEIGHT].view(-1)[3] == 0.5


@pytest.mark.parametrize('flags', [[], ['--no-ema']])
def test_files_that_mmpretrain_publishes_open(model, saved, tmp_path, monkeypatch, flags):
    """Its tool takes parts out, and may put the plain weights in the place of the averaged ones."""
    tool = Path(mmpretrain.__file__).parent / '.mim' / 'tools' / 'model_converters' / 'publish_model.py'
    monkeypatch.setattr(sys, 'argv', ['publish_model.py', str(saved), str(tmp_path / 'a.pth'), *flags])
    # Of torch before 2.6.
    monkeypatch.setattr(torch, 'load', partial(torch.load, weights_only=False))
    runpy.run_path(str(tool), run_name='__main__')
    monkeypatch.undo()
    (published,) = tmp_path.iterdir()
    load_trained(model, str(published))
    whole = torch.load(saved, weights_only=False)
    own = whole['ema_state_dict'][f'module.{WEIGHT}'] if flags else whole['state_dict'][WEIGHT]
    assert torch.equal(model.state_dict()[WEIGHT], own)
    damaged = torch.load(published, weights_only=False)
    put('state_dict', WEIGHT, one(0.5))(damaged)
    torch.save(damaged, published)
    with pytest.raises(UserError, match='is not what was saved'):
        load_trained(model, str(published))


def test_a_digest_is_of_names_shapes_types_and_bytes_alone():
    a, b = torch.arange(6.0), torch.ones(2, 3)
    known = digest(dict(a=a, b=b))
    assert known == digest(OrderedDict(b=b.t().contiguous().t(), a=torch.arange(12.0)[:6]))
    others = [dict(a=b, b=a), dict(a=a), dict(a=a.double(), b=b), dict(a=a, b=b.t()), dict(a=a + 1e-7, b=b)]
    assert known not in map(digest, others) and len(set(map(digest, others))) == len(others)


def test_a_flipped_bit_is_found(saved):
    """Wherever it is in the file: it opens with the same content, or not at all; torch opens nearly all of them."""
    whole, rng, missed = saved.read_bytes(), random.Random(0), []
    for _ in range(200):
        place, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
        damaged = whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :]
        if archive_damage(io.BytesIO(damaged)) is None:
            missed.append(damaged)
    assert len(missed) < 30  # in names and padding, which nobody reads
    for damaged in missed:
        try:
            opened = load_weights_only(io.BytesIO(damaged))
        except UserError:
            continue
        rewritten = [io.BytesIO(), io.BytesIO()]
        torch.save(opened, rewritten[0])
        torch.save(load_weights_only(str(saved)), rewritten[1])
        assert rewritten[0].getvalue() == rewritten[1].getvalue()


def test_a_file_without_checksums_opens(tmp_path, model):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(model.state_dict(), tmp_path / 'a.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    load_trained(model, str(tmp_path / 'a.pth'))


def test_training_starts_from_a_part_but_not_from_nothing(runner, content, tmp_path):
    path = tmp_path / 'a.pth'

    def start(weights, **others):
        torch.save(dict(state_dict=weights, **others), path)
        runner._load_from, runner._resume, runner._has_loaded = str(path), False, False
        runner.load_or_resume()

    weights = content['state_dict']
    start(weights)
    start({**weights, 'head.layers.1.fc.weight': torch.ones(9, 16), 'head.layers.1.fc.bias': torch.ones(9)})
    start({name: value for name, value in weights.items() if name.startswith('backbone.')})
    start(weights, optimizer=[1], param_schedulers='of another framework')
    start(weights, meta=dict(epoch=None, iter=None))
    # Averages of another number of classes are left out.
    averages = {f'module.{name}': value for name, value in weights.items()}
    averages['module.head.layers.1.fc.bias'] = torch.ones(9)
    start(weights, ema_state_dict=averages)
    assert torch.equal(runner.model.state_dict()[WEIGHT], weights[WEIGHT])
    with pytest.raises(UserError, match=r'a\.pth has no weights for this model: it has layer1.*init_cfg'):
        start({n.removeprefix('backbone.'): v for n, v in weights.items() if n.startswith('backbone.layer1')})
    # Without a state_dict, EMA would stumble.
    torch.save(weights, path)
    runner._has_loaded = False
    runner.load_or_resume()


WAYS = [
    ('test.py', 'nan in a weight', '{}'),
    ('test.py', 'flipped', '{}'),
    ('train.py', 'list for weights', '--resume', '{}'),
    ('train.py', 'absurd epoch', '--resume', '{}'),
    ('train.py', 'missing buffer', '--resume', '{}'),
    ('train.py', 'flipped', '--cfg-options', 'load_from={}'),
]


@pytest.mark.parametrize('tool, kind, flags', [(tool, kind, flags) for tool, kind, *flags in WAYS])
def test_tools_say_it_in_one_line_and_write_nothing(config, saved, content, tmp_path, tool, kind, flags):
    path, run = tmp_path / 'a.pth', tmp_path / 'run'
    if kind == 'flipped':
        expected, data = 'does not agree with its checksum', bytearray(saved.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        mutilate, expected = (OF_WEIGHTS | OF_TRAINING)[kind]
        write_mutilated(content, mutilate, path)
    done = run_tool(tool, config, '--work-dir', run, *(flag.format(path) for flag in flags), cwd=tmp_path)
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    check_message(done.stderr.strip().splitlines()[-1], path, expected)
    assert not list(run.rglob('*.pth')) and not (run / 'last_checkpoint').exists()
