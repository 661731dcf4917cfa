"""Several processes on CPU, over gloo."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from tiny_run import TOOLS, free_port, run_script, tool_environment, write_tiny_run

pytestmark = [pytest.mark.dist, pytest.mark.slow]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Config, and working directory of a run of two processes."""
    folder = tmp_path_factory.mktemp('dist')
    config = write_tiny_run(folder, num_images=13)
    ranks = config.with_name('ranks.py')
    ranks.write_text("_base_ = 'tiny.py'\ncustom_hooks = [dict(type='RankStateHook')]")
    wrapper = 'model_wrapper_cfg.find_unused_parameters=True'
    done = run_script(
        'dist_train.sh', ranks, 2, '--work-dir', folder / 'my run', '--cfg-options', wrapper,
        cwd=folder, PORT=free_port(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (folder / '.dist_test').exists()
    return config, folder / 'my run'


def test_ranks_stay_in_step(trained):
    _, work_dir = trained
    states = [torch.load(work_dir / f'rank{rank}.pth', weights_only=True) for rank in range(2)]
    saved = torch.load(work_dir / 'epoch_3.pth', weights_only=False)['state_dict']
    learned = {name for name in saved if name.endswith(('weight', 'bias'))}
    assert len(learned) > 40
    for name in learned:
        assert torch.equal(states[0][f'module.{name}'], states[1][f'module.{name}'])
        assert torch.equal(states[0][f'module.{name}'], saved[name])
    # Each process saw its own pictures; all go on with the statistics of the first, which are saved.
    own = [torch.load(work_dir / f'epoch_of_rank{rank}.pth', weights_only=True) for rank in range(2)]
    mean = 'backbone.bn1.running_mean'
    assert not torch.equal(own[0][f'module.{mean}'], own[1][f'module.{mean}'])
    assert torch.equal(own[0][f'module.{mean}'], saved[mean])
    for name in saved:
        assert torch.equal(states[0][f'module.{name}'], saved[name])
        assert torch.equal(states[1][f'module.{name}'], saved[name])


MULTI_LABEL = """
_base_ = {base!r}
classes = ('person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat', 'bench')
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)),
    dict(type='PackInputs', algorithm_keys=('gt_boxes', 'gt_box_labels'))]
test_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(
    data_root={root!r}, ann_file='annotations/instances_train2017.json', data_prefix='train2017',
    metainfo=dict(classes=classes), pipeline=pipeline))
"""


def test_metrics_do_not_depend_on_the_number_of_processes(repo_root, make_coco, tmp_path):
    """13 pictures: neither two nor three processes share them evenly; all metrics of the CSRA demo."""
    base = str(repo_root / 'configs' / 'csra_resnet-mini_multidigits.py')
    root = str(make_coco(tmp_path / 'coco', num_images=13))
    config = tmp_path / 'coco13.py'
    config.write_text(MULTI_LABEL.format(base=base, root=root))
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'random.pth')
    metrics = []
    for processes in (1, 2, 3):
        out = tmp_path / f'{processes}.json'
        done = run_script(
            'dist_test.sh', config, tmp_path / 'random.pth', processes, '--out', out, '--out-item', 'metrics',
            cwd=tmp_path, PORT=free_port(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        metrics.append(json.loads(out.read_text()))
    assert metrics[0] == metrics[1] == metrics[2]
    assert 0 < metrics[0]['multi-label/mAP'] < 100
    assert not (tmp_path / '.dist_test').exists()


def test_the_launcher_openmim_uses(trained, tmp_path):
    """``torch.distributed.launch`` hands the local rank over as an argument; a refusal is said once."""
    config, _ = trained
    launcher = [sys.executable, '-m', 'torch.distributed.launch', '--nproc_per_node=2']
    url = 'http://127.0.0.1:9/a-0123abcd.pth'
    done = subprocess.run(
        [*launcher, f'--master_port={free_port()}', TOOLS / 'test.py', config, url, '--launcher', 'pytorch'],
        cwd=tmp_path, env=tool_environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count('error: could not reach the weights') == 1


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_script_ends_all_with_its_status(tmp_path, number, status):
    """As a cluster or Ctrl-C sends it, to every process of the group, in the middle of training."""
    config = write_tiny_run(tmp_path)
    command = ['bash', TOOLS / 'dist_train.sh', config, '2', '--work-dir', tmp_path / 'run']
    long = ('--cfg-options', 'train_cfg.max_epochs=5000', 'train_cfg.val_interval=5000')
    environment = tool_environment(PORT=free_port())
    with (tmp_path / 'log.txt').open('w') as log:
        process = subprocess.Popen(
            [*command, *long], cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 200
            while not (tmp_path / 'run' / 'epoch_2.pth').exists() and time.monotonic() < deadline:
                time.sleep(0.2)
            os.killpg(process.pid, number)
            assert process.wait(40) == status, (tmp_path / 'log.txt').read_text()[-3000:]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    text = (tmp_path / 'log.txt').read_text()
    assert 'Traceback' not in text, text[-3000:]
    expected = 'interrupted.pth is saved' if number == signal.SIGTERM else 'is kept, go on with --resume'
    assert text.count(expected) == 1
    assert (tmp_path / 'run' / 'interrupted.pth').exists() == (number == signal.SIGTERM)
