"""A classifier of every system as a file: the file says what the model says, and its metadata suffice to use it."""

import json
import os
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from export_cases import MODELS_OF, NAMES, write_case
from PIL import Image
from reference.ran import randomise
from tiny_run import TOOLS, run_tool

from mmlattn.apis import MultiLabelInferencer
from mmlattn.apis.exporting import ExportOptions, check_packages, export_classifier
from mmlattn.export import formats
from mmlattn.structures import Decision, with_decision
from mmlattn.utils.errors import UserError

pytestmark = pytest.mark.export
pytest.importorskip('onnxruntime')


def export(folder, name, suffix='.onnx', lines=None, changes=None, **options):
    """The file, the config and the checkpoint of a case."""
    cfg, checkpoint = write_case(folder, name, **changes or {})
    out = folder / f'model{suffix}'
    export_classifier(
        cfg, str(checkpoint), out, ExportOptions(check=3, **options), ([] if lines is None else lines).append
    )
    return out, cfg, checkpoint


def metadata(file):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=['CPUExecutionProvider'])
    return session, {n: json.loads(t) for n, t in session.get_modelmeta().custom_metadata_map.items()}


def program_of(file):
    """The program of torch in a file, and its metadata."""
    extra = {'mmlattn.json': ''}
    return torch.export.load(file, extra_files=extra), json.loads(extra['mmlattn.json'])


EVIDENCE = {
    'CSRA': ['attention_maps'],
    'RAN': ['trunk_masks_0'],
    'ST-LSTM': ['regions', 'region_scores'],
    'RA-CNN': ['regions', 'region_scores', 'fused_scores'],
    'CNN-RNN, attention': ['label_path', 'path_logprob', 'attention_maps'],
}


@pytest.mark.slow
@pytest.mark.parametrize('name', EVIDENCE)
def test_onnx_says_what_predict_says(tmp_path, name):
    """The command's own comparison, evidence included; it is tried on a wrong model below."""
    out, cfg, checkpoint = export(tmp_path, name, evidence=True)
    session, meta = metadata(out)
    names = [value.name for value in session.get_outputs()]
    assert names == ['scores', *EVIDENCE[name]] == [output['name'] for output in meta['outputs']]
    assert session.get_inputs()[0].name == 'image' and session.get_inputs()[0].shape == ['batch', 3, 64, 64]
    assert session.get_outputs()[0].shape == ['batch', 5]
    assert (
        meta['classes'] == list(NAMES) and meta['mean'] == [120, 110, 100] and meta['channel_order'] == 'RGB'
    )
    assert meta['task'] == ('single-label' if name in ('RAN', 'RA-CNN') else 'multi-label')
    # Beside the comparison within the command, which is on noise: pictures through inferencer and example.
    for number, (height, width) in enumerate(((70, 90), (64, 64))):
        pixels = np.random.default_rng(number).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        Image.fromarray(pixels).resize((width, height)).save(tmp_path / f'{number}.png')
    pictures = [str(tmp_path / f'{number}.png') for number in range(2)]
    inferencer = MultiLabelInferencer(cfg, str(checkpoint), device='cpu')
    predictor = runpy.run_path(str(TOOLS / 'deployment/predict_onnx.py'))
    for picture, wanted in zip(pictures, inferencer(pictures, with_evidence=True), strict=True):
        image = predictor['prepare'](picture, meta)[None]
        found = dict(zip(names, session.run(None, {'image': image}), strict=True))
        values, labels = predictor['decide'](found, meta['decision'])
        np.testing.assert_allclose(values, wanted['pred_scores'], atol=1e-4)
        assert sorted(labels) == sorted(wanted['pred_labels'])
        for field in set(EVIDENCE[name]) - {'label_path', 'trunk_masks_0'}:
            np.testing.assert_allclose(found[field][0], wanted[field], atol=1e-4)


@pytest.mark.parametrize('name', ['linear', 'stock linear', 'ML-Decoder'])
def test_a_program_of_torch_says_the_same_and_knows_the_same(tmp_path, name):
    out, *_ = export(tmp_path, name, '.pt2', format='torch', logits=True)
    program, meta = program_of(out)
    names = [output['name'] for output in meta['outputs']]
    assert names[:2] == ['scores', 'logits'] and meta['classes'] == list(NAMES)
    outputs = dict(zip(names, program.module()(torch.rand(4, 3, 64, 64)), strict=True))
    activation = dict(softmax=lambda x: x.softmax(1), sigmoid=torch.sigmoid)[meta['activation']]
    torch.testing.assert_close(activation(outputs['logits']), outputs['scores'])
    assert meta['activation'] == 'sigmoid'


