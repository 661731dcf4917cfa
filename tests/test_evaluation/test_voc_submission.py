"""The files for VOC's test server: read back to the last digit, never overwritten, of one process or two."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.datasets.categories import VOC2007_CATEGORIES
from mmpretrain.structures import DataSample
from torch import distributed as dist

from mmlattn.datasets import VOCBox
from mmlattn.evaluation import MultiLabelReport, VOCSubmission
from mmlattn.evaluation.evaluators import metric_names
from mmlattn.utils.errors import UserError

C = len(VOC2007_CATEGORIES)
IDS = [f'2008_{number:06d}' for number in (1, 4, 9, 12, 13)]


def scores():
    values = torch.rand(len(IDS), C, generator=torch.Generator().manual_seed(0))
    values[0, :3] = torch.tensor([1e-30, 0.0, 1.0])
    return values


def samples():
    made = [DataSample().set_pred_score(row) for row in scores()]
    for sample, image_id in zip(made, IDS, strict=True):
        sample.set_field(f'data/JPEGImages/{image_id}.jpg', 'img_path', field_type='metainfo')
    return made


def evaluate(metric, made, count=None):
    evaluator = Evaluator([metric])
    evaluator.dataset_meta = dict(classes=VOC2007_CATEGORIES)
    evaluator.process(made)
    return evaluator.evaluate(count or len(made))


def read(folder):
    """(image, class) of confidences, from lines of an id, a blank and a number without exponent."""
    found = {}
    for path in folder.iterdir():
        name = path.name.removeprefix('comp2_cls_test_').removesuffix('.txt')
        for line in path.read_text().splitlines():
            image, confidence = line.split(' ')
            assert 'e' not in confidence
            found[image, name] = float(confidence)
    return found


def test_files_say_the_scores_to_the_last_digit(tmp_path):
    metric = VOCSubmission(str(tmp_path / 'a'), competition='comp2')
    assert evaluate(metric, samples()) == {'voc-submission/pictures': len(IDS)}
    folder = tmp_path / 'a/results/VOC2012/Main'
    assert len(list(folder.iterdir())) == C and (folder / 'comp2_cls_test_pottedplant.txt').exists()
    found, expected = read(folder), scores().numpy()
    assert len(found) == len(IDS) * C
    for row, image in enumerate(IDS):
        for column, name in enumerate(VOC2007_CATEGORIES):
            assert np.float32(found[image, name]) == expected[row, column]


def test_nothing_is_overwritten_and_another_competition_has_room(tmp_path):
    evaluate(VOCSubmission(str(tmp_path)), samples())
    before = {path: path.read_bytes() for path in tmp_path.rglob('*.txt')}
    with pytest.raises(
        UserError, match=r'comp1_cls_test_aeroplane\.txt exists already; choose another out_dir'
    ):
        VOCSubmission(str(tmp_path))
    evaluate(VOCSubmission(str(tmp_path), competition='comp2', image_set='val'), samples())
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(tmp_path.rglob('*.txt'))) == 2 * C


def test_asking_what_it_measures_writes_nothing(tmp_path):
    assert metric_names(VOCSubmission(str(tmp_path))) == set()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('spoil', 'says'),
    [
        (
            lambda made: made[1].set_pred_score(torch.full((C,), float('nan'))),
            '2008_000004 are not all finite',
        ),
        (lambda made: made.append(copy.deepcopy(made[0])), '2008_000001 is predicted twice'),
        (lambda made: made[0].pop('pred_score'), 'has no pred_score'),
        (
            lambda made: made[2].set_field('', 'img_path', field_type='metainfo'),
            'neither img_id nor img_path',
        ),
        (
            lambda made: [s.set_field(torch.rand(3), 'pred_score') for s in made],
            'scores 3 classes but the data set names 20',
        ),
    ],
)
def test_what_is_refused_leaves_no_file(tmp_path, spoil, says):
    made = samples()
    spoil(made)
    with pytest.raises(UserError, match=says):
        evaluate(VOCSubmission(str(tmp_path)), made)
    assert not list(tmp_path.rglob('*.txt'))
    with pytest.raises(UserError, match="competition must be one of 'comp1', 'comp2'"):
        VOCSubmission(str(tmp_path), competition='comp3')


def one_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2)
    # As DistributedSampler deals them out: the last one twice.
    made = samples()
    evaluate(VOCSubmission(f'{folder}/out', competition='comp2'), (made + made[:1])[rank::2], len(made))
    dist.destroy_process_group()


def test_two_processes_write_one_set_of_files(tmp_path):
    torch.multiprocessing.start_processes(one_rank, (str(tmp_path),), 2, start_method='fork')
    evaluate(VOCSubmission(str(tmp_path / 'alone'), competition='comp2'), samples())
    files = [tmp_path / name / 'results/VOC2012/Main' for name in ('out', 'alone')]
    assert read(files[0]) == read(files[1])


def test_a_run_on_pictures_without_annotations_writes_them(tmp_path, config_of_voc12):
    """From the lists on the disk to the files, by the test tool with the config."""
    from tiny_run import run_tool

    config, checkpoint, ids = config_of_voc12
    done = run_tool('test.py', config, checkpoint, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / 'voc12_submission/results/VOC2012/Main')
    assert {image for image, _ in found} == set(ids) and len(found) == len(ids) * C
    again = run_tool('test.py', config, checkpoint, cwd=tmp_path)
    assert again.returncode and 'exists already; choose another out_dir of VOCSubmission' in again.stderr
    assert 'Traceback' not in again.stderr
    with pytest.raises(UserError, match='neither gt_label nor gt_score'):
        MultiLabelReport().process({}, [dict(pred_score=torch.rand(C))])


@pytest.fixture
def config_of_voc12(tmp_path, coco_root):
    """``csra_r101_voc12.py`` with a small backbone, on pictures of COCO under VOC's names; and its weights."""
    from mmengine.config import Config
    from mmengine.registry import DefaultScope
    from mmpretrain.registry import MODELS

    root = tmp_path / 'VOC2012'
    (root / 'ImageSets/Main').mkdir(parents=True)
    (root / 'JPEGImages').mkdir()
    pictures = sorted((coco_root / 'train2017').glob('*.jpg'))[:2]
    ids = [f'2012_{number:06d}' for number in range(len(pictures))]
    for picture, image_id in zip(pictures, ids, strict=True):
        (root / 'JPEGImages' / f'{image_id}.jpg').symlink_to(picture)
    (root / 'ImageSets/Main/test.txt').write_text('\n'.join(ids))
    configs = Path(__file__).parents[2] / 'configs'
    path = tmp_path / 'voc12.py'
    path.write_text(
        f"_base_ = '{configs}/csra_r101_voc12.py'\n"
        'model = dict(backbone=dict(depth=18, init_cfg=None), head=dict(in_channels=512))\n'
        f"test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root='{root}'))\n"
    )
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = VOCBox(
            **{k: v for k, v in cfg.test_dataloader.dataset.items() if k not in ('type', 'pipeline')}
        )
        assert len(dataset) == len(ids)
        model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'weights.pth')
    return path, tmp_path / 'weights.pth', ids
