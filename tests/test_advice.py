"""What our messages advise is done, with the real code, and the message is gone.

A message that tells a setting or a flag to change (``key=value``, ``--flag``) has an entry in ``ADVICE``, for what
can be built and called, in ``CALLS``, for what is typed, or in ``ELSEWHERE`` with the reason.
"""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.models import ClsHead, ImageClassifier
from mmpretrain.structures import DataSample
from tiny_run import MarkWhenOpened, run_tool, write_tiny_run
from torch import nn

import mmlattn.datasets as datasets
from mmlattn.evaluation import CorLoc, MultiLabelReport, RegionQuality
from mmlattn.evaluation.evaluators import check_metric_names, leave_out_evidence
from mmlattn.models import (
    APN,
    RACNN,
    STLSTM,
    CNNRNNHead,
    CSRAHead,
    MultiCropClassifier,
    MultiLabelTTAModel,
    ResidualAttentionNet_CIFAR,
    VGGFCNeck,
)
from mmlattn.models.racnn.heads import ScaleFusion
from mmlattn.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
SIZES = dict(num_classes=3, in_channels=4)
CE = dict(type='mmpretrain.CrossEntropyLoss')
POOLED = dict(type='mmpretrain.GlobalAveragePooling')


@dataclass
class Advice:
    """One message and all that it advises.

    Args:
        says (str): Part of the message, as it stands in the code.
        wrong (Callable): Brings it.
        right (tuple[Callable]): For each piece of advice, the same with that done.
    """

    says: str
    wrong: Callable
    right: tuple[Callable, ...]


def built(cls, *, says, wrong, right, **common) -> Advice:
    """Of a class that refuses arguments."""
    return Advice(says, lambda: cls(**common, **wrong), tuple(lambda r=r: cls(**common, **r) for r in right))


def convnext(**settings) -> dict:
    return dict(type='mmpretrain.ConvNeXt', arch=dict(depths=[1], channels=[4]), out_indices=(0,)) | settings


def vit(**settings) -> dict:
    arch = dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=8)
    return dict(type='mmpretrain.VisionTransformer', arch=arch, img_size=32, patch_size=8) | settings


MAPS = dict(gap_before_final_norm=False)


def predict(cls=ImageClassifier, size=32, **model) -> None:
    """Build a classifier and predict."""
    cls(**model)(torch.rand(2, 3, size, size), mode='predict')


def csra(width=4, **settings) -> dict:
    return dict(type='mmlattn.CSRAHead', num_classes=3, in_channels=width, num_heads=1) | settings


def linear() -> dict:
    return dict(type='mmlattn.LinearMultiLabelHead', **SIZES, with_evidence=True)


def crops(backbone=None, size=32, **settings) -> None:
    model = dict(backbone=backbone or convnext(**MAPS), head=csra(), margin=8) | settings
    predict(MultiCropClassifier, size, **model)


def decoder(**settings) -> dict:
    return dict(type='mmlattn.CNNRNNHead', **SIZES, order='random_fixed') | settings


def decode(**settings) -> None:
    head = CNNRNNHead(**SIZES, **settings)
    head.loss(torch.rand(2, 4), [DataSample().set_gt_label(torch.tensor([0]))] * 2)


def racnn(backbone=None, width=4, **settings) -> None:
    head = dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=width, loss=CE)
    localizer = dict(type='mmlattn.APN', in_channels=width, form='light', spatial=2)
    model = dict(backbone=backbone or convnext(**MAPS), neck=POOLED, head=head, localizer=localizer)
    predict(RACNN, 32, **(model | dict(crop=dict(size=16)) | settings))


def load(state: dict, **settings) -> None:
    CSRAHead(3, 4, **settings).load_state_dict(state, strict=True)


def linear_state() -> dict:
    return nn.ModuleDict(dict(fc=nn.Linear(4, 3))).state_dict()


def official_state(heads: int, bias: bool = False) -> dict:
    state = {f'head{h + 1}.weight': torch.rand(3, 4, 1, 1) for h in range(heads)}
    return state | ({f'head{h + 1}.bias': torch.rand(3) for h in range(heads)} if bias else {})


