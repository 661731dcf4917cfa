"""Diagnostics of regions: against figures by hand, and as they come out of real runs."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch import nn
from torchvision.ops import box_iou

from mmlattn.engine import RegionDiagnosticsHook
from mmlattn.engine.hooks.region_diagnostics import RegionMeter, region_figures
from mmlattn.models import STLSTM, STLSTMHead
from mmlattn.models.layers.spatial_transformer import theta_to_boxes
from mmlattn.models.st_lstm.regions import region_anchors
from mmlattn.utils.checkpoint.loading import use_safe_loading


def test_figures_by_hand():
    """The quadrants at their anchors round a small, mirrored first region."""
    anchors, mask = region_anchors(5)
    quadrants = torch.cat([torch.full((4, 2), 0.5), anchors[1:]], dim=1)
    moved = quadrants + torch.tensor([0, 0, 0.3, 0.4])
    first = torch.tensor([[-0.25, 0.5, 0.0, 0.0]])
    figures = region_figures(
        torch.stack([torch.cat([first, rest]) for rest in (quadrants, moved)]), anchors, mask, (10, 20)
    )
    torch.testing.assert_close(figures['scale'], torch.full((2,), (4 * 0.5 + 0.375) / 5))
    # Widths of 10 cells and one of 5, heights of 5.
    torch.testing.assert_close(figures['cells'], torch.full((2,), (4 * 7.5 + 5.0) / 5))
    torch.testing.assert_close(figures['anchor_distance'], torch.tensor([0.0, 0.5]), atol=1e-6, rtol=0)
    torch.testing.assert_close(figures['mirrored'], torch.full((2,), 0.2))
    # The first has half the area of a quadrant and shares a quarter of its own with each: 0.25 / (1.5 - 0.125) ...
    torch.testing.assert_close(figures['iou'][0], torch.tensor(4 * (0.125 / (1 + 0.5 - 0.125)) / 10))
    torch.testing.assert_close(figures['coverage'][0], torch.tensor(1.0))


def test_figures_against_other_libraries():
    torch.manual_seed(0)
    theta = torch.cat([torch.rand(3, 6, 2) - 0.2, torch.rand(3, 6, 2) * 2.4 - 1.2], dim=-1).double()
    figures = region_figures(theta, *region_anchors(6), (7, 7))
    upper = torch.ones(6, 6).triu(1).bool()
    cells = (torch.arange(500, dtype=torch.float64) + 0.5) / 500
    for index, boxes in enumerate(theta_to_boxes(theta)):
        torch.testing.assert_close(figures['iou'][index], box_iou(boxes, boxes)[upper].mean())
        y, x = torch.meshgrid(cells, cells, indexing='ij')
        hit = [(x0 < x) & (x < x1) & (y0 < y) & (y < y1) for x0, y0, x1, y1 in boxes]
        share = torch.stack(hit).any(0).double().mean()
        torch.testing.assert_close(figures['coverage'][index], share, atol=5e-3, rtol=0)


class StepHead(nn.Module):
    """Scores of the steps are the features themselves."""

    def step_scores(self, feats):
        return feats.step_feats


def make_neck(**options):
    options = dict(num_steps=2, region_size=2, region_pool=None, embed_dims=4, hidden_dims=4) | options
    return STLSTM(3, out_dims=3, **options).eval()


def measure(neck, scores, samples):
    """The figures of one batch whose steps have these scores."""
    watch = RegionMeter(neck, StepHead())
    watch.start()
    output = neck(torch.rand(4, 3, 4, 4))
    watch._seen = []
    watch._record(neck, (torch.rand(1, neck.in_channels, 4, 4),), output._replace(step_feats=scores))
    watch.count(samples)
    return watch.finish()


def test_the_spread_is_that_of_the_centres_of_all_batches():
    torch.manual_seed(0)
    neck, watch, centres = make_neck(), RegionMeter(make_neck(), None), []
    watch.start()
    for pictures in (3, 1, 4):
        output = neck(torch.rand(pictures, 3, 4, 4))
        output = output._replace(theta=torch.randn(pictures, 2, 4))
        watch._record(watch.neck, (torch.rand(1, 3, 4, 4),), output)
        watch.count([])
        centres.append(output.theta[..., 2:])
    centres = torch.cat(centres).double().numpy()
    assert watch.finish()['spread'] == pytest.approx(centres.var(axis=0).sum(axis=-1).mean() ** 0.5)


@pytest.mark.parametrize('include_global', [False, True])
def test_wins_are_counted_by_step_and_crop(include_global, monkeypatch):
    """Two crops of two pictures. Where a class isn't true, nothing is counted."""
    scores = torch.zeros(4, 2 + include_global, 3)
    first = 0 if include_global else 1
    for row, wins in enumerate(([2, 1, 2], [1, 2, 2], [first, 1, 1], [2, 1, 1])):
        for label, step in enumerate(wins):
            scores[row, step - first, label] = 1
    neck = make_neck(include_global=include_global)
    figures = measure(neck, scores, [DataSample().set_gt_label([0, 1]), DataSample().set_gt_label([0])])
    # Picture 1: 2, 1 and first, 1. Picture 2: 1 and 2.
    counts = {f'wins_{k}': 0 for k in range(first, 3)}
    for step in (2, 1, first, 1, 1, 2):
        counts[f'wins_{step}'] += 1 / 6
    assert {k: v for k, v in figures.items() if k.startswith('wins')} == pytest.approx(counts)
    assert not neck._forward_hooks


