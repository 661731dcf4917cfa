"""Mistakes in a config end in one line, before the first step where they can be known then.

All but a few are tried in this process, through the functions of ``tools/train.py``; those few as programs.
"""

import contextlib
import itertools
import json
import runpy
import sys
from string import Template

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import TOOLS, run_tool, write_tiny_run

from mmlattn.utils.errors import UserError

_names = itertools.count()

# The tiny run on label sets.
MULTI = """
_base_ = 'tiny.py'
model = dict(
    _delete_=True, type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=4, base_channels=4),
    head=dict(type='mmlattn.CSRAHead', num_classes=3, in_channels=32, num_heads=1, lam=0.1))
sets = dict(type='mmlattn.PlainMultiLabel', data_root={root!r}, data_prefix='sets', ann_file='abc.json')
train_dataloader = dict(dataset=dict(_delete_=True, pipeline=_base_.train_pipeline, **sets))
val_dataloader = dict(dataset=dict(_delete_=True, test_mode=True, pipeline=_base_.test_pipeline, **sets))
test_dataloader = val_dataloader
val_evaluator = [dict(type='mmlattn.MultiLabelReport')]
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1, val_interval=1)
custom_hooks = []
"""
# One label a picture, no mixup, which hides mistakes of the loss.
SINGLE = """
_base_ = 'tiny.py'
model = dict(
    train_cfg=None, head=dict(_delete_=True, type='LinearClsHead', num_classes=3, in_channels=32))
data_preprocessor = dict(to_onehot=False)
train_cfg = dict(max_epochs=1, val_interval=1)
"""
OTHER_HEADS = {
    'single_head': (MULTI, "dict(_delete_=True, type='LinearClsHead', num_classes=3, in_channels=32)"),
    'several_head': (
        SINGLE,
        "dict(_delete_=True, type='MultiLabelLinearClsHead', num_classes=3, in_channels=32)",
    ),
}
# The config, --cfg-options, and what is said.
SHORT = {
    'TRAIN': 'train_dataloader.dataset.', 'VAL': 'val_dataloader.dataset.', 'HOOK': 'default_hooks.',
    'OPT': 'optim_wrapper.', 'LOAD': "{'type':'LoadImageFromFile'}", 'RESIZE': "{'type':'Resize','scale':32}",
    'TINY': "{'type':'Resize','scale':1}", 'PACK': "{'type':'PackInputs'}",
    'BCE': "{'type':'CrossEntropyLoss','use_sigmoid':True,", 'NUL': '\0',
}  # fmt: skip
MISTAKES = """
multi | ${TRAIN}ann_file=abcd.json | num_classes=3; training data 4
multi | ${VAL}ann_file=abcd.json | num_classes=3; validation data 4
multi | data_preprocessor.num_classes=5 | data_preprocessor has num_classes=5, CSRAHead 3
multi | data_preprocessor.num_classes=None | not set `num_classes` in `data_preprocessor`
multi | model.head.loss=${BCE}'pos_weight':[1.0,2.0]} | pos_weight; 2 entries, the head 3 classes
single_head |  | LinearClsHead decides for one label; mmlattn.CSRAHead
multi | val_evaluator=[{'type':'Accuracy'}] | Accuracy in val_evaluator; MultiLabelReport
single | val_evaluator.0.topk=5 | topk=(5,), the head 3 classes
multi | model.backbone.norm_cfg.type=BNN | no model is called BNN, in ResNet: did you mean BN?
multi | model.head.loss.type=CrossEntropyLos | did you mean CrossEntropyLoss?
multi | model.head.type=CSRAHead_ | did you mean mmlattn.CSRAHead?
multi | model.head.lamb=0.2 | CSRAHead takes no lamb: did you mean lam?
single | model.head.los.type=A | ClsHead takes no los, in LinearClsHead: did you mean loss?
multi | model.backbone.in_channels=1 | to have 1 channels, but got 3; backbone.conv1
multi | data_preprocessor.std=[0,1,1] | data_preprocessor.std must be above 0
multi | ${TRAIN}anne_file=x | PlainMultiLabel takes no anne_file: did you mean ann_file?
multi | ${TRAIN}pipeline=[{'type':'LoadImageFromfile'}] | did you mean LoadImageFromFile?
multi | ${TRAIN}pipeline=[${LOAD},${PACK}] | first step of the train loop; Resize
multi | ${TRAIN}pipeline=[${LOAD},${PACK}] train_dataloader.num_workers=1 | first step of the train loop; Resize
multi | ${VAL}pipeline=[${LOAD},${PACK}] | first step of the val loop; Resize
multi | ${TRAIN}pipeline=[${LOAD},${RESIZE}] | PackInputs
multi | ${TRAIN}pipeline=[${LOAD},${TINY},${PACK}] train_dataloader.batch_size=1 | batch normalisation
multi | train_dataloader.batch_size=5 | in a step of the train loop; drop_last=True
single | ${TRAIN}data_root=gs://bucket | no key gs; download the data
single | ${TRAIN}data_root=http://127.0.0.1:9/x | can not be read from the web
multi | ${TRAIN}ann_file=None | ann_file must be the path; None
multi | ${TRAIN}ann_file=a${NUL}.json | ann_file must be the path
multi | ${TRAIN}data_root=3 | data_root must be the path; got 3
single | ${TRAIN}data_root=3 | in CustomDataset
multi | ${OPT}optimizer.type=SDG | no optimizer is called SDG: did you mean SGD?
multi | ${OPT}optimizer.momentun=0.9 | SGD takes no momentun: did you mean momentum?
multi | ${OPT}optimizer.lr=-1 | before the first step; learning rate: -1
multi | ${OPT}clip_gard.max_norm=1 | OptimWrapper takes no clip_gard: did you mean clip_grad?
multi | ${OPT}clip_grad.maxnorm=1 | did you mean max_norm?
multi | ${OPT}constructor=DefaultOptimWrapperConstruct | did you mean DefaultOptimWrapperConstructor?
multi | ${OPT}paramwise_cfg.bias_lr_multi=10 | bias_lr_multi, which is not read: did you mean bias_lr_mult?
multi | ${OPT}paramwise_cfg.custom_keys.head.lr_multi=10 | did you mean lr_mult?
multi | optim_wrapper=None | optim_wrapper should be either all None
multi | train_cfg=None | train_cfg, and optim_wrapper should be either all None
multi | param_scheduler.type=LinearRL | did you mean LinearLR?
multi | param_scheduler.strat_factor=0.1 | did you mean start_factor?
multi | param_scheduler.start_factor=5 | before the first step; between 0 and 1
multi | ${HOOK}checkpoint.save_best=acc | names begin with multi-label/
multi | ${HOOK}checkpoint.save_best=multi-label/mAp ${HOOK}checkpoint.rule=greater | did you mean multi-label/mAP?
multi | custom_hooks=[{'type':'EMAHok'}] | no hook is called EMAHok: did you mean EMAHook?
multi | ${HOOK}logger.intervall=5 | LoggerHook takes no intervall: did you mean interval?
multi | custom_hooks=[{'type':'EMAHook','momentum':5}] | before the first step; in EMAHook
multi | train_cfg.max_epoch=3 | did you mean max_epochs?
multi | train_cfg.max_epochs=0 | train_cfg.max_epochs must be a finite number of 1 or more, got 0
multi | train_cfg.val_interval=0 | train_cfg.val_interval must; got 0
multi | train_cfg={'by_epoch':False,'max_iters':0} | train_cfg.max_iters must; got 0
multi | train_cfg={'by_epoch':False,'max_iters':2,'val_interval':0} | train_cfg.val_interval must; got 0
multi | train_cfg=3 | train_cfg must be a dict, or None, got 3
multi | default_hooks=[{'type':'CheckpointHook'}] | default_hooks must be a dict, or None
multi | custom_hooks=5 | custom_hooks must be a list; got 5
multi | val_cfg=None | val_evaluator should be either all None; set all three
multi | trian_cfg.max_epochs=3 | no trian_cfg: did you mean train_cfg?
multi | train_dataloader.batch_size=64 train_dataloader.drop_last=True | train_dataloader gives no batch; batch_size
multi | ${TRAIN}indices=0 | the data set has no item
multi | visualizer.vis_backends=[{'type':'NeptuneVisBackend'}] | neptune
multi | ${HOOK}pictures.on_error=ignore | on_error of default_hooks.pictures must be one of 'raise', 'skip'
multi | ${OPT}optimizer.lr=1e9 param_scheduler=[] | diverged: in iteration; loss=nan; rate of 1e+09; clip_grad
"""