class NoWidth(ClsHead):
    """A head that does not say how wide its features are."""

    num_classes = 3


def localize(metric, **fields) -> None:
    """Judge one sample."""
    boxes = dict(gt_boxes=np.array([[0.0, 0.0, 1.0, 1.0]]), gt_box_labels=np.array([0]))
    shapes = dict(
        ori_shape=(8, 8), img_shape=(8, 8), pred_label=torch.tensor([0]), gt_label=torch.tensor([0])
    )
    metric.process(None, [dict(**boxes, **shapes) | fields])


def seen(**settings) -> dict:
    """Evidence as a head tells it."""
    head = CSRAHead(3, 4, num_heads=1, **settings)
    (sample,) = head.predict((torch.rand(1, 4, 2, 2),), [DataSample()])
    return {key: value for key, value in sample.items() if key != 'pred_label'}


def evaluators(*metrics) -> None:
    check_metric_names(Evaluator(list(metrics)).metrics, 'test_evaluator')


ADVICE = [
    built(CSRAHead, num_classes=3, in_channels=4, says='for another number give temperatures=[...]',
          wrong=dict(num_heads=3), right=[dict(num_heads=3, temperatures=[1, 2, 4]), dict(num_heads=4)]),
    Advice('set num_heads=', lambda: load(official_state(2), num_heads=4), (
        lambda: load(official_state(2), num_heads=2),)),
    Advice('the file holds biases, this head has none; set bias=True',
           lambda: load(official_state(2, bias=True), num_heads=2),
           (lambda: load(official_state(2, bias=True), num_heads=2, bias=True),)),
    Advice("set num_heads=1 (temperatures=[99] for the paper", lambda: load(linear_state(), num_heads=2), (
        lambda: load(linear_state(), num_heads=1, normalize=False, bias=True),
        lambda: load(linear_state(), temperatures=[99], normalize=False, bias=True))),
    Advice('Keep the locations: neck=None', lambda: predict(backbone=convnext(), head=csra()), (
        lambda: predict(backbone=convnext(**MAPS), head=csra()),
        lambda: predict(backbone=vit(out_type='featmap'), head=csra(8)))),
    Advice("set out_type='featmap' of the backbone, or of the head num_extra_tokens",
           lambda: predict(backbone=vit(out_type='raw'), head=csra(8)), (
               lambda: predict(backbone=vit(out_type='featmap'), head=csra(8)),
               lambda: predict(backbone=vit(out_type='raw'), head=csra(8, num_extra_tokens=1)),
               lambda: predict(backbone=vit(out_type='raw'), head=csra(8, token_grid=(17, 1))))),
    Advice('Keep the locations: neck=None', lambda: predict(backbone=convnext(**MAPS), neck=POOLED, head=csra()), (
        lambda: predict(backbone=convnext(**MAPS), neck=None, head=csra()),)),
    Advice('set neck=None, and LinearMultiLabelHead averages by itself',
           lambda: predict(backbone=convnext(**MAPS), neck=POOLED, head=linear()), (
               lambda: predict(backbone=convnext(**MAPS), neck=None, head=linear()),)),
    built(CNNRNNHead, **SIZES, says="leave them out, or set_from=", wrong=dict(
        test_cfg=dict(set_from='marginal', min_len=1)), right=[
            dict(test_cfg=dict(set_from='marginal')), dict(test_cfg=dict(set_from='path', min_len=1))]),
    Advice("add custom_hooks=[..., dict(type='mmlattn.LabelFrequencyHook')], or give label_freq", decode, (
        lambda: decode(label_freq=[3, 2, 1]),)),
    Advice('for VGG set num_classes=-1 of the backbone', lambda: VGGFCNeck(4, 8)(torch.rand(2, 4)), (
        lambda: predict(backbone=dict(type='mmpretrain.VGG', depth=11, num_classes=-1), neck=dict(
            type='mmlattn.VGGFCNeck', in_channels=512, embed_dims=4), head=dict(
                type='mmpretrain.MultiLabelLinearClsHead', **SIZES)),)),
    Advice("of transformers take out_type='featmap', of ConvNeXt gap_before_final_norm=False",
           lambda: racnn(convnext()), (racnn, lambda: racnn(vit(out_type='featmap'), 8))),
    Advice('set output=None', lambda: racnn(exit_above=0.5, output='1'), (
        lambda: racnn(exit_above=0.5, output=None),)),
    Advice("set crop=dict(resample_from='image')", lambda: racnn(glance=16), (
        lambda: racnn(glance=16, crop=dict(size=16, resample_from='image')),)),
    Advice("fusion=dict(type='mmlattn.ScaleFusionHead', in_channels=[one width", lambda: ScaleFusion(
        dict(type='mmlattn.ScaleFusionHead'), [NoWidth(loss=CE)] * 2), (
            lambda: ScaleFusion(dict(type='mmlattn.ScaleFusionHead', in_channels=[4, 4]), [NoWidth(loss=CE)] * 2),
            lambda: ScaleFusion(None, [NoWidth(loss=CE)] * 2))),
    Advice("set in_channels to the backbone's, and of transformers take out_type='featmap'",
           lambda: APN(5, form='light', spatial=2)(torch.rand(1, 4, 2, 2)),
           (lambda: APN(4, form='light', spatial=2)(torch.rand(1, 4, 2, 2)),)),
    built(ResidualAttentionNet_CIFAR, arch=dict(stem_channels=4, channels=(8, 8, 8)), says="use mask_init='he'",
          wrong=dict(attention='channel', mask_init='zero'), right=[dict(attention='channel', mask_init='he')]),
    built(STLSTM, in_channels=8, embed_dims=8, hidden_dims=8, out_dims=8, says='take an even one, or region_pool=',
          wrong=dict(region_size=5), right=[dict(region_size=4), dict(region_size=5, region_pool=None)]),
    Advice('take a multiple of', lambda: crops(margin=6), (lambda: crops(margin=8), lambda: crops(margin=16))),
    Advice("for transformers set out_type='featmap', for others", lambda: crops(convnext()), (
        crops, lambda: crops(convnext(), crops=None, head=dict(type='mmpretrain.MultiLabelLinearClsHead', **SIZES)),
        lambda: crops(vit(out_type='featmap'), margin=16, head=csra(8)))),
    Advice('of several crops cannot be fused: predict without evidence, or set crops=None',
           lambda: crops(head=decoder(with_evidence=True)), (
               lambda: crops(head=decoder(with_evidence=True), crops=None),
               lambda: crops(head=decoder(with_evidence=False)))),
    Advice("has no logits that could be fused: set fuse_on='prob'",
           lambda: crops(head=decoder(), fuse_on='logit'), (lambda: crops(head=decoder(), fuse_on='prob'),)),
    Advice('in crops of it: set crops=None or leave them out',
           lambda: crops(head=decoder(test_cfg=dict(constraints=dict(count=2)))), (
               lambda: crops(head=decoder(test_cfg=dict(constraints=dict(count=2))), crops=None),
               lambda: crops(head=decoder()))),
    Advice('set model.head.with_evidence=True', lambda: localize(CorLoc(), **seen()), (
        lambda: localize(CorLoc(), **seen(with_evidence=True)),)),
    Advice('set center_crop=True of RegionQuality', lambda: localize(
        RegionQuality(), regions=torch.rand(2, 4), region_names=('1', '2'), img_shape=(6, 6)), (
            lambda: localize(RegionQuality(center_crop=True), regions=torch.rand(2, 4), region_names=('1', '2'),
                             img_shape=(6, 6)),
            lambda: localize(RegionQuality(), regions=torch.rand(2, 4), region_names=('1', '2')))),
    Advice("add a metric of scores or labels, such as dict(type='mmlattn.MultiLabelReport')",
           lambda: leave_out_evidence(Evaluator([CorLoc()])),
           (lambda: leave_out_evidence(Evaluator([CorLoc(), MultiLabelReport()])),)),
    Advice(".prefix='", lambda: evaluators(MultiLabelReport(), MultiLabelReport()), (
        lambda: evaluators(MultiLabelReport(), MultiLabelReport(prefix='multi-label-2')),
        lambda: evaluators(MultiLabelReport()))),
    built(datasets.COCOMultiLabel, ann_file='a.json', lazy_init=True, says='use filter_empty=True instead of',
          wrong=dict(filter_cfg=dict(a=1)), right=[dict(filter_empty=True)]),
    built(datasets.VOCBox, data_root='a', lazy_init=True, says='use filter_empty=True instead of filter_cfg=',
          wrong=dict(filter_cfg=dict(a=1)), right=[dict(filter_empty=True)]),
    built(datasets.COCOMultiLabel, ann_file='a.json', lazy_init=True, says='write data_prefix=dict(img_path=',
          wrong=dict(data_prefix=dict(img='train/')), right=[dict(data_prefix=dict(img_path='train/'))]),
]  # fmt: skip