def test_wins_of_mixed_missing_and_no_labels():
    """All that Mixup left of a class counts; a picture without labels counts nothing."""
    samples = [
        DataSample().set_gt_label([2]).set_gt_score(torch.tensor([0.3, 0.7, 0.0])),
        DataSample().set_gt_label([0, 2]),
        DataSample(),
        DataSample().set_gt_label(torch.zeros(0, dtype=torch.long)),
    ]
    scores = torch.zeros(4, 2, 3)
    # Step 1 wins classes 0 and 1, step 2 class 2.
    scores[:, 0, :2] = scores[:, 1, 2] = 1
    figures = measure(make_neck(), scores, samples)
    assert (figures['wins_1'], figures['wins_2']) == pytest.approx((3 / 4, 1 / 4))
    assert not {'wins_1', 'wins_2'} & measure(make_neck(), scores, samples[2:] * 2).keys()


@pytest.mark.parametrize('interval', [0, 'all'])
def test_wrong_arguments_are_refused(interval):
    with pytest.raises(ValueError, match=f'interval.*{interval}'):
        RegionDiagnosticsHook(interval=interval)


@pytest.fixture
def run(tmp_path, make_coco):
    """Train one epoch on 8 drawn pictures, or test; give the runner, the figures in its json, and the log."""
    use_safe_loading()
    root = make_coco(tmp_path / 'coco', num_images=8)

    def start(work_dir='run', hook=None, test=False, **model):
        dataset = dict(
            type='mmlattn.COCOMultiLabel',
            ann_file='annotations/instances_train2017.json',
            data_prefix='train2017',
            data_root=str(root),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='Resize', scale=32), dict(type='PackInputs')],
        )
        loader = dict(batch_size=2, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False))
        cfg = dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4),
                neck=dict(
                    type='mmlattn.STLSTM', in_channels=32, region_size=4, embed_dims=8, hidden_dims=8, out_dims=8
                ),
                head=dict(type='mmlattn.STLSTMHead', num_classes=80, in_channels=8),
            ) | model,
            work_dir=str(tmp_path / work_dir),
            experiment_name=f'{tmp_path.name}-{work_dir}',
            default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
            custom_hooks=[hook] if hook else [],
            train_dataloader=loader, val_dataloader=loader, test_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=1), val_cfg={}, test_cfg={},
            val_evaluator=dict(type='mmlattn.MultiLabelReport'),
            test_evaluator=dict(type='mmlattn.MultiLabelReport'),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            randomness=dict(seed=0),
        )  # fmt: skip
        runner = Runner.from_cfg(Config(cfg))
        runner.test() if test else runner.train()
        lines = [
            json.loads(line)
            for path in Path(runner.log_dir).rglob('*.json' if test else 'scalars.json')
            for line in path.read_text().splitlines()
        ]
        return runner, lines, next(Path(runner.log_dir).glob('*.log')).read_text()

    return start


def by_hand(runner):
    """Shares of the true labels read from each step, from the evidence of predictions."""
    wins, runner.model.head.with_evidence = torch.zeros(5), True
    for batch in runner.val_loop.dataloader:
        for sample in runner.model.val_step(batch):
            for label in sample.gt_label:
                wins[sample.region_scores[:, label].argmax()] += 1
    return wins / wins.sum()


def test_a_run_logs_training_and_validation(run):
    runner, lines, log = run(hook=dict(type='mmlattn.RegionDiagnosticsHook', interval=2))
    train, val = lines[:-1], lines[-1]
    assert ['regions/scale' in line for line in train] == [False, True, True, True]
    # All regions begin alike: side 0.5 round the centre, which lies sqrt(.5) from each anchor.
    start = train[1]
    for name, value in dict(
        scale=0.5, anchor_distance=0.5**0.5, iou=1, coverage=0.25, mirrored=0, spread=0
    ).items():
        assert start[f'regions/{name}'] == pytest.approx(value, abs=0.01), name
        assert f'regions/{name}' in val
    assert sum(start[f'regions/wins_{k}'] for k in range(1, 6)) == pytest.approx(1)
    assert [val[f'regions/wins_{k}'] for k in range(1, 6)] == pytest.approx(
        by_hand(runner).tolist(), abs=1e-6
    )
    assert 'regions/coverage: 0.25' in log and 'regions/wins_0' not in log
    assert log.count('regions have collapsed: their mean pairwise IoU is') == 1
    assert "'direct' and 'bounded' begin like this, in one place, so early in training" in log
    assert not runner.model.neck._forward_hooks


