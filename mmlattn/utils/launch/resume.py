"""From which checkpoint a run goes on."""

import os.path as osp
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmlattn.utils.checkpoint.archives import archive_damage


def newest_checkpoint(work_dir: str) -> str | None:
    """The checkpoint that ``last_checkpoint`` names or, where that is missing or damaged, the newest whole one.

    In a folder that was moved or copied it is the one of that name there, not the one that the run wrote elsewhere.

    Args:
        work_dir (str): Folder of the run.

    Returns:
        str | None: None if there is no whole checkpoint.
    """
    pointer = Path(work_dir, 'last_checkpoint')
    named = pointer.read_text(errors='replace').strip() if pointer.is_file() else ''
    here = Path(work_dir, Path(named).name)
    if named and Path(named).parent.resolve() != here.parent.resolve() and _is_whole(here):
        print(f'resuming from {here}, not from {named}, which last_checkpoint names', file=sys.stderr)
        return str(here)
    if _is_whole(named):
        return named
    # A checkpoint folder of its own is known from the pointer alone.
    folders = {Path(work_dir), Path(named).parent} if named else {Path(work_dir)}
    names = ('epoch_*.pth', 'iter_*.pth', 'interrupted.pth')
    files = [path for folder in folders for name in names for path in folder.glob(name)]
    for path in sorted(files, key=osp.getmtime, reverse=True):
        if _is_whole(path):
            state = f'{named} is missing or damaged' if named else 'there is no last_checkpoint'
            print(f'resuming from {path}, the newest whole checkpoint: {state}', file=sys.stderr)
            return str(path)
    return None


@contextmanager
def naming_what_is_kept(work_dir: str) -> Iterator[None]:
    """Let an interruption by SIGINT, as of Ctrl-C, say from which checkpoint the run can go on."""
    try:
        yield
    except KeyboardInterrupt:
        found = newest_checkpoint(work_dir)
        raise KeyboardInterrupt(
            f'{found} is kept, go on with --resume' if found else f'{work_dir} has no checkpoint yet'
        ) from None


def _is_whole(path: str | Path) -> bool:
    """Whether a file that ``torch.save`` wrote has all its bytes, by their checksums."""
    return zipfile.is_zipfile(path) and archive_damage(path) is None
