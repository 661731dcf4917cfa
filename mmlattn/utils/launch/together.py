"""Several processes end together: what one of them fails at is said once, and none waits for one that is gone."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from mmengine.dist import barrier

_FAILED = 'mmlattn/failed'
_EVERY = 0.5
#: Seconds that a process has to end by itself once another has failed.
PATIENCE = 3.0


@contextmanager
def ending_together() -> Iterator[None]:
    """End this process soon after another one of the run has failed, and the others soon after this one.

    The first that fails says why, whichever rank it is; what the others stumble over then says nothing. Without
    several processes nothing is changed. They find each other at the store of the process group, also while they
    wait in a collective operation.
    """
    finished = threading.Event()
    threading.Thread(target=_watch, args=(finished,), daemon=True).start()
    try:
        yield
        # Who keeps the store, mostly the first, would take it away from those that still need it.
        barrier()
    except Exception as error:
        finished.set()
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            if not _is_first_to_fail():
                # Without the traceback of a connection that was closed by the one that failed; launchers kill the
                # others at the first exit, so it has time to say why.
                time.sleep(PATIENCE)
                os._exit(1)
            error.first_of_all = True
        raise
    finally:
        finished.set()


def _is_first_to_fail() -> bool:
    try:
        first = _store().add(_FAILED, 1) == 1
    except RuntimeError:
        # The store is gone with the process that kept it, so that one failed before.
        return False
    if first:
        # The store may end with this process: let the others see it.
        time.sleep(2 * _EVERY)
    return first


def _watch(finished: threading.Event) -> None:
    while not finished.wait(_EVERY):
        if not (dist.is_available() and dist.is_initialized()):
            continue
        try:
            failed = _store().check([_FAILED])
        except (RuntimeError, ValueError):
            return
        if failed and not finished.wait(PATIENCE):
            os._exit(1)


def _store() -> dist.Store:
    return dist.distributed_c10d._get_default_store()
