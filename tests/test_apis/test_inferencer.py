"""The multi-label inferencer against the model called by hand."""

import shutil
import subprocess
import sys

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.apis import get_model
from mmpretrain.structures import DataSample
from tiny_run import TOOLS, run_tool

from mmlattn.apis import MultiLabelInferencer
from mmlattn.apis.inferencer import resolve_threshold
from mmlattn.structures import select_labels
from mmlattn.utils.errors import UserError

CLASSES = tuple('0123456789')
SHOW = 'visualization/show_evidence.py'


@pytest.fixture(scope='module')
def setting(tmp_path_factory, digits_csra):
    """Config, checkpoint and five pictures."""
    folder = tmp_path_factory.mktemp('inferencer')
    config, model, content = digits_csra
    checkpoint = folder / 'model.pth'
    torch.save(content, checkpoint)
    rng = np.random.default_rng(0)
    paths = [folder / f'{name}.png' for name in 'abcde']
    for path in paths:
        mmcv.imwrite(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), str(path))
    return config, checkpoint, paths, model


def by_hand(model, path):
    """Scores and maps of one picture, with nothing of the inferencer."""
    image = torch.from_numpy(
        np.ascontiguousarray(mmcv.imread(str(path), channel_order='rgb').transpose(2, 0, 1))
    )
    mean, std = (torch.tensor([v] * 3).view(3, 1, 1) for v in (50.0, 64.0))
    with torch.no_grad():
        feats = model.backbone(((image - mean) / std)[None])
        sample = model.head.predict(feats, with_evidence=True)[0]
    return sample.pred_score, sample.attention_maps


@pytest.fixture(scope='module')
def inferencer(setting):
    """An inferencer on the CPU."""
    config, checkpoint, *_ = setting
    return MultiLabelInferencer(str(config), str(checkpoint), device='cpu')


@pytest.mark.parametrize('batch_size', [1, 2, 8])
def test_agrees_with_the_model(setting, inferencer, batch_size):
    *_, paths, model = setting
    results = inferencer(paths, batch_size=batch_size, with_evidence=True, threshold=0.5)
    assert len(results) == len(paths)
    for path, result in zip(paths, results, strict=True):
        scores, maps = by_hand(model, path)
        np.testing.assert_allclose(result['pred_scores'], scores, atol=1e-5)
        np.testing.assert_allclose(result['attention_maps'], maps, atol=1e-5)
        expected = sorted(
            np.flatnonzero(result['pred_scores'] >= 0.5), key=lambda c: -result['pred_scores'][c]
        )
        assert result['pred_labels'] == expected
        assert result['pred_classes'] == [CLASSES[c] for c in expected]


def test_weights_of_another_network_are_refused_in_one_line(setting, repo_root, tmp_path):
    """And a teacher beside the weights does no harm."""
    config, checkpoint, paths, model = setting
    state = model.state_dict()
    taught = tmp_path / 'taught.pth'
    torch.save(dict(state_dict=state | {f'teacher.{k}': v for k, v in state.items()}), taught)
    taught_scores = MultiLabelInferencer(str(config), taught, device='cpu')(paths[0])[0]['pred_scores']
    np.testing.assert_allclose(taught_scores, by_hand(model, paths[0])[0], atol=1e-5)
    other = str(repo_root / 'configs' / 'linear_mobilenet-v2_stampscenes.py')
    with pytest.raises(
        UserError, match=r'model\.pth holds the weights of another model.*missing are .* in all\)'
    ):
        MultiLabelInferencer(other, str(checkpoint), device='cpu')
    with pytest.raises(UserError, match='another model'):
        MultiLabelInferencer(get_model(other, device='cpu'), str(checkpoint))
    run = run_tool(SHOW, other, checkpoint, paths[0], '--out-dir', tmp_path / 'shown', cwd=tmp_path)
    assert run.returncode == 1 and 'Traceback' not in run.stderr
    assert run.stderr.splitlines()[-1].startswith('error: '), run.stderr
    assert run.stderr.count('backbone.') <= 9, 'three of each kind'
    assert not (tmp_path / 'shown').exists()