@pytest.mark.slow
@pytest.mark.parametrize('name', ['CSRA', 'ST-LSTM'])
def test_openvino(tmp_path, name):
    openvino = pytest.importorskip('openvino')
    out, *_ = export(tmp_path, name, '.xml', format='openvino', evidence=True)
    model = openvino.Core().read_model(str(out))
    assert json.loads(model.get_rt_info(['mmlattn']).astype(str))['classes'] == list(NAMES)
    assert [port.get_any_name() for port in model.outputs] == ['scores', *EVIDENCE[name]]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f'{name}.pth', 'model.bin', 'model.xml']


def test_any_size_and_pixels_as_they_are(tmp_path):
    """The command itself tries other sizes; the pixels are those of a picture, RGB."""
    lines = []
    out, *_ = export(
        tmp_path, 'CSRA', lines=lines, evidence=True, dynamic_size=True, preprocessing='nhwc', half=True
    )
    assert any('on other sizes' in line for line in lines) and 'float16' in lines[-1]
    session, meta = metadata(out)
    (image,) = session.get_inputs()
    assert image.shape == ['batch', 'height', 'width', 3] and image.type == 'tensor(uint8)'
    assert meta['input']['normalised_in_graph'] and meta['precision'] == 'float16'
    assert all(value.type == 'tensor(float)' for value in session.get_outputs())


def test_a_network_of_one_size_is_refused_for_any(tmp_path):
    with pytest.raises(UserError, match=r'built for pictures of \(64, 64\).*leave --dynamic-size out'):
        export(tmp_path, 'RA-CNN', '.pt2', format='torch', dynamic_size=True)
    assert [path.name for path in tmp_path.iterdir()] == ['RA-CNN.pth']


def test_the_other_order_of_channels_and_no_statistics(tmp_path):
    """A config without to_rgb reads what OpenCV gives, BGR; the file takes RGB all the same."""
    cfg, checkpoint = write_case(tmp_path, 'linear')
    for preprocessor, order in ((dict(), 'BGR'), (dict(mean=[9.0, 8, 7], std=[1.0, 2, 3]), 'BGR')):
        cfg.data_preprocessor = preprocessor
        out = tmp_path / f'{len(preprocessor)}.pt2'
        options = ExportOptions(format='torch', preprocessing='nchw', check=2)
        worst = export_classifier(cfg, str(checkpoint), out, options, str)
        _, meta = program_of(out)
        assert meta['channel_order'] == order and meta['input']['order'] == 'RGB' and worst['scores'] < 1e-5
        assert meta['mean'] == preprocessor.get('mean', [0, 0, 0])


RULES = {
    'a threshold': ('CSRA', {}, dict(rule='threshold', thresholds=[0.6] * 5, topk=None)),
    'both': ('ST-LSTM', {}, dict(rule='threshold', thresholds=[0.3] * 5, topk=2)),
    'the best two': ('linear', {}, dict(rule='threshold', thresholds=None, topk=2)),
    'the best': ('RAN', {}, dict(rule='best')),
    'a path': ('CNN-RNN', {}, dict(rule='path')),
    'marginals': ('CNN-RNN, marginal', {}, dict(rule='threshold', thresholds=[0.3] * 5, topk=2)),
    'given': ('linear', dict(threshold=0.7), dict(rule='threshold', thresholds=[0.7] * 5, topk=None)),
}


@pytest.mark.parametrize('case', RULES)
def test_the_rule_for_labels(tmp_path, case):
    from mmlattn.apis.loading import load_model
    from mmlattn.export.label_rule import label_rule, labels_of

    name, options, wanted = RULES[case]
    cfg, checkpoint = write_case(tmp_path, name)
    model = load_model(cfg, str(checkpoint)).eval()
    rule = label_rule(model, 5, **options)
    assert {key: rule[key] for key in wanted} == wanted
    if rule['rule'] != 'path' and not options:
        with torch.no_grad():
            samples = model.predict(3 * torch.randn(6, 3, 64, 64))
        scores = torch.stack([sample.pred_score for sample in samples]).numpy()
        wanted = [set(sample.pred_label.tolist()) for sample in samples]
        assert [set(labels) for labels in labels_of(dict(scores=scores), rule)] == wanted


