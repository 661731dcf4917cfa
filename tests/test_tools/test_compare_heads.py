"""compare_heads.py as its users run it: what it finds, what it goes on with, and what it never looks at."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import tiny_run
from heads_fixtures import LENGTHS, write_config

from mmlattn.utils.json_files import to_json

TOOL = 'analysis_tools/compare_heads.py'
FLAGS = ('--epochs', 2, '--batch-size', 8, '--lrs', 0.001, 0.03, '--seeds', 0, 1, '--workers', 0)

NAMED = ('--data', 'pictures.py', '--backbone', 'pictures.py', '--heads')


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A folder with a config, stored features, and a comparison of two heads with one fine-tuned."""
    folder = tmp_path_factory.mktemp('heads')
    write_config(folder)
    done = compare(folder, 'out', '--finetune', 'best', '--finetune-epochs', 1)
    assert done.returncode == 0, done.stderr
    return folder, done


def arguments(folder, out, *more):
    return (
        'pictures.py',
        '--heads',
        'linear,csra',
        '--out-dir',
        out,
        '--features',
        'features',
        *FLAGS,
        *more,
    )


def compare(folder, out, *more):
    # A config without a head: what is compared comes by name.
    return tiny_run.run_tool(
        TOOL, '--data', *arguments(folder, out, '--backbone', 'pictures.py', *more), cwd=folder
    )


def report(folder, out, number=''):
    return json.loads((folder / out / f'comparison{number}.json').read_text())


def what_came_out(found):
    """All but the time of a step, which no two runs share."""
    for head in found['heads'].values():
        head['cost'].pop('milliseconds')
    return found


def test_the_report_says_the_same_four_times(finished):
    folder, done = finished
    found = report(folder, 'out')
    names = list(found['heads'])
    best = names[-1].removesuffix(', fine-tuned')
    assert names[:2] == ['linear', 'csra'] and best in names[:2]
    table = pd.read_csv(folder / 'out' / 'comparison.csv').set_index('head')
    assert list(table.index) == names and table['seeds'].tolist() == [2, 2, 1]
    text = (folder / 'out' / 'comparison.md').read_text()
    assert text in done.stdout and (folder / 'out' / 'comparison.png').stat().st_size > 10000
    for name, head in found['heads'].items():
        values = head['values']['mAP']
        assert table.loc[name, 'mAP'] == pytest.approx(100 * sum(values) / len(values))
        assert f'| {name} | {table.loc[name, "mAP"]:.2f}' in text
    assert [found['heads'][name]['cost']['parameters'] for name in names[:2]] == [99, 96]
    assert found['heads'][names[-1]]['cost']['parameters'] > found['heads'][best]['cost']['parameters']
    # Squares have boxes, so heads with maps play the pointing game.
    assert all(0 <= found['heads'][head]['values']['pointing'][0] <= 1 for head in ('linear', 'csra'))
    for head in ('linear', 'csra'):
        grid = found['heads'][head]['val_mAP_by_rate']
        assert found['heads'][head]['learning_rate'] == float(max(grid, key=grid.get))


def test_what_is_done_is_not_done_again_and_not_overwritten(finished):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in (folder / 'out').rglob('[!.]*') if path.is_file()}
    again = compare(folder, 'out', '--finetune', 'best', '--finetune-epochs', 1)
    assert again.returncode == 0, again.stderr
    assert (
        folder / 'out' / 'comparison.md'
    ).read_text() in again.stdout and 'mAP on val, ' not in again.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = compare(folder, 'out', '--epochs', 3)
    assert other.returncode == 1
    assert (
        other.stderr.strip()
        .splitlines()[-1]
        .endswith(
            'lr0.001_seed0 was run with another budget, and nothing is overwritten: choose another --out-dir'
        )
    )


def test_a_comparison_killed_in_the_middle_goes_on_and_finds_the_same(finished):
    folder, _ = finished
    # After its third training, in the fourth.
    process = started(folder, 'killed')
    runs = folder / 'killed' / 'runs'
    wait_for(lambda: len(list(runs.glob('*/*/run.json'))) >= 3 and list(runs.glob('*/*.part')), process)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL and not (folder / 'killed' / 'comparison.json').exists()
    kept = {path: path.stat().st_mtime_ns for path in runs.glob('*/*/run.json')}
    done = compare(folder, 'killed', '--finetune', 'best', '--finetune-epochs', 1)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert what_came_out(report(folder, 'killed')) == what_came_out(report(folder, 'out'))


