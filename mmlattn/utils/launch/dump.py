"""Where a run dumps its config, so that no other file is lost."""

import os.path as osp
import sys
import time
from pathlib import Path

from mmengine.config import Config


def keep_other_configs(cfg: Config, training: bool) -> None:
    """Let mmengine dump ``cfg`` under the name of its file, in the working directory, over no file that says else.

    What an earlier run dumped there makes room for the dump of a training run, under a name with its time. Three
    things stay where they are, and this run's dump gets the time in its name: the config that the run was started
    with, a base of it, and in testing whatever is there.

    Args:
        cfg (Config): As the runner gets it; may be given another ``filename``.
        training (bool): Whether it trains.
    """
    target = Path(cfg.work_dir, Path(cfg.filename).name)
    if not target.exists() or target.read_text(errors='replace') == cfg.dump():
        return
    # Of the config and its bases mmengine keeps path and text.
    paths = [cfg.filename, *(line for line in cfg.text.splitlines() if line.endswith(target.suffix))]
    if training and not any(osp.exists(path) and osp.samefile(path, target) for path in paths):
        kept = _with_time(target, osp.getmtime(target))
        target.rename(kept)
        print(f'the config of an earlier run, {target}, is kept as {kept.name}', file=sys.stderr)
        return
    own = _with_time(target, time.time())
    object.__setattr__(cfg, '_filename', str(own))
    print(f'the config of this run is written to {own}; {target.name} there is another', file=sys.stderr)


def _with_time(path: Path, moment: float) -> Path:
    stem = f'{path.stem}_{time.strftime("%Y%m%d_%H%M%S", time.localtime(moment))}'
    candidates = (path.with_stem(stem + more) for more in ('', *(f'_{number}' for number in range(1, 1000))))
    return next(candidate for candidate in candidates if not candidate.exists())