def test_a_head_with_a_rule_of_its_own_is_exported_with_a_threshold(tmp_path):
    """As the message advises."""
    from mmlattn.apis.loading import load_model
    from mmlattn.export.label_rule import label_rule

    cfg, checkpoint = write_case(tmp_path, 'CSRA')
    model = load_model(cfg, str(checkpoint)).eval()
    model.head.select = lambda scores: [row.argsort()[1:3] for row in scores]
    with pytest.raises(UserError, match=r'neither by thr nor by topk.*give --threshold'):
        label_rule(model, 5)
    assert label_rule(model, 5, threshold=0.5)['thresholds'] == [0.5] * 5


@pytest.mark.parametrize('activation', ['sigmoid', 'softmax'])
def test_a_stored_decision_travels(tmp_path, activation):
    """Calibration, thresholds, one of which is never reached; the example decides as the inferencer does."""
    name = 'CSRA' if activation == 'sigmoid' else 'RAN'
    cfg, checkpoint = write_case(tmp_path, name)
    softmax = activation == 'softmax'
    decision = Decision(
        NAMES, [] if softmax else [0.2, 0.9, float('inf'), 0.5, 0.4], [0.5] * 5 if softmax else [0.5, 1, 2, 1, 1],
        [0.0] * 5 if softmax else [0.1, -1, 0, 0, 2], 'f1', 'val', 10, activation,
    )  # fmt: skip
    torch.save(with_decision(torch.load(checkpoint), decision), checkpoint)
    out = tmp_path / 'model.pt2'
    lines = []
    export_classifier(cfg, str(checkpoint), out, ExportOptions(format='torch', check=6), lines.append)
    assert any(line.endswith('the same for 7 of 7') for line in lines), lines
    rule = program_of(out)[1]['decision']
    assert rule['calibration']['scale'] == list(decision.scale) and rule['chosen'] == decision.summary()
    scores = torch.rand(20, 5).softmax(1) if softmax else torch.rand(20, 5)
    predictor = runpy.run_path(str(TOOLS / 'deployment/predict_onnx.py'))
    for row in scores:
        values, labels = predictor['decide'](dict(scores=row[None].numpy()), rule)
        np.testing.assert_allclose(values, decision.calibrate(row), atol=1e-6)
        wanted = decision.select(decision.calibrate(row))
        wanted = [int(row.argmax())] if wanted is None else wanted.nonzero()[:, 0].tolist()
        assert sorted(labels) == wanted


def test_norms_are_folded(tmp_path):
    """Each normalisation that alone reads a convolution; in pre-activated units others do too."""
    from mmlattn.apis.loading import load_model
    from mmlattn.export.folding import fold_batch_norms, folded

    cfg, checkpoint = write_case(tmp_path, 'RAN')
    model = load_model(cfg, str(checkpoint)).eval()
    plain, x = folded(model), torch.randn(2, 3, 64, 64)
    norms = sum(isinstance(m, torch.nn.BatchNorm2d) for m in plain.modules())
    with torch.no_grad():
        before = plain(x, mode='tensor')
        count = fold_batch_norms(plain, x)
        torch.testing.assert_close(plain(x, mode='tensor'), before, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model(x, mode='tensor'), before)
    assert 10 < count < norms
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in plain.modules()) == norms - count


class Rectified(torch.nn.BatchNorm2d):
    """Normalises and rectifies, as timm's layers do."""

    def forward(self, x):
        return super().forward(x).relu()


class Branches(torch.nn.Module):
    """Two normalised convolutions, one of which is read twice, and one that is rectified in the same layer."""

    def __init__(self):
        super().__init__()
        self.convs = torch.nn.ModuleList(torch.nn.Conv2d(2, 2, 1) for _ in range(3))
        self.norms = torch.nn.ModuleList([torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2), Rectified(2)])

    def forward(self, x, mode):
        x = self.norms[0](self.convs[0](x))
        y = self.convs[1](x)
        return self.norms[2](self.convs[2](y + self.norms[1](y)))


def test_only_what_is_read_once_and_does_nothing_else_is_folded():
    from mmlattn.export.folding import fold_batch_norms

    model = randomise(Branches()).eval()
    x = torch.randn(3, 2, 4, 4)
    before = model(x, 'tensor')
    assert fold_batch_norms(model, x) == 1
    torch.testing.assert_close(model(x, 'tensor'), before)
    assert [type(norm).__name__ for norm in model.norms] == ['Identity', 'BatchNorm2d', 'Rectified']