def test_evidence_only_on_request(setting, inferencer):
    *_, paths, _ = setting
    assert 'attention_maps' not in inferencer(paths[0], with_evidence=False)[0]


def test_arrays_and_paths_agree(setting, inferencer):
    *_, paths, _ = setting
    array = inferencer(mmcv.imread(str(paths[0])))[0]
    np.testing.assert_array_equal(array['pred_scores'], inferencer(paths[0])[0]['pred_scores'])


def test_topk_and_threshold_at_call_time(setting, inferencer):
    *_, paths, _ = setting
    scores = inferencer(paths[0])[0]['pred_scores']
    order = np.argsort(-scores, kind='stable')
    assert inferencer(paths[0], topk=3)[0]['pred_labels'] == order[:3].tolist()
    limit = float(scores[order[1]])
    assert inferencer(paths[0], topk=3, threshold=limit)[0]['pred_labels'] == order[:2].tolist()
    only = dict.fromkeys(CLASSES, 1.0) | {CLASSES[order[4]]: 0.0}
    assert inferencer(paths[0], threshold=only)[0]['pred_labels'] == [order[4]]


@pytest.mark.parametrize(
    ('scores', 'threshold', 'topk', 'labels'),
    [
        ([0.5, 0.49, 0.9], 0.5, None, [0, 2]),
        ([0.5, 0.49, 0.9], [0.6, 0.4, 0.95], None, [1]),
        ([0.5, 0.49, 0.9], None, 1, [2]),
        ([0.5, 0.5, 0.5], None, 2, [0, 1]),
        ([0.1, 0.2, 0.3], 0.5, 2, []),
        ([0.1, 0.2, 0.3], None, 9, [0, 1, 2]),
    ],
)
def test_label_selection(scores, threshold, topk, labels):
    assert select_labels(torch.tensor(scores), resolve_threshold(threshold, 3), topk).tolist() == labels


@pytest.mark.parametrize(
    ('threshold', 'said'),
    [([0.5, 0.5], '2'), (1.5, r'\[0, 1\]'), (float('nan'), r'\[0, 1\]'), (dict(unicorn=0.2), 'unicorn')],
)
def test_bad_thresholds_are_refused(threshold, said):
    with pytest.raises(ValueError, match=said):
        resolve_threshold(threshold, 3, ['a', 'b', 'c'])


def test_heads_without_evidence_say_so(repo_root, setting):
    *_, paths, _ = setting
    model = get_model(
        Config.fromfile(repo_root / 'configs' / 'linear_resnet-mini_multidigits.py'), device='cpu'
    )
    linear = MultiLabelInferencer(model)
    with pytest.raises(ValueError, match='MultiLabelLinearClsHead cannot tell'):
        linear(paths[0], with_evidence=True)
    assert 'attention_maps' not in linear(paths[0], with_evidence=False)[0]


@pytest.fixture(scope='module')
def masked(tmp_path_factory, repo_root):
    """Config and checkpoint of a residual attention network with a linear head, whose test pipeline crops."""
    folder = tmp_path_factory.mktemp('masked')
    arch = dict(
        stem_channels=8, channels=(16, 32), strides=(1, 2), modules=(1, 2), units=(0, 1), mask_depths=(2, 1)
    )
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='mmlattn.ResidualAttentionNet', arch=arch),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=10, in_channels=32, topk=1),
            ),
            data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True),
            test_dataloader=dict(
                dataset=dict(
                    type='CustomDataset',
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='ResizeEdge', scale=64, edge='short'),
                        dict(type='CenterCrop', crop_size=48),
                        dict(type='PackInputs'),
                    ],
                )
            ),
        )
    )
    torch.manual_seed(0)
    model = get_model(cfg, device='cpu')
    model.init_weights()
    checkpoint, config = folder / 'model.pth', folder / 'ran.py'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES))), checkpoint)
    cfg.dump(str(config))
    return config, checkpoint


