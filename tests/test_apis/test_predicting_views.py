"""Several views of a picture in the inferencer and the tools: the same numbers from all of them."""

import csv
import json

import mmengine
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import run_tool

from mmlattn.apis import MultiLabelInferencer, load_model
from mmlattn.structures import Decision, with_decision
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import load_config

CLASSES = tuple('abc')
HEADS = """
head = dict(_delete_=True, num_classes=3, in_channels=32, type={kind!r}, {more})
_base_ = {base!r}
model = dict(neck=None, train_cfg=None, head=head)
default_scope = 'mmpretrain'
test_dataloader = dict(dataset=dict(_delete_=True, type='mmpretrain.MultiLabelDataset', ann_file='a.json',
    data_root={root!r}, pipeline=[dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)),
    dict(type='PackInputs')]))
test_evaluator = [dict(type='mmlattn.MultiLabelReport')]
"""


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Two pictures of different shapes, CSRA and a decoder with random weights."""
    from tiny_run import CONFIG

    folder = tmp_path_factory.mktemp('views')
    (folder / 'base.py').write_text(CONFIG.replace('{data!r}', repr(str(folder))))
    heads = dict(csra=('mmlattn.CSRAHead', 'num_heads=1'), decoder=('mmlattn.CNNRNNHead', ''))
    rng, items = np.random.default_rng(0), []
    for number, size in enumerate([(50, 70), (90, 60)]):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / f'{number}.png')
        items.append(dict(img_path=f'{number}.png', gt_label=[number]))
    annotations = dict(metainfo=dict(classes=CLASSES), data_list=items)
    (folder / 'a.json').write_text(json.dumps(annotations))
    for name, (kind, more) in heads.items():
        text = HEADS.format(base=str(folder / 'base.py'), root=str(folder), kind=kind, more=more)
        (folder / f'{name}.py').write_text(text)
        state = load_model(load_config(str(folder / f'{name}.py')), False).state_dict()
        content = dict(state_dict=state, meta=dict(dataset_meta=dict(classes=CLASSES)))
        if name == 'csra':
            content = with_decision(
                content, Decision(CLASSES, [0.4] * 3, [2.0] * 3, [0.1] * 3, 'f1', 'val', 9)
            )
        torch.save(content, folder / f'{name}.pth')
    return folder


def files(world):
    return [str(world / f'{number}.png') for number in range(2)]


def test_inferencer_and_tools_agree(world, tmp_path):
    views = dict(scales=[1, 1.25], crops='five')
    inferencer = MultiLabelInferencer(world / 'csra.py', str(world / 'csra.pth'), tta=views)
    results = inferencer(files(world), batch_size=2, with_evidence=True, show_dir=tmp_path / 'drawn')
    assert {result['attention_maps'].shape for result in results} == {(3, 4, 4)}
    assert len(list((tmp_path / 'drawn').iterdir())) == 2
    np.testing.assert_allclose([r['attention_maps'].sum(axis=(1, 2)) for r in results], 1, rtol=1e-5)
    plain = MultiLabelInferencer(world / 'csra.py', str(world / 'csra.pth'))(files(world))
    assert not np.allclose([r['pred_scores'] for r in results], [r['pred_scores'] for r in plain], atol=1e-4)
    # Pictures from memory, and one after the other.
    arrays = [np.asarray(Image.open(file))[..., ::-1] for file in files(world)]
    for result, other in zip(results, inferencer(arrays, workers=0), strict=True):
        np.testing.assert_allclose(result['pred_scores'], other['pred_scores'], rtol=1e-5)

    flags = ['--tta', '--tta-scales', '1', '1.25', '--tta-crops', 'five']
    model = [world / 'csra.py', world / 'csra.pth']
    done = run_tool(
        'predict.py', *model, *files(world), '--out-dir', 'out', '--workers', '0', *flags, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / 'out' / 'predictions.csv').open() as table:
        for row, result in zip(csv.DictReader(table), results, strict=True):
            scores = [float(row[f'score:{name}']) for name in CLASSES]
            np.testing.assert_allclose(scores, result['pred_scores'], rtol=1e-4)
    done = run_tool('test.py', *model, '--out', 'tested.pkl', *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '--tta: mean over the views of each logit' in done.stdout + done.stderr
    for sample, result in zip(mmengine.load(tmp_path / 'tested.pkl'), results, strict=True):
        np.testing.assert_allclose(sample['pred_score'], result['pred_scores'], rtol=1e-5)
        assert sample['pred_label'].tolist() == sorted(result['pred_labels'])


def test_a_decoder_keeps_to_what_is_known(world):
    inferencer = MultiLabelInferencer(world / 'decoder.py', str(world / 'decoder.pth'), tta=True)
    known = dict(images={'0.png': dict(present=['c'], absent=['a']), '1.png': dict(count=1)})
    one, other = inferencer(files(world), constraints=known, batch_size=2)
    assert 2 in one['pred_labels'] and 0 not in one['pred_labels'] and len(other['pred_labels']) == 1
    with pytest.raises(UserError, match='RACNN tells nothing that can be said of several views together'):
        MultiLabelInferencer('racnn_r50_cub', False, tta=True)(files(world), with_evidence=True)


@pytest.mark.parametrize(
    ('tta', 'said'),
    [
        (dict(flips=2), 'tta must be a dict with some of scales, crops'),
        (dict(crops='ten'), "must be one of 'five'"),
        (dict(scales=0), 'must be a finite number of 0.1|must lie in'),
    ],
)
def test_views_that_are_none(world, tta, said):
    with pytest.raises(UserError, match=said):
        MultiLabelInferencer(world / 'csra.py', str(world / 'csra.pth'), tta=tta)


def test_views_of_the_config_come_first(world, tmp_path):
    own = tmp_path / 'own.py'
    own.write_text(
        f'_base_ = {str(world / "csra.py")!r}\n'
        "tta_model = dict(type='mmlattn.MultiLabelTTAModel', fuse='max')\n"
        "tta_pipeline = [dict(type='LoadImageFromFile'), dict(type='TestTimeAug', transforms=[[dict(type='Resize', "
        "scale=(64, 64))], [dict(type='PackInputs')]])]\n"
    )
    model = MultiLabelInferencer(own, str(world / 'csra.pth'), tta=True)
    plain = MultiLabelInferencer(own, str(world / 'csra.pth'))
    assert model.tta_model.fuse == 'max'
    for one, other in zip(model(files(world)), plain(files(world)), strict=True):
        assert np.array_equal(one['pred_scores'], other['pred_scores'])
    with pytest.raises(UserError, match='the config has a tta_pipeline, which says what the views are'):
        MultiLabelInferencer(own, str(world / 'csra.pth'), tta=dict(crops='five'))
    done = run_tool(
        'predict.py', own, 'a.pth', 'a.png', '--out-dir', 'out', '--tta-crops', 'five', cwd=tmp_path
    )
    assert done.returncode == 2 and '--tta-scales and --tta-crops need --tta' in done.stderr