def test_rows_of_csra_are_folded(tmp_path):
    from mmlattn.apis.loading import load_model
    from mmlattn.export.folding import folded

    cfg, checkpoint = write_case(tmp_path, 'CSRA')
    model, x = load_model(cfg, str(checkpoint)).eval(), torch.randn(2, 3, 64, 64)
    plain = folded(model)
    assert model.head.normalize and not plain.head.normalize
    torch.testing.assert_close(plain.head.weight.norm(dim=-1), torch.ones(2, 5))
    torch.testing.assert_close(plain(x, mode='tensor'), model(x, mode='tensor'))


def test_a_file_that_says_something_else_gets_no_name(tmp_path, monkeypatch):
    """A graph of other weights than the model's: exit status 1 in the tool, and nothing is left."""
    trace = formats.trace

    def other(model, *args):
        model.model.head.weight.add_(0.5)
        return trace(model, *args)

    monkeypatch.setattr(formats, 'trace', other)
    with pytest.raises(
        UserError, match=r'says something else than the model: scores by .*nothing is written'
    ):
        export(tmp_path, 'CSRA', '.pt2', format='torch')
    assert [path.name for path in tmp_path.iterdir()] == ['CSRA.pth']
    out, *_ = export(tmp_path, 'CSRA', '.pt2', format='torch', tolerance=1.0)
    assert out.exists()


CONSTRAINED = dict(test_cfg=dict(beam=2, max_len=2, constraints=dict(present=[0])))
REFUSED = {
    'it exists': (lambda f: (f / 'model.pt2').touch(), 'CSRA', {}, 'exists and is not overwritten'),
    'no evidence': (None, 'stock linear', dict(evidence=True), 'leave --with-evidence out'),
    'no logits': (None, 'CNN-RNN', dict(logits=True), 'leave --with-logits out'),
    'int8': (None, 'CSRA', dict(int8=True), '--format onnx and without --half'),
    'size': (None, 'CSRA', dict(size=(32, 32), pictures=['a.png']), 'a.png is not there'),
    'crops': (
        None, 'CSRA', dict(changes=dict(type='mmlattn.MultiCropClassifier', margin=8)), 'model.crops=None',
    ),
    'constraints': (
        None, 'CNN-RNN', dict(changes=dict(head=MODELS_OF['CNN-RNN']['head'] | CONSTRAINED)), 'constraints=None',
    ),
    'a size too small': (None, 'CSRA', dict(size=(1, 1)), r'does not run on pictures of \(1, 1\).*another --size'),
    'opset': (None, 'CSRA', dict(opset=99), r'--opset must lie in \[18, 23\], got 99'),
    'early exit': (None, 'RA-CNN', dict(changes=dict(exit_above=0.9)), 'model.exit_above=None'),
}  # fmt: skip


@pytest.mark.parametrize('case', REFUSED)
def test_what_cannot_be_exported(tmp_path, case):
    prepare, name, options, says = REFUSED[case]
    if prepare:
        prepare(tmp_path)
    with pytest.raises(UserError, match=says):
        export(tmp_path, name, '.pt2', **dict(format='torch') | options)
    assert not (tmp_path / 'model.pt2').exists() or (tmp_path / 'model.pt2').stat().st_size == 0


def test_what_is_missing_is_told_before_the_work(tmp_path, monkeypatch):
    """Data for int8; how long a graph of many steps takes; names that nobody stored. Nothing is traced here."""

    def stop(*args):
        raise UserError('traced')

    monkeypatch.setattr(formats, 'trace', stop)
    with pytest.raises(UserError, match=r'--cfg-options val_dataloader\.dataset\.data_root'):
        export(tmp_path, 'CSRA', int8=True)
    with pytest.raises(UserError, match=r'this config does not work.*Nope'):
        export(
            tmp_path, 'CSRA', changes=dict(dataset=dict(type='CustomDataset', pipeline=[dict(type='Nope')]))
        )
    monkeypatch.setattr('mmlattn.export.wrapper.MANY_STEPS', 1)
    for name, steps in (('CNN-RNN', True), ('linear', False)):
        lines = []
        with pytest.raises(UserError, match='traced'):
            export(tmp_path, name, lines=lines)
        assert any('2 steps of beam search' in line and 'max_len=N' in line for line in lines) == steps
        assert not any('--classes' in line for line in lines)
    cfg, checkpoint = write_case(tmp_path, 'linear')
    torch.save(dict(state_dict=torch.load(checkpoint)['state_dict']), checkpoint)
    with pytest.raises(UserError, match='traced'):
        export_classifier(cfg, str(checkpoint), tmp_path / 'model.onnx', ExportOptions(), lines.append)
    assert 'called 0 to 4: --classes FILE' in lines[-1]