@pytest.mark.parametrize('batch_size', [1, 3])
def test_soft_masks_are_evidence_on_request(setting, masked, batch_size):
    """They come in network order, each picture its own, and predictions stay what they are."""
    *_, paths, _ = setting
    ran = MultiLabelInferencer(*map(str, masked), device='cpu')
    plain = ran(paths[:3], batch_size=batch_size)
    results = ran(paths[:3], batch_size=batch_size, with_evidence=True)
    inputs = next(iter(ran.preprocess([str(path) for path in paths[:3]], 3)))
    with torch.no_grad():
        x = ran.model.backbone.stem(ran.model.data_preprocessor(inputs)['inputs'])
        stage = ran.model.backbone.stage1
        x = stage.attention1.pre(stage.transition(x))
        expected = stage.attention1.mask(x, stage.attention1.trunk(x))
    for before, after, mask in zip(plain, results, expected, strict=True):
        np.testing.assert_array_equal(before['pred_scores'], after['pred_scores'])
        assert 'trunk_masks' not in before
        shapes = [(16, 12, 12), (32, 6, 6), (32, 6, 6)]
        assert [m.shape for m in after['trunk_masks']] == shapes
        np.testing.assert_allclose(after['trunk_masks'][0], mask, atol=1e-5)
    assert 'trunk_masks' not in ran(paths[0], with_evidence=False)[0]


def test_soft_masks_beside_what_the_head_tells(setting, masked):
    *_, paths, _ = setting
    cfg = Config.fromfile(masked[0])
    cfg.model.neck = None
    cfg.model.head = dict(type='mmlattn.CSRAHead', num_classes=10, in_channels=32, num_heads=1, lam=0.1)
    both = MultiLabelInferencer(get_model(cfg, device='cpu'))
    result = both(paths[0], with_evidence=True)[0]
    assert result['attention_maps'].shape == (10, 6, 6) and len(result['trunk_masks']) == 3


def test_scales_are_told_and_drawn(setting, masked, tmp_path):
    """Each picture as often as it was looked at; masks of crops do not lie on the picture and are left out."""
    *_, paths, _ = setting
    cfg = Config.fromfile(masked[0])
    cfg.model.update(type='mmlattn.RACNN', localizer='activation', crop=dict(size=32))
    cfg.test_dataloader.dataset.pipeline.pop(2)
    torch.manual_seed(0)
    inferencer = MultiLabelInferencer(get_model(cfg, device='cpu'))
    first = [r['region_scores'][0].max() for r in inferencer(paths[:4], batch_size=4, with_evidence=True)]
    inferencer.model.exit_above = float(np.median(first))
    results = inferencer(paths[:4], batch_size=4, with_evidence=True, show_dir=str(tmp_path))
    for path, score, result in zip(paths, first, results, strict=False):
        looks = len(result['regions'])
        assert (looks == 1) == (score >= inferencer.model.exit_above) and 'trunk_masks' not in result
        assert result['region_scores'].shape == (looks, 10)
        answer = result['fused_scores'][-1] if looks > 1 else result['region_scores'][0]
        np.testing.assert_array_equal(answer, result['pred_scores'])
        cells = 2 if looks == 1 else 1 + looks + 1
        assert mmcv.imread(str(tmp_path / f'{path.stem}.png')).shape[1] == 40 + 210 * cells
    assert 'regions' not in inferencer(paths[0], with_evidence=False)[0]


@pytest.fixture(scope='module')
def decoder(masked, tmp_path_factory):
    """Config and checkpoint of a label decoder whose test pipeline crops, and its inferencer."""
    folder = tmp_path_factory.mktemp('decoder')
    cfg = Config.fromfile(masked[0])
    head = dict(type='mmlattn.CNNRNNHead', num_classes=10, in_channels=32, order='random_fixed')
    backbone = dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4)
    cfg.model = dict(cfg.model, backbone=backbone, head=head)
    torch.manual_seed(0)
    model = get_model(cfg, device='cpu').eval()
    config, checkpoint = folder / 'decoder.py', folder / 'model.pth'
    cfg.dump(str(config))
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES))), checkpoint)
    return config, checkpoint, MultiLabelInferencer(str(config), str(checkpoint), device='cpu')


