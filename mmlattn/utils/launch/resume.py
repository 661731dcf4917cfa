"""From which checkpoint a run goes on."""

import os.path as osp
import sys
import zipfile
from pathlib import Path


def newest_checkpoint(work_dir: str) -> str | None:
    """The checkpoint that ``last_checkpoint`` names or, where that is missing or damaged, the newest whole one.

    Args:
        work_dir (str): Folder of the run.

    Returns:
        str | None: None if there is no whole checkpoint.
    """
    pointer = Path(work_dir, 'last_checkpoint')
    named = pointer.read_text(errors='replace').strip() if pointer.is_file() else ''
    if _is_whole(named):
        return named
    # A checkpoint folder of its own is known from the pointer alone.
    folders = {Path(work_dir), Path(named).parent} if named else {Path(work_dir)}
    files = [
        path for folder in folders for kind in ('epoch', 'iter') for path in folder.glob(f'{kind}_*.pth')
    ]
    for path in sorted(files, key=osp.getmtime, reverse=True):
        if _is_whole(path):
            state = f'{named} is missing or damaged' if named else 'there is no last_checkpoint'
            print(f'resuming from {path}, the newest whole checkpoint: {state}', file=sys.stderr)
            return str(path)
    return None


def _is_whole(path: str | Path) -> bool:
    """Whether a file that ``torch.save`` wrote has all its bytes, by their checksums."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return False