def test_any_difference_is_too_large_for_a_tolerance_of_nothing():
    from mmlattn.apis.exporting import _check_worst

    _check_worst(dict(scores=0.0), ExportOptions(tolerance=0.0))
    with pytest.raises(UserError, match='scores by 1e-09, where 0 is allowed'):
        _check_worst(dict(scores=1e-9), ExportOptions(tolerance=0.0))


def test_another_size_than_that_of_the_pictures(tmp_path):
    """Random inputs are compared, and the file does not claim that the steps of the pipeline give its size."""
    (tmp_path / 'pictures').mkdir()
    Image.new('RGB', (70, 90)).save(tmp_path / 'pictures' / 'a.png')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=64), dict(type='PackInputs')]
    data = dict(
        type='CustomDataset', data_root=str(tmp_path / 'pictures'), pipeline=pipeline, with_label=False
    )
    for size, said in (
        (96, r'3 random inputs \(none of the pictures has the size'),
        (64, '1 pictures of the test'),
    ):
        lines = []
        out, *_ = export(
            tmp_path, 'linear', f'{size}.pt2', lines, dict(dataset=data), format='torch', size=(size, size)
        )
        assert any(re.match(f'comparing with predict on {said}', line) for line in lines), lines
        picture = program_of(out)[1]['picture']
        assert ('--size' in (picture['problem'] or '')) == (picture['steps'] is None) == (size == 96)
    with pytest.raises(UserError, match=r'none of the pictures has the size \(96, 96\)'):
        export(
            tmp_path, 'linear', 'given.pt2', format='torch', size=(96, 96),
            pictures=[str(tmp_path / 'pictures' / 'a.png')],
        )  # fmt: skip


def test_ranges_are_found_on_pictures_as_the_test_pipeline_makes_them(tmp_path):
    """Whatever the val pipeline makes of them."""
    from mmlattn.apis.loading import load_model
    from mmlattn.apis.pixel_source import PixelSource

    (tmp_path / 'pictures').mkdir()
    for number in range(5):
        Image.new('RGB', (70, 90)).save(tmp_path / 'pictures' / f'{number}.png')
    load, pack = dict(type='LoadImageFromFile'), dict(type='PackInputs')
    data = dict(type='CustomDataset', data_root=str(tmp_path / 'pictures'), with_label=False)
    cfg, checkpoint = write_case(
        tmp_path, 'linear', data | dict(pipeline=[load, dict(type='Resize', scale=64), pack])
    )
    cfg.val_dataloader = dict(dataset=data | dict(pipeline=[load, pack]))
    items = PixelSource(cfg, load_model(cfg, str(checkpoint))).of_split('val', 3)
    assert [tuple(item['inputs'].shape) for item in items] == [(3, 64, 64)] * 3
    assert [Path(item['data_samples'].img_path).stem for item in items] == ['0', '2', '4']


def test_a_preprocessor_that_no_file_could_tell_is_refused(tmp_path, monkeypatch):
    from mmpretrain.models import ClsDataPreprocessor

    forward = ClsDataPreprocessor.forward

    def brighter(self, data, training=False):
        data = forward(self, data, training)
        return data | dict(inputs=data['inputs'].exp())

    monkeypatch.setattr(ClsDataPreprocessor, 'forward', brighter)
    with pytest.raises(UserError, match=r'more than \(pixel - mean\) / std'):
        export(tmp_path, 'linear', '.pt2', format='torch')


def test_an_interrupt_while_the_folder_is_made_leaves_nothing(tmp_path, monkeypatch):
    from mmlattn.apis import exporting

    mkdir = Path.mkdir

    def interrupted(folder):
        mkdir(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, 'mkdir', interrupted)
    with pytest.raises(KeyboardInterrupt), exporting._workplace(tmp_path / 'a.onnx'):
        pass
    assert not list(tmp_path.iterdir())


