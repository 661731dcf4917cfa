"""Parts of the launcher that need no run."""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmpretrain.datasets import StanfordCars

from mmlattn.registry import MODELS
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import apply_options, load_config
from mmlattn.utils.launch.explain import explain_config, explain_missing_data, keeping_interrupts
from mmlattn.utils.launch.flags import DictAction


@pytest.mark.parametrize(
    'text, value',
    [
        ('/x/sp ace/data', '/x/sp ace/data'),
        ("'/x/a (1)/data'", '/x/a (1)/data'),
        ('0.5', 0.5),
        ('None', None),
        ('false', False),
        ('1,a', [1, 'a']),
        ('[1, 2]', [1, 2]),
        ('(1)', (1,)),
        ('[(a, 1), [b]]', [('a', 1), ['b']]),
        ('a=b c', 'a=b c'),
        ("[{'type': 'A', 'k': (1, 2)}, {'type': 'B c'}]", [dict(type='A', k=(1, 2)), dict(type='B c')]),
        ("{'a': None}", dict(a=None)),
    ],
)
def test_options_keep_spaces_and_types(text, value):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    assert parser.parse_args(['--cfg-options', f'key.name={text}']).cfg_options == {'key.name': value}


@pytest.mark.parametrize(
    ('pair', 'said'),
    [
        ('foo', "got 'foo'"),
        ('=1', "got '=1'"),
        ('key=[(1, 2]', 'brackets'),
        ('key=[{type: A}]', 'got [{type: A}]'),
    ],
)
def test_options_that_are_no_pairs_end_in_one_line(pair, said, capsys):
    parser = argparse.ArgumentParser(prog='tool')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(['--cfg-options', 'a=1', pair])
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith('tool: error: argument --cfg-options: ') and said in last


def test_options_that_do_not_fit_the_config_are_named():
    with pytest.raises(UserError, match=r'--cfg-options does not fit.*arch'):
        apply_options(Config(dict(model=dict(arch='56'))), {'model.arch.depth': 3})


def test_options_replace_a_list_of_dicts():
    cfg = Config(dict(test_evaluator=[dict(type='A', k=1)]))
    apply_options(cfg, {'test_evaluator': [dict(type='B'), dict(type='C')]})
    assert [metric.type for metric in cfg.test_evaluator] == ['B', 'C']


def test_files_that_are_no_config_are_refused(tmp_path):
    (tmp_path / 'README.md').write_text('# Read me')
    with pytest.raises(UserError, match=r'README\.md is no config file'):
        load_config(str(tmp_path / 'README.md'))


@pytest.mark.parametrize('base', ['', '_base_: [plain.yml]\n'])
def test_a_yaml_runs_nothing(tmp_path, base):
    marker = tmp_path / 'marker'
    run = f'a: !!python/object/apply:os.mkdir ["{marker}"]\n'
    (tmp_path / 'plain.yml').write_text(run if base else 'a: 1')
    (tmp_path / 'config.yaml').write_text(base or run)
    with pytest.raises(UserError, match=r'(plain\.yml|config\.yaml) asks for python/object/apply:os\.mkdir'):
        load_config(str(tmp_path / 'config.yaml'))
    assert not marker.exists()
    cfg = Config(dict(a=(1, (2, 3)), b=[4]))
    cfg.dump(str(tmp_path / 'dumped.yaml'))
    assert load_config(str(tmp_path / 'dumped.yaml')).to_dict() == dict(a=(1, (2, 3)), b=[4])


def test_configs_on_missing_mmdet_say_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.config.config.is_installed', lambda package: False)
    config = tmp_path / 'detector.py'
    config.write_text("_base_ = ['mmdet::_base_/default_runtime.py']")
    with pytest.raises(UserError, match=r'detector\.py builds on mmdet, .*setup_env\.sh --det$'):
        load_config(str(config))
    config.write_text("_base_ = ['mmseg::_base_/default_runtime.py']")
    with pytest.raises(UserError, match='mmseg'):
        load_config(str(config))


@pytest.mark.parametrize(
    ('splits', 'keys'),
    [
        (('test',), ['test_dataloader.dataset.data_root=...', 'test_evaluator.1.ann_file=.../val.json']),
        (
            ('train', 'val'),
            ['train_dataloader.dataset.dataset.data_root=...', 'val_evaluator.ann_file=.../val.json'],
        ),
    ],
)
def test_missing_data_name_every_setting_of_the_loaders_in_use(tmp_path, splits, keys):
    root, other = str(tmp_path / 'coco'), str(tmp_path / 'coco128')
    metric = dict(ann_file=f'{root}/val.json')
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=dict(data_root=root))),
            val_dataloader=dict(dataset=dict(data_root=other)),
            test_dataloader=dict(dataset=dict(data_root=root)),
            val_evaluator=metric,
            test_evaluator=[dict(type='Accuracy'), metric],
        )
    )
    with pytest.raises(UserError) as error, explain_missing_data(cfg, splits):
        Path(root, 'train.json').read_text()
    assert str(error.value).endswith(f'does not exist; point to yours with --cfg-options {" ".join(keys)}')
    with pytest.raises(FileNotFoundError), explain_missing_data(cfg, splits):
        Path(tmp_path, 'elsewhere').read_text()


def test_a_data_set_that_does_not_name_what_it_misses(tmp_path):
    cfg = Config(
        dict(train_dataloader=dict(dataset=dict(type='StanfordCars', data_root=str(tmp_path / 'cars'))))
    )
    with pytest.raises(UserError) as error, explain_missing_data(cfg, ['train']), explain_config():
        StanfordCars(**{key: value for key, value in cfg.train_dataloader.dataset.items() if key != 'type'})
    assert re.search(
        r'incorrectly organized, please refer to .*cars. does not exist; point to', str(error.value)
    )
    (tmp_path / 'cars').mkdir()
    with (
        pytest.raises(UserError, match='this config does not work') as error,
        explain_missing_data(cfg, ['train']),
        explain_config(),
    ):
        StanfordCars(str(tmp_path / 'cars'))
    assert 'does not exist' not in str(error.value)


def test_output_that_nothing_reads_ends_in_one_line():
    script = 'from mmlattn.utils.launch.explain import run_tool; run_tool(lambda: print("x" * 10**6))'
    unread, output = os.pipe()
    os.close(unread)
    with open(output, 'wb') as pipe:
        done = subprocess.run([sys.executable, '-c', script], stdout=pipe, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith('error: Broken pipe: ')
    assert 'Traceback' not in done.stderr and 'Exception ignored' not in done.stderr


def test_names_that_the_terminal_has_no_letters_for_are_printed():
    script = 'from mmlattn.utils.launch.explain import run_tool; run_tool(lambda: print("caf\\udce9"))'
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == r'caf\udce9'


def test_an_interrupt_stays_one_while_mmengine_formats_a_config(monkeypatch):
    """``Config.pretty_text`` turns whatever happens into a ``SyntaxError``."""

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', interrupt)
    with pytest.raises(KeyboardInterrupt), keeping_interrupts():
        Config(dict(a=1)).pretty_text  # noqa: B018
    with pytest.raises(SyntaxError), keeping_interrupts():
        raise SyntaxError('of another kind')


@pytest.mark.parametrize(
    ('argument', 'told'),
    [
        ('pos_wieght', 'takes no pos_wieght, .*: did you mean pos_weight'),
        ('_delete_', 'leave it out where the base'),
    ],
)
def test_arguments_that_a_loss_passes_to_its_base(argument, told):
    with pytest.raises(UserError, match=told), explain_config():
        MODELS.build({'type': 'mmlattn.MaskedBCELoss', argument: 2})
