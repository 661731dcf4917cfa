"""exit_curve.py: what it says of thresholds is what the model does with them."""

import json
import re

import mmengine
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.apis import get_model
from PIL import Image
from tiny_run import run_tool, write_tiny_run
from torch.utils.flop_counter import FlopCounterMode

TOOL = 'analysis_tools/exit_curve.py'
MODEL = """
model = dict(
    type='mmlattn.RACNN', backbone=dict(type='ResNet', depth=18, stem_channels=4, base_channels=4),
    neck=dict(type='GlobalAveragePooling'), head=dict(type='LinearClsHead', num_classes=3, in_channels=32),
    localizer=dict(type='mmlattn.APN', form='light', spatial=2), crop=dict(size=64), with_evidence=True)
data_preprocessor = dict(num_classes=3, mean=[127.5] * 3, std=[127.5] * 3)
test_dataloader['dataset']['pipeline'][1]['scale'] = 96
test_evaluator = dict(type='mmlattn.ScaleAccuracy')
"""
FIRST, FINER, LAST = 96, 64, 2 * 2 * 32  # sides of the pictures, elements of the last map of a finer one


@pytest.fixture(scope='module')
def tested(tmp_path_factory):
    """A folder with an RA-CNN whose scales differ, and its predictions of 40 pictures."""
    folder = tmp_path_factory.mktemp('tested')
    config = write_tiny_run(folder, num_images=40)
    config.write_text(config.read_text() + MODEL)
    rng = np.random.default_rng(0)
    for path in sorted((folder / 'data').glob('*/*.png')):  # of colours of their own, or all look alike
        colours = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        Image.fromarray(colours.repeat(20, axis=0).repeat(20, axis=1)).save(path)
    torch.manual_seed(0)
    model = get_model(str(config), device='cpu')
    model.init_weights()
    for head, std in [*((net.head, 3) for net in model.nets), *((head, 0.1) for head in model.fusion)]:
        torch.nn.init.normal_(head.fc.weight, std=std)  # so that all are about as sure, and differ
    torch.save(dict(state_dict=model.state_dict()), folder / 'model.pth')
    done = run_tool('test.py', config, 'model.pth', '--out', 'pred.pkl', cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def multiply_adds(module, *size):
    """As torch counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, *size))
    return counter.get_total_flops() // 2


@pytest.mark.slow
def test_a_threshold_does_what_the_curve_says(tested, tmp_path):
    samples = mmengine.load(tested / 'pred.pkl')
    together = torch.stack([torch.cat([s['region_scores'][:1], s['fused_scores']]) for s in samples])
    sure = together[:, :2].amax(dim=2)
    rarest = {  # the threshold at which pictures spread best over one, two and three looks
        round(x, 4): min(
            (sure[:, 0] >= x).sum(), ((sure[:, 0] < x) & (sure[:, 1] >= x)).sum(), (sure < x).all(dim=1).sum()
        )
        for x in sure.quantile(torch.linspace(0.05, 0.95, 40)).tolist()
    }
    chosen = max(rarest, key=rarest.get)
    done = run_tool(
        TOOL, 'tiny.py', 'pred.pkl', '--out', tmp_path / 'curve.png', '--thresholds', chosen, 0, cwd=tested
    )
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / 'curve.json').read_text())
    first, middle, never = told['curve']
    assert [row['threshold'] for row in told['curve']] == [0, chosen, None] and told['pictures'] == 40
    assert Image.open(tmp_path / 'curve.png').size == (900, 600)

    model = get_model(Config.fromfile(tested / 'tiny.py'), device='cpu').eval()
    sides = {FIRST: 3, FINER: 2}
    net = {side: multiply_adds(model.nets[0], 3, side, side) for side in sides}
    apn = {side: multiply_adds(model.localizers[0], 32, cells, cells) for side, cells in sides.items()}
    costs = [net[FIRST], net[FIRST] + apn[FIRST] + net[FINER] + 64 * 3]
    costs.append(costs[1] + apn[FINER] + net[FINER] + 96 * 3)
    assert told['multiply_adds'] == costs

    labels = torch.cat([torch.as_tensor(s['gt_label']) for s in samples])
    accuracy = [100 * (together[:, k].argmax(dim=1) == labels).float().mean().item() for k in range(3)]
    for row, scale in ((first, 0), (never, 2)):
        expected = (scale + 1, costs[scale], accuracy[scale])
        found = [row[name] for name in ('mean_scales', 'mean_multiply_adds', 'accuracy')]
        assert found == pytest.approx(expected)

    options = ['--out', tmp_path / 'stopped.pkl', '--cfg-options', f'model.exit_above={chosen}']
    ran = run_tool('test.py', 'tiny.py', 'model.pth', *options, cwd=tested)
    assert ran.returncode == 0, ran.stderr
    looks = np.array([len(s['regions']) for s in mmengine.load(tmp_path / 'stopped.pkl')])
    assert {1, 2, 3} == set(looks)  # or nothing is compared
    assert middle['mean_scales'] == pytest.approx(looks.mean())
    assert middle['mean_multiply_adds'] == pytest.approx(np.array(costs)[looks - 1].mean())
    log = max(tested.glob('work_dirs/*/*/*.log'), key=lambda path: path.stat().st_mtime).read_text()
    printed = re.search(r'scales/output: ([\d.]+).* scales/mean_scales: ([\d.]+)', log)
    assert [float(value) for value in printed.groups()] == pytest.approx(
        [middle['accuracy'], middle['mean_scales']], abs=1e-4
    )

    done = run_tool(TOOL, 'tiny.py', tmp_path / 'stopped.pkl', '--out', tmp_path / 'again.png', cwd=tested)
    assert done.returncode == 1 and 'of 3 scales looked at' in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_equal_shares_stop_at_default_thresholds(tested, tmp_path):
    done = run_tool(TOOL, 'tiny.py', 'pred.pkl', '--out', tmp_path / 'a.svg', '--points', 5, cwd=tested)
    assert done.returncode == 0, done.stderr
    curve = json.loads((tmp_path / 'a.json').read_text())['curve']
    assert len(curve) == 6 == len(re.findall(r'^\| [\dn].*\d \|$', done.stdout, re.MULTILINE))
    looks = [row['mean_scales'] for row in curve]
    assert looks[0] == 1 and looks[-1] == 3 and looks == sorted(looks)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['none.pkl', '--out', 'a.png'], 'there is no file of predictions none.pkl'),
        (['pred.pkl', '--out', 'a.txt'], '--out must end in .png'),
        (['pred.pkl', '--out', 'taken.png'], 'taken.json exists already'),
        (['pred.pkl', '--out', 'a.png', '--thresholds', 'nan'], '--thresholds must be of 0 or more'),
        (['pred.pkl', '--out', 'a.png', '--cfg-options', 'model.num_scales=2'], '3 of 2 scales looked at'),
        (['pred.pkl', '--out', 'a.png', '--cfg-options', 'model.crop.size=20'], 'the APN reads 2 x 2 cells'),
        (['silent.pkl', '--out', 'a.png'], 'model.with_evidence=True'),
    ],
)
def test_mistakes(tested, args, message):
    (tested / 'taken.json').touch()
    samples = mmengine.load(tested / 'pred.pkl')
    told = ('regions', 'region_names', 'region_scores', 'fused_scores')
    mmengine.dump([{k: v for k, v in s.items() if k not in told} for s in samples], tested / 'silent.pkl')
    done = run_tool(TOOL, 'tiny.py', *args, cwd=tested)
    assert done.returncode != 0 and 'Traceback' not in done.stderr
    assert message in done.stderr.strip().splitlines()[-1]
    assert not (tested / 'a.png').exists() and not (tested / 'a.json').exists()