def test_constraints_hold_for_one_call(setting, decoder):
    """Scores are as sure as what is known; afterwards all is as it was, after an error too."""
    *_, paths, _ = setting
    inferencer = decoder[-1]
    before = inferencer(paths, batch_size=2, with_evidence=True)
    known = dict(
        rules=dict(exclusive=[['0', '1']], absent=[9]),
        images={'a.png': dict(present=['0'], count=2), str(paths[3]): dict(present=['1', 7])},
    )
    with pytest.warns(UserWarning, match='constraints: 1 of 3 images fit no picture: none.png'):
        more = dict(known, images=known['images'] | {'none.png': {}})
        results = inferencer(paths, batch_size=2, constraints=more, with_evidence=True)
    for result in results:
        labels = set(result['pred_labels'])
        assert not {0, 1} <= labels and 9 not in labels and result['pred_scores'][9] < 0.01
        assert set(result['label_path'].tolist()) == labels and result['path_logprob'] < 0
        assert result['pred_classes'] == [CLASSES[label] for label in result['pred_labels']]
        ranked = [result['pred_scores'][label] for label in result['pred_labels']]
        assert ranked == sorted(ranked, reverse=True), 'the path is in its own order, these are not'
    first, fourth = results[0], results[3]
    assert 0 in first['pred_labels'] and len(first['pred_labels']) == 2 and first['pred_scores'][0] > 0.99
    assert {1, 7} <= set(fourth['pred_labels']) and fourth['pred_scores'][0] < 0.01
    with pytest.raises(UserError, match="there is no class 'cat'; there are 10"):
        inferencer(paths, constraints=dict(present=['cat']))
    with pytest.raises(UserError, match=r'no\.png is not there'):
        inferencer(['no.png'], constraints=dict(present=['0']))
    for old, new in zip(before, inferencer(paths, batch_size=2, with_evidence=True), strict=True):
        assert old['label_path'].tolist() == new['label_path'].tolist()
        np.testing.assert_array_equal(old['pred_scores'], new['pred_scores'])


def test_paths_are_those_of_the_model(setting, decoder):
    """In the order of emission, with a picture given as an array, and what is known of all pictures."""
    *_, paths, _ = setting
    inferencer = decoder[-1]
    arrays = [mmcv.imread(str(path)) for path in paths[:3]]
    results = inferencer(
        arrays, batch_size=2, constraints=dict(present=['4', '2'], count=4), with_evidence=True
    )
    inputs = torch.cat([batch['inputs'] for batch in inferencer.preprocess(arrays, 1)])
    model = inferencer.model
    feats = model.extract_feat(model.data_preprocessor(dict(inputs=inputs))['inputs'])
    for index, result in enumerate(results):
        sample = DataSample()
        sample.set_field(torch.tensor([2, 4]), 'label_present')
        sample.set_field(4, 'label_count')
        with torch.no_grad():
            (expected,) = model.head.predict(tuple(x[[index]] for x in feats), [sample], with_evidence=True)
        assert result['label_path'].tolist() == expected.label_path.tolist()
        np.testing.assert_allclose(result['path_logprob'], expected.path_logprob, atol=1e-5)


def test_models_without_a_decoder_take_no_constraints(setting, inferencer):
    *_, paths, _ = setting
    with pytest.raises(
        UserError, match='CSRAHead takes no constraints; label decoders such as CNNRNNHead do'
    ):
        inferencer(paths, constraints=dict(present=['4']))