def test_each_kind_of_warning_comes_once():
    """Regions that collapsed in every validation, and a neck that is not seen in any."""
    hook, model, warnings = RegionDiagnosticsHook(), nn.ModuleDict(dict(neck=make_neck())), []
    runner = SimpleNamespace(
        model=model,
        logger=SimpleNamespace(warning=warnings.append),
        message_hub=SimpleNamespace(update_scalar=lambda *_: None),
    )
    hook.before_run(runner)
    for looks in (1, 1, 0, 0):
        hook.before_val_epoch(runner)
        for _ in range(looks):
            model['neck'](torch.rand(1, 3, 4, 4))
        hook.after_val_iter(runner, 0, dict(data_samples=[]), [])
        hook.after_val_epoch(runner)
    assert ['collapsed' in warnings[0], 'nothing was seen' in warnings[1], len(warnings)] == [True, True, 2]


def test_measuring_changes_nothing(run):
    """Under autocast too: the step after the diagnostics has its gradients."""
    hook = dict(type='mmlattn.RegionDiagnosticsHook', interval=1)
    states = [run(f'run{i}', hook)[0].model.state_dict() for i, hook in enumerate((None, hook))]
    assert all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True))

    head, neck = STLSTMHead(3, 3), make_neck()
    watch = RegionMeter(neck, head)
    watch.start()
    with torch.autocast('cpu', torch.bfloat16):
        samples = [DataSample().set_gt_label([1])]
        sum(head.loss(neck(torch.rand(1, 3, 4, 4)), samples).values()).backward()
    assert head.fc.weight.grad is not None
    watch.count(samples)
    assert watch.finish()['scale'] == pytest.approx(0.5)


def test_testing_with_a_stock_head_and_one_region(run):
    """Without step scores there are no wins, and without a second region neither overlap nor anchors."""
    # Sides of a fifth of the 4 x 4 map.
    neck = dict(
        type='mmlattn.STLSTM', in_channels=32, num_steps=1, region_size=4, embed_dims=8, out_dims=8,
        loc_init=dict(scale=0.2),
    )  # fmt: skip
    head = dict(type='MultiLabelLinearClsHead', num_classes=80, in_channels=8)
    _, lines, log = run(hook=dict(type='mmlattn.RegionDiagnosticsHook'), test=True, neck=neck, head=head)
    measured = {name.removeprefix('regions/') for name in lines[-1] if name.startswith('regions/')}
    assert measured == {'scale', 'cells', 'coverage', 'mirrored', 'spread'}
    assert 'collapsed: their sides are 0.80 cells, below 1. A larger beta' in log


def test_other_models_are_refused(run):
    neck, head = dict(type='GlobalAveragePooling'), dict(type='LinearClsHead', num_classes=80, in_channels=32)
    with pytest.raises(ValueError, match=r'ImageClassifier has none: set model\.neck'):
        run(hook=dict(type='mmlattn.RegionDiagnosticsHook'), neck=neck, head=head, test=True)
    with pytest.raises(ValueError, match='ModuleList has 2'):
        RegionDiagnosticsHook().before_run(SimpleNamespace(model=nn.ModuleList([make_neck(), make_neck()])))


def watch_share(rank, folder):
    """The first process sees pictures 0 and 1, the second picture 2, the third nothing."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=3)
    torch.save(watch_pictures([[0, 1], [2], []][rank]), f'{folder}/{rank}.pth')
    dist.destroy_process_group()


def watch_pictures(indices):
    torch.manual_seed(0)
    neck, head = make_neck(), STLSTMHead(3, 3)
    nn.init.normal_(neck.loc.weight)
    pictures, watch = torch.randn(3, 3, 4, 4) * 9, RegionMeter(neck, head)
    watch.start()
    for index in indices:
        neck(pictures[index : index + 1])
        watch.count([DataSample().set_gt_label([index])])
    return watch.finish()


@pytest.mark.dist
@pytest.mark.slow
def test_processes_are_counted_together(tmp_path):
    whole = watch_pictures([0, 1, 2])
    torch.multiprocessing.start_processes(watch_share, (str(tmp_path),), 3, start_method='fork')
    for rank in range(3):
        assert torch.load(tmp_path / f'{rank}.pth', weights_only=True) == pytest.approx(whole)