# What the file of a config says, and what is said of it; abc.py is beside it.
CONFIGS = {
    'empty': ('', ['sets nothing']),
    'comment': ('# nothing', ['sets nothing']),
    'missing base': ("_base_ = 'abcc.py'", ['abcc.py, which is not there: did you mean abc.py?']),
    'key twice': ("_base_ = ['abc.py', 'abc2.py']", ['two files of its _base_ set x, y']),
    'syntax': ('x = 1\ny = (', ['config.py, line 2: no valid Python']),
    'syntax of a base': ("_base_ = 'broken.py'", ['broken.py, line 1: no valid Python']),
    'name': ('x = 1\ny = z', ['config.py, line 2', "name 'z' is not defined"]),
    'type of a base': ("_base_ = 'abc.py'\nx = dict(k=1)", ['_delete_=True']),
    'import': ("custom_imports = dict(imports=['nothing_like_it'])", ['nothing_like_it']),
    'pure import': ('import nothing_like_it', ['nothing_like_it']),
    'pure name': ('from mmengine.hooks import EMAHok\nhook = dict(type=EMAHok)', ['EMAHok']),
}


@pytest.fixture(scope='module')
def configs(tmp_path_factory):
    """Folder of the configs and data."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp('mistakes')
    write_tiny_run(folder)
    rng = np.random.default_rng(0)
    (folder / 'sets').mkdir()
    for i in range(11):
        array = rng.integers(0, 256, (40, 40 + i % 2, 3), dtype=np.uint8)
        Image.fromarray(array).save(folder / f'sets/{i}.png')
    for names in ('abc', 'abcd'):
        items = [dict(img_path=f'{i}.png', gt_label=sorted({i % 3, i % 2})) for i in range(11)]
        content = dict(metainfo=dict(classes=list(names)), data_list=items)
        (folder / f'{names}.json').write_text(json.dumps(content))
    items = [dict(item, gt_label=item['gt_label'][:1]) for item in items]
    content = dict(metainfo=dict(classes=['a', 'b', 'c']), data_list=items)
    (folder / 'single.json').write_text(json.dumps(content))
    (folder / 'multi.py').write_text(MULTI.format(root=str(folder)))
    (folder / 'single.py').write_text(SINGLE)
    for name, (base, head) in OTHER_HEADS.items():
        targets = '' if base is SINGLE else 'data_preprocessor = dict(to_onehot=False)\n'
        base = 'multi.py' if base is MULTI else 'single.py'
        neck = "neck=dict(type='GlobalAveragePooling'), "
        (folder / f'{name}.py').write_text(f'_base_ = {base!r}\nmodel = dict({neck}head={head})\n{targets}')
    return folder


@pytest.fixture(scope='module')
def tools():
    """The tools, read once."""
    return {name: runpy.run_path(str(TOOLS / name)) for name in ('train.py', 'test.py')}


@pytest.fixture
def start(configs, tools, tmp_path, monkeypatch):
    """Run a tool on a config; return its working directory."""
    monkeypatch.chdir(tmp_path)
    # Half of the time of a case goes into making the dumped config beautiful.
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **style: (text, True))

    def run(config, *options, flags=(), tool='train.py'):
        folder = tmp_path / f'run{next(_names)}'
        name = f'experiment_name=mistakes{next(_names)}'
        argv = [tool, configs / f'{config}.py', *flags, '--work-dir', folder, '--cfg-options', name, *options]
        monkeypatch.setattr(sys, 'argv', list(map(str, argv)))
        tools[tool]['main']()
        return folder

    return run


@pytest.mark.parametrize('mistake', MISTAKES.strip().splitlines())
def test_mistakes_in_a_config(start, mistake):
    config, options, words = map(str.strip, mistake.split('| '))
    with pytest.raises(UserError) as error:
        start(config, *Template(options).substitute(SHORT).split())
    said = str(error.value)
    assert all(word in said for word in words.split('; ')) and '\n' not in said and len(said) < 700, said


@pytest.mark.parametrize('config', ['multi', 'single', 'several_head', 'tiny', 'single_head'])
def test_configs_without_a_mistake_run(start, config):
    """Sets of one label each are fit for a head for one label."""
    options = [f'{mode}_dataloader.dataset.ann_file=single.json' for mode in ('train', 'val')]
    options += ["val_evaluator=[{'type':'Accuracy'}]"]
    folder = start(config, 'train_cfg.max_epochs=1', *(options if config == 'single_head' else ()))
    assert (folder / 'epoch_1.pth').is_file()
    [log] = folder.glob('*/*.log')
    assert ('decides for each class by itself' in log.read_text()) == (config == 'several_head')


def test_nothing_is_saved_of_a_model_that_has_diverged(start, configs, tmp_path):
    options = [
        'optim_wrapper.optimizer.lr=1e9',
        'param_scheduler=[]',
        'default_hooks.checkpoint.by_epoch=False',
    ]
    with pytest.raises(UserError, match='diverged'):
        start('multi', *options)
    saved = list(tmp_path.rglob('*.pth'))
    assert saved
    for path in saved:
        state = torch.load(path, weights_only=False)['state_dict']
        assert all(value.isfinite().all() for value in state.values())


@pytest.mark.parametrize('text', CONFIGS)
def test_configs_that_can_not_be_read(tools, tmp_path, monkeypatch, text):
    content, words = CONFIGS[text]
    for name, value in dict(abc='x = 1\ny = 2', abc2='x = 1\ny = 3', broken='x = (', config=content).items():
        (tmp_path / f'{name}.py').write_text(value)
    monkeypatch.setattr(sys, 'argv', ['train.py', str(tmp_path / 'config.py')])
    with pytest.raises(UserError) as error:
        tools['train.py']['main']()
    said = str(error.value)
    assert all(word in said for word in words) and '\n' not in said, said


def test_resume_and_test_with_other_classes(start, configs, tmp_path):
    checkpoint = start('multi') / 'epoch_1.pth'
    four = ['model.head.num_classes=4', 'data_preprocessor.num_classes=4']
    four += [f'{mode}_dataloader.dataset.ann_file=abcd.json' for mode in ('train', 'val', 'test')]
    for flags in (dict(flags=['--resume', checkpoint]), dict(flags=[checkpoint], tool='test.py')):
        with pytest.raises(UserError, match='classes') as error:
            start('multi', *four, 'train_cfg.max_epochs=2', **flags)
        assert 'epoch_1.pth' in str(error.value)


OF_ALL_SIZES = "val_dataloader.dataset.pipeline=[{'type':'LoadImageFromFile'},{'type':'PackInputs'}]"
PROGRAMS = {
    'file for a folder': (['multi.py', '--work-dir', 'abc.json'], ['--work-dir', 'abc.json']),
    'empty config': (['empty.py'], ['sets nothing']),
    'optimizer': (['multi.py', '--cfg-options', 'optim_wrapper.optimizer.type=SDG'], ['did you mean SGD?']),
    'sizes': (
        ['multi.py', '--cfg-options', 'val_dataloader.num_workers=1', OF_ALL_SIZES],
        ['first step of the val loop', 'Resize'],
    ),
    'divergence': (
        ['multi.py', '--cfg-options', 'optim_wrapper.optimizer.lr=1e9', 'param_scheduler=[]'], ['has diverged']
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('mistake', PROGRAMS)
def test_programs_end_in_one_line(configs, mistake):
    (configs / 'empty.py').touch()
    args, words = PROGRAMS[mistake]
    done = run_tool('train.py', *args, cwd=configs)
    message = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and message.startswith('error: ')
    assert all(word in message for word in words), message
    assert 'Traceback' not in done.stderr
    with contextlib.suppress(FileNotFoundError):
        assert 'nan' not in (configs / 'work_dirs/multi/last_checkpoint').read_text()