def test_the_test_split_has_no_part_in_the_choice(finished):
    """Its labels are turned round: rates stay, and what is said of the test split does not."""
    folder, _ = finished
    file = folder / 'test.json'
    kept = file.read_text()
    content = json.loads(kept)
    shown = {(found['image_id'], found['category_id']) for found in content['annotations']}
    content['annotations'] = [
        dict(id=3 * number + label, image_id=number, category_id=label, bbox=[0, 0, 9, 9], iscrowd=0)
        for number in range(LENGTHS['test'])
        for label in range(3)
        if (number, label) not in shown
    ]
    try:
        file.write_text(to_json(content))
        done = compare(folder, 'poisoned')
    finally:
        file.write_text(kept)
    assert done.returncode == 0, done.stderr
    clean, poisoned = (report(folder, out)['heads'] for out in ('out', 'poisoned'))
    for name, head in poisoned.items():
        for key in ('learning_rate', 'val_mAP_by_rate'):
            assert head[key] == clean[name][key]
        assert head['values']['mAP'] != clean[name]['values']['mAP']


def test_configs_are_compared_with_their_own_necks_hooks_and_optimizers(finished):
    folder, _ = finished
    for name, head in dict(
        mean="neck=dict(type='GlobalAveragePooling'), head=dict(type='mmlattn.LinearMultiLabelHead', num_classes=3, "
        'in_channels=32)',
        paths="head=dict(type='mmlattn.CNNRNNHead', num_classes=3, in_channels=32)",
    ).items():
        hook = "custom_hooks = [dict(type='mmlattn.LabelFrequencyHook')]\n" if name == 'paths' else ''
        (folder / f'{name}.py').write_text(
            f"_base_ = './pictures.py'\nmodel = dict({head})\n{hook}"
            "optim_wrapper = dict(optimizer=dict(type='SGD', lr=7, momentum=0.9))\n"
        )
    flags = ('--out-dir', 'configs', '--features', 'features', *FLAGS, '--seeds', 0)
    done = tiny_run.run_tool(TOOL, 'mean.py', 'paths.py', '--heads', 'max', *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    found = report(folder, 'configs')
    assert list(found['heads']) == ['mean', 'paths', 'max']
    optimizers = [candidate['optim_wrapper']['optimizer'] for candidate in found['settings']['heads']]
    assert optimizers[0] == dict(type='SGD', momentum=0.9) and optimizers[2]['type'] == 'AdamW'


def test_a_trained_head_is_a_model_for_the_other_tools(finished):
    """Completed with its backbone, and tested on the pictures themselves, it is what the comparison says it is."""
    folder, _ = finished
    head = report(folder, 'out')['heads']['csra']
    weights = f'out/runs/csra/lr{head["learning_rate"]:g}_seed0/weights.pth'
    done = tiny_run.run_tool(
        'model_converters/complete_weights.py', 'out/configs/csra.py', weights, 'csra.safetensors', cwd=folder
    )
    assert done.returncode == 0, done.stderr
    flags = ('--work-dir', 'tested', '--out', 'tested.json', '--out-item', 'metrics')
    done = tiny_run.run_tool('test.py', 'out/configs/csra.py', 'csra.safetensors', *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / 'tested.json').read_text())
    for name in ('mAP', 'CF1', 'OF1'):
        expected = 100 * head['values'][name if name == 'mAP' else f'{name}_own'][0]
        assert found[f'multi-label/{name}'] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (['--data', 'pictures.py'], '--data needs --backbone'),
        (['pictures.py', '--backbone', 'mobilenet-v2'], 'leave --backbone out'),
        (['pictures.py', '--lrs', '0'], '--lrs must be above 0'),
        (['pictures.py', '--seeds', '1', '1'], '--seeds has a value twice'),
        (['pictures.py'], 'heads are compared in an ImageClassifier with model.head'),
        (['--data', 'pictures.py', '--backbone', 'resnet9000'], '--backbone must be one of mobilenet-v2'),
        ([*NAMED, 'linear,mlp'], "--heads must be one of 'linear', 'max'"),
        (
            [*NAMED, 'linear', '--finetune', 'csra'],
            '--finetune must be best, or names of heads that are compared',
        ),
        ([*NAMED, ','], 'got none: check --heads'),
    ],
)
def test_what_can_not_be_compared_is_said_in_one_line(finished, flags, words):
    folder, _ = finished
    out = ('--out-dir', 'refused', '--features', 'refused_features')
    done = tiny_run.run_tool(TOOL, *flags, *out, cwd=folder)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith('error: ') and words in last, done.stderr
    assert not (folder / 'refused_features').exists(), 'before the backbone runs'


def started(folder, out) -> multiprocessing.Process:
    """The tool in a process of its own that is not waited for."""
    files = [Path(folder, f'{out}_{stream}.txt') for stream in ('stdout', 'stderr')]
    args = ('--data', *arguments(folder, out, '--backbone', 'pictures.py'))
    process = multiprocessing.get_context('fork').Process(
        target=tiny_run._main, args=(TOOL, args, folder, files)
    )
    process.start()
    return process


def wait_for(condition, process) -> None:
    while process.is_alive() and not condition():
        time.sleep(0.002)
    assert process.is_alive(), 'it ended before it could be killed'