def test_of_several_files_all_get_their_names_or_none(tmp_path, monkeypatch):
    """Ctrl-C between the two files of OpenVINO."""
    from mmlattn.apis import exporting

    (tmp_path / 'work').mkdir()
    written = [tmp_path / 'work' / name for name in ('a.xml', 'a.bin')]
    for path in written:
        path.touch()
    replace = os.replace

    def interrupted(source, target):
        if source == written[1]:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(exporting.os, 'replace', interrupted)
    with pytest.raises(KeyboardInterrupt):
        exporting._place(written, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['work']


def test_other_ends_and_missing_packages(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r'ends in \.onnx'):
        formats.check_path('onnx', tmp_path / 'a.pt2')
    with pytest.raises(UserError, match='there is no folder'):
        formats.check_path('onnx', tmp_path / 'none' / 'a.onnx')
    (tmp_path / 'a.bin').touch()
    with pytest.raises(UserError, match=r'a\.bin exists'):
        formats.check_path('openvino', tmp_path / 'a.xml')
    monkeypatch.setattr('mmlattn.apis.exporting.find_spec', lambda name: None)
    with pytest.raises(UserError, match='pip install onnx onnxscript onnxruntime'):
        check_packages('onnx')


def test_a_large_model_has_its_weights_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, 'MOST_IN_ONE_FILE', 1000)
    out, *_ = export(tmp_path, 'linear')
    assert (tmp_path / 'model.onnx.data').exists()
    session, _ = metadata(out)
    assert session.run(['scores'], {'image': np.zeros((1, 3, 64, 64), np.float32)})[0].shape == (1, 5)


@pytest.mark.slow
def test_the_example_decides_as_our_pipeline_on_real_pictures(tmp_path, coco_root):
    """The example by itself on a folder, and 8 bits with their cost, by the command."""
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='ResizeEdge', scale=72),
        dict(type='CenterCrop', crop_size=64),
        dict(type='PackInputs'),
    ]
    data = dict(
        type='mmlattn.COCOMultiLabel', data_root=str(coco_root), ann_file='annotations/instances_train2017.json',
        data_prefix='train2017', pipeline=pipeline, test_mode=True,
        metainfo=dict(classes=['person', 'bicycle', 'car', 'motorcycle', 'airplane']),
    )  # fmt: skip
    pictures = sorted(map(str, (coco_root / 'train2017').iterdir()))
    cfg, checkpoint = write_case(tmp_path, 'linear', data)
    results = MultiLabelInferencer(cfg, str(checkpoint), device='cpu')(pictures, batch_size=16)
    # Half of the pictures has each class.
    medians = np.median([result['pred_scores'] for result in results], axis=0).astype(float).tolist()
    decision = Decision(NAMES, medians, [1.0] * 5, [0.0] * 5, 'halves', 'val', len(pictures))
    torch.save(with_decision(torch.load(checkpoint), decision), checkpoint)
    out = tmp_path / 'model.onnx'
    export_classifier(cfg, str(checkpoint), out, ExportOptions(check=2), str)
    done = run_tool('deployment/predict_onnx.py', out, *pictures, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = [line.split('\t') for line in done.stdout.splitlines()]
    labels = [{label.rpartition(' ')[0] for label in rest} for _, *rest in told]
    results = MultiLabelInferencer(cfg, str(checkpoint), device='cpu')(pictures, batch_size=16)
    assert labels == [set(result['pred_classes']) for result in results]
    assert len({frozenset(each) for each in labels}) > 2, labels

    cfg.dump(tmp_path / 'config.py')
    flags = ['--int8', '--calibrate', '8', '--evaluate', '20', '--check', '2', '--out', 'small.onnx']
    done = run_tool('export.py', 'config.py', checkpoint, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '2 pictures of the test data set' in done.stdout
    cost = re.search(r'8 pictures of the val .*: mAP ([\d.]+) -> ([\d.]+) .* on 20 pictures', done.stdout)
    assert abs(float(cost[1]) - float(cost[2])) < 25, done.stdout
    _, meta = metadata(tmp_path / 'small.onnx')
    assert meta['precision'] == 'int8' and (tmp_path / 'small.onnx').stat().st_size > 0
    import onnx

    kinds = {node.op_type for node in onnx.load(tmp_path / 'small.onnx').graph.node}
    assert {'QuantizeLinear', 'DequantizeLinear'} <= kinds