def test_show_evidence_draws_paths_under_constraints(setting, decoder, tmp_path):
    """They lie nowhere in the picture, so a test pipeline that crops does no harm."""
    *_, paths, _ = setting
    known = tmp_path / 'known.json'
    known.write_text('{"images": {"a.png": {"present": ["8"], "absent": ["0"], "count": 1}}}')
    run = run_tool(
        SHOW, *decoder[:2], paths[0], '--out-dir', 'shown', '--cell-size', '100',
        '--constraints', known, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert f'{paths[0]}: 8 1.00' in run.stdout
    assert mmcv.imread(str(tmp_path / 'shown' / 'a.png')).shape[1] == 2 * 100 + 5 + 2 * 12


@pytest.mark.slow
def test_show_evidence_draws_masks_of_whole_pictures(masked, tmp_path):
    """A network with a crop in its test pipeline, pictures of several sizes."""
    pictures = []
    for name, shape in dict(wide=(40, 90, 3), tall=(100, 30, 3)).items():
        pictures.append(tmp_path / f'{name}.png')
        mmcv.imwrite(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), str(pictures[-1]))
    command = [SHOW, *masked, *pictures, '--cell-size', '100', '--out-dir']
    refused = run_tool(*command, 'no', cwd=tmp_path)
    assert refused.returncode == 1 and 'crops, pads or resizes twice' in refused.stderr
    run = run_tool(*command, 'shown', '--no-crop', cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert sorted(path.name for path in (tmp_path / 'shown').iterdir()) == ['tall.png', 'wide.png']


def test_show_evidence_takes_folders(setting, repo_root, tmp_path):
    """Their pictures only; folders inside, and what is no picture, are left alone."""
    config, checkpoint, paths, _ = setting
    folder, empty = tmp_path / 'pictures', tmp_path / 'empty'
    for path in (folder / 'sub', empty):
        path.mkdir(parents=True)
    for source, name in zip(paths, ('b.png', 'a.PNG', 'sub/c.png'), strict=False):
        shutil.copy(source, folder / name)
    (folder / 'notes.txt').write_text('no picture')
    options = ('--out-dir', tmp_path / 'shown', '--cell-size', '80')
    run = run_tool(SHOW, config, checkpoint, folder, paths[4], *options, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    drawn = sorted(path.relative_to(tmp_path / 'shown') for path in (tmp_path / 'shown').rglob('*.png'))
    assert [path.parts[-2:] for path in drawn] == [
        (paths[4].parent.name, 'e.png'), ('pictures', 'a.png'), ('pictures', 'b.png')
    ]  # fmt: skip
    places = [run.stdout.find(f'{path}: ') for path in (folder / 'a.PNG', folder / 'b.png', paths[4])]
    assert -1 < places[0] < places[1] < places[2]
    refused = run_tool(SHOW, config, checkpoint, empty, *options, cwd=tmp_path)
    assert refused.returncode == 1 and 'has no pictures; looked for .jpg' in refused.stderr


@pytest.mark.slow
def test_show_evidence_draws_and_never_overwrites(setting, repo_root, tmp_path):
    config, checkpoint, paths, _ = setting
    args = (config, checkpoint, *paths[:2], '--out-dir', tmp_path / 'shown', '--topk', '2')
    # Once as its users start it: nothing is imported but what it imports itself.
    run = subprocess.run([sys.executable, TOOLS / SHOW, *args], capture_output=True, text=True, cwd=repo_root)
    assert run.returncode == 0, run.stderr
    drawn = {p.name: p.read_bytes() for p in (tmp_path / 'shown').iterdir()}
    assert sorted(drawn) == ['a.png', 'b.png']
    again = run_tool(SHOW, *args, cwd=tmp_path)
    assert again.returncode == 1 and 'exists already' in again.stderr
    assert {p.name: p.read_bytes() for p in (tmp_path / 'shown').iterdir()} == drawn


def test_maps_of_a_cropped_input_are_not_drawn_on_the_picture(setting, tmp_path):
    config, checkpoint, paths, _ = setting
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type='CenterCrop', crop_size=32))
    inferencer = MultiLabelInferencer(cfg, str(checkpoint), device='cpu')
    inferencer(paths[:1], with_evidence=True)
    with pytest.raises(ValueError, match='crops, pads or resizes twice'):
        inferencer(paths[:1], with_evidence=True, show_dir=str(tmp_path))