@pytest.mark.parametrize('advice', ADVICE, ids=[advice.says[:40] for advice in ADVICE])
def test_the_message_comes_and_goes(advice):
    torch.manual_seed(0)
    with pytest.raises(UserError) as caught:
        advice.wrong()
    # Messages are written in pieces: the one in the code has names where this one has values.
    assert advice.says in str(caught.value)
    for right in advice.right:
        right()


CALLS = {
    # The tool, part of the message, what is typed, and what is typed instead, or a function of the message that says.
    'averaged': (
        'test.py', '--tta tests the averaged weights of EMAHook only',
        ['--tta', '--cfg-options', 'custom_hooks.0.evaluate_on_ema=False'],
        [['--tta'], ['--cfg-options', 'custom_hooks.0.evaluate_on_ema=False']],
    ),
    'scaled': (
        'train.py', '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=', ['--auto-scale-lr'],
        [['--auto-scale-lr', '--cfg-options', 'auto_scale_lr.base_batch_size=4']],
    ),
    'launcher': (
        'test.py', 'or leave --launcher out', ['--launcher', 'slurm'], [[]],
    ),
    'data': (
        'test.py', 'point to yours with --cfg-options', ['--cfg-options', 'test_dataloader.dataset.data_root=no'],
        [lambda said, data: ['--cfg-options', re.search(r'--cfg-options (\S+=)\.\.\.', said)[1] + data]],
    ),
    'weights': (
        'train.py', '--cfg-options model.backbone.init_cfg=None',
        ['--cfg-options', "model.backbone.init_cfg={'type': 'Pretrained', 'checkpoint': 'http://127.0.0.1:9/a.pth'}"],
        [['--cfg-options', 'model.backbone.init_cfg=None']],
    ),
    'one name': (
        'test.py', ".prefix='", ['--cfg-options', 'test_evaluator.1.type=Accuracy'],
        [lambda said, data: ['--cfg-options', 'test_evaluator.1.type=Accuracy',
                             re.search(r"test_evaluator\.1\.prefix='[\w-]+'", said)[0]],
         ['--cfg-options', "test_evaluator=[{'type': 'Accuracy'}]"]],
    ),
    'names': (
        'train.py', 'Give the data set metainfo=dict(classes=[...])',
        ['--cfg-options', "val_dataloader.dataset.metainfo={'classes': ('b', 'a', 'c')}"],
        [['--cfg-options', "val_dataloader.dataset.metainfo={'classes': ('a', 'b', 'c')}"],
         ['--cfg-options', "val_dataloader.dataset.metainfo={'classes': ('b', 'a', 'c')}",
          "custom_hooks=[{'type': 'mmlattn.ClassNamesHook', 'enabled': False}]"]],
    ),
    'sizes': (
        'train.py', 'end the pipeline with dict(type=',
        ['--cfg-options', "train_dataloader.dataset.pipeline=[{'type': 'LoadImageFromFile'}]"],
        [['--cfg-options', "train_dataloader.dataset.pipeline=[{'type': 'LoadImageFromFile'}, "
          "{'type': 'Resize', 'scale': (32, 32)}, {'type': 'PackInputs'}]"]],
    ),
    'a batch of one': (
        'train.py', 'set train_dataloader.drop_last=True', ['--cfg-options', 'train_dataloader.batch_size=5'],
        [['--cfg-options', 'train_dataloader.batch_size=5', 'train_dataloader.drop_last=True'],
         ['--cfg-options', 'train_dataloader.batch_size=6']],
    ),
    'best': (
        'train.py', "set default_hooks.checkpoint.rule='greater'",
        ['--cfg-options', 'default_hooks.checkpoint.save_best=single-label/f1-score'],
        [['--cfg-options', 'default_hooks.checkpoint.save_best=single-label/f1-score',
          f'default_hooks.checkpoint.rule={rule}'] for rule in ('greater', 'less')],
    ),
    'foreign file': ('test.py', 'add --trust-checkpoint', ['FOREIGN'], [['FOREIGN', '--trust-checkpoint']]),
    'bare name': (
        'test.py', 'did you mean', ['--cfg-options', "test_evaluator=[{'type': 'MultiLabelReprt'}]"],
        [lambda said, data: [
            '--cfg-options', f"test_evaluator=[{{'type': '{re.search('did you mean (.*)[?]', said)[1]}'}}]"]],
    ),
}  # fmt: skip


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """Config and checkpoint of a run of one epoch."""
    folder = tmp_path_factory.mktemp('advice')
    config = write_tiny_run(folder)
    config.write_text(config.read_text().replace('max_epochs=3, val_interval=3', 'max_epochs=1'))
    done = run_tool('train.py', config, '--work-dir', folder / 'run', cwd=folder)
    assert done.returncode == 0, done.stderr
    checkpoint = torch.load(folder / 'run' / 'epoch_1.pth', weights_only=False)
    checkpoint['by'] = MarkWhenOpened(folder / 'opened')
    torch.save(checkpoint, folder / 'foreign.pth')
    return config


