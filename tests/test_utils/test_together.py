"""Processes of a run leave it together."""

import subprocess
import sys

import pytest
from tiny_run import free_port

SCRIPT = """
import sys, time
import torch.distributed as dist
from mmlattn.utils.launch.together import ending_together

rank = int(sys.argv[1])
dist.init_process_group('gloo', init_method='tcp://127.0.0.1:' + sys.argv[2], rank=rank, world_size=2)
with ending_together():
    time.sleep(rank)
    dist.distributed_c10d._get_default_store().add('counted', 1)
dist.destroy_process_group()
"""


@pytest.mark.dist
def test_the_first_process_keeps_the_store_until_the_last_is_through():
    port = str(free_port())
    runs = [
        subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-c', SCRIPT, str(rank), port], stderr=subprocess.PIPE
        )
        for rank in (0, 1)
    ]
    said = [run.communicate(timeout=120)[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said[1][-2000:]
