"""Memory that tensors leave is kept: the next ones are handed no new pages."""

import os
import resource
import sys
from multiprocessing import get_context

import pytest
import torch

from mmlattn.utils.memory import keep_freed_memory


def page_faults(told):
    """Of twenty tensors of 64 MB, one after the other, behind a first one."""
    if told:
        assert keep_freed_memory()
    torch.ones(2**24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='it is of glibc')
def test_pages_are_kept(monkeypatch):
    """In a process of its own, for it can not be taken back."""
    for name in [name for name in os.environ if name.startswith('MALLOC_')]:
        monkeypatch.delenv(name)  # the suite runs with what this sets
    with get_context('spawn').Pool(1) as pool:
        faults = [pool.apply(page_faults, (told,)) for told in (False, True)]
    assert faults[1] < faults[0] / 2, faults