@pytest.mark.slow
@pytest.mark.parametrize('name', CALLS)
def test_what_is_typed_as_advised_runs(tiny, tmp_path, name):
    tool, says, wrong, rights = CALLS[name]

    def call(args):
        file = tiny.parent / ('foreign.pth' if 'FOREIGN' in args else 'run/epoch_1.pth')
        args = [arg for arg in args if arg != 'FOREIGN']
        checkpoint = [file] if tool == 'test.py' else []
        return run_tool(tool, tiny, *checkpoint, *args, cwd=tmp_path)

    done = call(wrong)
    said = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and said.startswith('error: ') and says in said, done.stderr
    for right in rights:
        done = call(right(said, str(tiny.parent / 'data')) if callable(right) else right)
        assert done.returncode == 0, done.stderr


def test_augmented_predictions_have_the_labels_and_the_evidence():
    """What --tta gives by itself needs none of the advice on evidence."""
    module = dict(type='mmpretrain.ImageClassifier', backbone=convnext(**MAPS), head=csra(with_evidence=True))
    module['data_preprocessor'] = dict(type='mmpretrain.ClsDataPreprocessor')
    model = MultiLabelTTAModel(module=module)
    views = dict(inputs=[[torch.rand(3, 32, 32)]] * 2, data_samples=[[DataSample()], [DataSample()]])
    (sample,) = model.test_step(views)
    assert 'pred_label' in sample and 'attention_maps' in sample


