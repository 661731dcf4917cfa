"""mmengine's ``FlexibleRunner`` on two processes without a GPU: sharded training is the same training."""

import re

import numpy as np
import pytest
from tiny_run import train_in_processes

STRATEGIES = {
    'DDP': "dict(type='DDPStrategy')",
    'FSDP': "dict(type='FSDPStrategy', model_wrapper=dict(type='MMFullyShardedDataParallel', use_orig_params=True))",
}


@pytest.mark.dist
@pytest.mark.slow
def test_fsdp_learns_what_ddp_learns(config, tmp_path):
    """By the losses of each step of the same pictures."""
    losses = {}
    for name, strategy in STRATEGIES.items():
        own = config.with_name(f'{name.lower()}.py')
        own.write_text(
            f"_base_ = ['tiny.py']\nrunner_type = 'FlexibleRunner'\nstrategy = {strategy}\ncustom_hooks = []\n"
            "optim_wrapper = dict(type='OptimWrapper')\ntrain_cfg = dict(max_epochs=2, val_interval=9)\n"
            'model = dict(train_cfg=None, head=dict(dropout_rate=0.0))\n'
        )
        train_in_processes(own, tmp_path / name)
        (log,) = (tmp_path / name).glob('*/*.log')
        losses[name] = [float(loss) for loss in re.findall(r'Epoch\(train\).* loss: (\S+)', log.read_text())]
    assert len(losses['DDP']) > 2 and losses['DDP'][0] != losses['DDP'][-1]
    np.testing.assert_allclose(losses['FSDP'], losses['DDP'], atol=2e-4)  # to its four digits