# Part of a message, and why its advice is not executed here.
NAMES = 'it names another file or folder'
ELSEWHERE = {
    'choose another --out-dir': NAMES,
    'choose a folder for --out-dir': NAMES,
    'choose another folder': NAMES,
    'choose another --out': NAMES,
    'write it with tools/test.py CONFIG CHECKPOINT --out': 'tests/test_tools/test_fuse_scores.py reads such files',
    'to count it twice use --weights': 'tests/test_tools/test_fuse_scores.py',
    'choose --metric among': 'tests/test_tools/test_compare_runs.py',
    'writes its scores into no file': 'tests/test_tools/test_compare_runs.py trains with that backend',
    '{} --test, or set it': 'tests/test_tools/test_compare_runs.py',
    '--show and --show-dir need': 'mmdet alone; its own configs have the hook',
    '--tta needs tta_model and tta_pipeline': 'mmdet alone',
    '--amp would take the place of': 'tests/test_engine/test_mixed_precision.py',
    '--labels pred': 'tests/test_tools/test_export_regions.py',
    "are not the model's own": 'tests/test_tools/test_tune_thresholds.py tests with the flag',
    'choose another --split': 'it names another data set',
    '--classes: the model has no': 'it advises nothing',
    '--classes: at most': 'it advises nothing',
    'leave --halves out': 'tests/test_tools/test_tune_thresholds.py',
    '--batch-size 1': 'tests/test_tools/test_export_regions.py',
    'mmpretrain.MultiLabelDataset, or give the head': 'tests/test_engine/test_label_frequency.py',
    'which nobody has counted yet: add custom_hooks=': 'tests/test_engine/test_class_weights.py has the hook',
    '--out must end with .csv, or with': 'tests/test_tools/test_long_tail.py',
    'has no picture of the split {}: choose another --split': 'tests/test_tools/test_long_tail.py',
    'SeededDataset was not told its seed': 'tests/test_engine/test_seeded.py',
    'set trunk_masks=False in': 'tests/test_engine/test_evidence_visualization.py',
    'crops of it: set crops=None in the model': 'tests/test_engine/test_label_constraints_hook.py',
    'set pretrain_apn=0 and apn=0': 'tests/test_engine/test_racnn_phase.py',
    'with lengths in {}, or change train_cfg': 'tests/test_engine/test_racnn_phase.py',
    'set load_from to this checkpoint': 'tests/test_engine/test_racnn_phase.py',
    'are no multiple of optim_wrapper.accumulative_counts': 'tests/test_engine/test_racnn_phase.py',
    'or set load_from and resume=False': 'tests/test_engine/test_reproducibility.py',
    'leave out --resume and set --cfg-options load_from=': 'tests/test_utils/test_checkpoint.py',
    'train_dataloader gives no batch': 'tests/tiny_run.py trains with drop_last left out',
    'default_hooks.pictures.on_error': 'tests/test_engine has a test of unreadable pictures',
    "protocol='": 'tests/test_datasets/test_nus_wide.py',
    'label noise needs two or more': 'tests/test_datasets/test_noisy_labels.py',
    'set metainfo.classes to the names in use': 'tests/test_datasets',
    'take one, such as split=': 'tests/test_datasets/test_label_files.py',
    'are mixed with those of another picture': 'tests/test_models/test_losses/test_unknown_labels_in_heads.py',
    'Otherwise set fc_from_vgg=None': 'it needs a file of VGG',
    'attention maps of {} cells cannot be put back': 'as for evidence that cannot be fused',
    'set model.with_evidence=True': 'tests/test_racnn_recipes.py',
    '--resume, or choose another --out-dir': 'tests/test_tools/test_predict.py',
    'have no pred_score for each class: write them': 'a detector is needed',
    'Resume with those, or choose another --out-dir': NAMES,
    'there is no file --constraints': 'it advises nothing',
    "set color_type='color' in LoadImageFromFile": 'tests/test_apis/test_pictures.py',
    'or pretrained=False if random weights': 'tests/test_apis/test_inferencer.py',
    'no module of the {} matches --parts': 'it advises nothing',
    '--lams must be finite': 'it advises nothing',
    '--label-sets must not be negative': 'it advises nothing',
    '--cfg-options does not fit the config': 'it advises nothing',
    'or leave out --unlisted unknown': 'tests/test_tools/test_own_data_page.py reads that table without it',
    '--group-by {}': 'tests/test_tools/test_new_project.py',
    'or give --split to have it drawn anew': 'tests/test_projects/test_project_splitting.py draws one anew',
    '--system racnn needs exactly one label': 'tests/test_projects/test_project_config.py trains it and others',
    'name the file of that backbone, or choose another --backbone': 'tests/test_projects/test_project_config.py',
    '--split takes the shares of': 'tests/test_projects/test_project_splitting.py',
    'leave test out with --split 80/20/0': 'tests/test_projects/test_project_splitting.py leaves test out',
    '--reverse needs --layout': 'tests/test_tools/test_convert_ran.py',
    'best class: leave --threshold out': 'tests/test_tools/test_show_errors.py',
    'with other orders alone, --orders random centre': 'tests/test_tools/test_deletion.py',
    'Grad-CAM needs the package grad-cam': 'it advises a package; tools/setup_env.sh installs it',
    'are the plain ones: leave --no-ema out': 'tests/test_hub/test_publishing.py',
    'scores that are not finite: try smaller --lrs': 'no grid that is sure to end finite',
    '--hold-out 0.15 takes one out': 'tests/test_comparison/test_stored_features.py holds out',
    '--hold-out 0.15 takes pictures to choose by': 'tests/test_comparison/test_stored_features.py holds out',
    'check --heads': 'it advises nothing',
    'or choose another --features': 'tests/test_tools/test_compare_heads.py names a folder of features',
    **dict.fromkeys(
        (
            'give it with --format onnx and without --half',
            'several sizes: name one with --size',
            'part of the file: name a size that it keeps with --size',
            'leave --size, --int8 or --pictures out',
            'give a larger --tolerance',
            'leave --dynamic-size out',
            'for --out {}',
            'got --out {}',
            'so no plain rule is known: give --threshold',
            'model.crops=None',
            'model.exit_above=None',
            'model.head.test_cfg.constraints=None',
            'leave --with-logits out',
            'leave --with-evidence out',
            '--format {} needs what is not installed',
            'calibrate on more pictures, --calibrate N',
            'in {}: give --opset {}',
            'give another --size',
            '--opset must lie in',
        ),
        'tests/test_export/test_exporting.py',
    ),
    '--finetune must be best, or names': 'tests/test_tools/test_compare_heads.py takes best',
    '--backbone must be one of {}, or a config': 'tests/test_tools/test_compare_heads.py takes a config',
    'give configs, or --data with --backbone': 'tests/test_tools/test_compare_heads.py gives both',
    '--data needs --backbone, such as': 'tests/test_tools/test_compare_heads.py',
    'a backbone of their own: leave --backbone out': 'tests/test_tools/test_compare_heads.py',
    'leave --pictures out': 'tests/test_tools/test_compare_heads.py gives configs alone',
    'or a larger --hold-out': 'tests/test_comparison/test_stored_features.py holds out',
    '--measured {} ': 'it advises nothing',
    '--perplexity must be above 0': 'it advises nothing',
}
_VERBS = r'\b(set|use|give|take|leave|add|choose|lower|resume|remove|drop|keep|write)\b[^.]*?(\w=|--[a-z])'


def text_of(node: ast.AST) -> str:
    """What a message says, with {} for values."""
    if isinstance(node, ast.JoinedStr):
        return ''.join(map(text_of, node.values))
    return str(node.value) if isinstance(node, ast.Constant) else '{}'


def messages() -> list[str]:
    paths = [path for folder in ('mmlattn', 'tools') for path in (ROOT / folder).rglob('*.py')]
    calls = [
        node
        for path in paths if '.mim' not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'UserError'
    ]  # fmt: skip
    return [' '.join(map(text_of, call.args)) for call in calls]


def test_every_message_that_tells_what_to_set_is_listed():
    done = [advice.says for advice in ADVICE] + [call[1] for call in CALLS.values()]
    telling = [text for text in messages() if re.search(_VERBS, text) or re.search('--[a-z]', text)]
    assert len(telling) > 60
    assert [text for text in telling if not any(part in text for part in [*done, *ELSEWHERE])] == []
    assert [part for part in ELSEWHERE if not any(part in text for text in telling)] == []
