"""The demo behind ``bash tools/demo.sh``: data, two trainings, evaluation, a picture."""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from jobs import Job, run_jobs
from mmengine.config import Config
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.explain import run_tool

ROOT = Path(__file__).resolve().parents[2]
HEADS = dict(csra='CSRA', linear='linear')
COLUMNS = dict(
    mAP='multi-label/mAP',
    CF1='multi-label/CF1',
    OF1='multi-label/OF1',
    pointing='pointing/true_positives',
)


@dataclass(frozen=True)
class Tier:
    """One of the two demos."""

    converter: str
    data: str
    configs: str
    cell: int
    blocks: int


DIGITS = Tier('multi_digits.py', 'data/multidigits', '{}_resnet-mini_multidigits.py', 150, 10)
PHOTOS = Tier('stamp_scenes.py', 'data/stampscenes', '{}_mobilenet-v2_stampscenes.py', 180, 8)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--photos', action='store_true')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out-dir', type=Path)
    parser.add_argument('--started-in', type=Path, default=Path.cwd(), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not 0 <= args.seed < 2**32:
        parser.error(f'--seed must lie in [0, 2**32), got {args.seed}')
    return args


def new_run_folder(out: Path | None, name: str) -> Path:
    """Make the folder of this run.

    Args:
        out (Path, optional): The user's choice; must not hold anything yet.
        name (str): Otherwise ``work_dirs/<name>-<first free number>``.

    Raises:
        UserError: If ``out`` is taken.
    """
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f'--out-dir {out} is there already and not empty; choose another folder')
        out.mkdir(parents=True, exist_ok=True)
        return out
    number = 1
    while True:
        folder = ROOT / 'work_dirs' / f'{name}-{number}'
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def count_steps(cfg: Config, data_root: Path) -> int:
    """Training iterations in all."""
    annotation = json.loads((data_root / cfg.train_dataloader.dataset.ann_file).read_text())
    return cfg.train_cfg.max_epochs * -(-len(annotation['images']) // cfg.train_dataloader.batch_size)


def mim(action: str, config: Path, work_dir: Path, data_root: Path, seed: int, *options: str) -> list[str]:
    """The ``mim`` command line; the data folder and the seed are all that differs from the config.

    ``--cfg-options`` splits values at commas and drops spaces, so ``data_root`` is relative to the checkout.
    """
    roots = [f'{split}_dataloader.dataset.data_root={data_root}' for split in ('train', 'val', 'test')]
    return [
        *(str(Path(sys.executable).with_name('mim')), action, 'mmlattn', str(config)),
        *('--work-dir', str(work_dir)),
        *(*options, '--cfg-options', f'randomness.seed={seed}', *roots),
    ]


def results_table(metrics: dict[str, dict[str, float]]) -> Table:
    """One row per head."""
    table = Table(title='held-out scenes, in percent')
    table.add_column('head')
    for column in COLUMNS:
        table.add_column(column, justify='right')
    for head, values in metrics.items():
        cells = [f'{values[key]:.1f}' if values.get(key) is not None else '-' for key in COLUMNS.values()]
        table.add_row(HEADS[head], *cells)
    return table


def make_data(tier: Tier, seed: int) -> Path:
    """Compose the scenes, unless they are there already, and return their folder, relative to the checkout."""
    data_root = Path(f'{tier.data}-seed{seed}')
    converter = ROOT / 'tools/dataset_converters' / tier.converter
    command = [sys.executable, str(converter), '--out-dir', str(data_root), '--seed', str(seed)]
    if subprocess.run([*command, '--cache', 'data/downloads']).returncode:
        raise UserError('the data set could not be made, see above')
    return data_root


def train(configs: dict[str, Path], run: Path, data_root: Path, seed: int) -> dict[str, Path]:
    """Train both heads side by side and return their checkpoints."""
    # yapf, with which mmengine prints configs, writes a cache on its first import; two runs at once would trip.
    import yapf  # noqa: F401

    jobs = []
    for head, config in configs.items():
        steps = count_steps(Config.fromfile(config), data_root)
        command = mim('train', config, run / head, data_root, seed)
        jobs.append(Job(HEADS[head], command, run / f'{head}_train.log', run / head, steps))
    run_jobs(jobs, 'training')
    return {head: Path((run / head / 'last_checkpoint').read_text().strip()) for head in configs}


def evaluate(
    configs: dict[str, Path], checkpoints: dict[str, Path], run: Path, data_root: Path, seed: int
) -> dict[str, dict[str, float]]:
    """Test both heads on the held-out scenes and return their metrics."""
    jobs, files = [], {head: run / f'{head}_metrics.json' for head in configs}
    for head, config in configs.items():
        options = ('--checkpoint', str(checkpoints[head]), '--out', str(files[head]), '--out-item', 'metrics')
        command = mim('test', config, run / f'{head}_test', data_root, seed, *options)
        jobs.append(Job(HEADS[head], command, run / f'{head}_test.log'))
    run_jobs(jobs, 'testing')
    return {head: json.loads(file.read_text()) for head, file in files.items()}


def draw(tier: Tier, config: Path, checkpoint: Path, run: Path, data_root: Path) -> Path:
    """Draw the gallery and return its path."""
    picture = run / 'gallery.png'
    arguments = [str(path) for path in (config, checkpoint, data_root, picture)]
    arguments += ['--count', str(tier.blocks), '--cell', str(tier.cell)]
    command = [sys.executable, str(ROOT / 'tools/demo/gallery.py'), *arguments]
    run_jobs([Job('the gallery', command, run / 'gallery.log')], 'drawing')
    return picture


def next_command(config: Path, checkpoint: Path, data_root: Path, run: Path) -> str:
    """A shell command, good in any folder, that draws more of the held-out scenes."""
    script = ROOT / 'tools/visualization/show_evidence.py'
    parts = [shlex.quote(str(path)) for path in (sys.executable, script, config, checkpoint)]
    pictures = shlex.quote(str(ROOT / data_root / 'val')) + '/00002*.png'
    return ' '.join([*parts, pictures, '--out-dir', shlex.quote(str(run / 'shown'))])


def main() -> None:
    """Run the demo."""
    args = parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, lambda number, _: sys.exit(128 + number))  # so that trainings are stopped
    os.chdir(ROOT)  # the configs name their data and weights relative to it
    started = time.monotonic()
    tier = PHOTOS if args.photos else DIGITS
    out = None if args.out_dir is None else args.started_in / args.out_dir
    run = new_run_folder(out, f'demo-{"photos" if args.photos else "digits"}-seed{args.seed}')
    configs = {head: ROOT / 'configs' / tier.configs.format(head) for head in HEADS}
    console = Console(soft_wrap=True)

    console.print('[bold]1/4[/] composing the scenes')
    data_root = make_data(tier, args.seed)
    console.print(
        f'[bold]2/4[/] training CSRA and a linear head with the same recipe; logs in {escape(str(run))}'
    )
    checkpoints = train(configs, run, data_root, args.seed)
    console.print('[bold]3/4[/] evaluating on held-out scenes')
    metrics = evaluate(configs, checkpoints, run, data_root, args.seed)
    console.print('[bold]4/4[/] drawing')
    picture = draw(tier, configs['csra'], checkpoints['csra'], run, data_root)

    console.print(results_table(metrics))
    console.print(
        'pointing: how often the attention of a correctly named class peaks inside one of its boxes'
    )
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    console.print(f'\nDone in {minutes} min {seconds} s. Open the picture:')
    console.print(str(picture), markup=False, style='bold')
    console.print('Look at more of the held-out scenes:')
    console.print(next_command(configs['csra'], checkpoints['csra'], data_root, run), markup=False)
    if not args.photos:
        console.print('Next: bash tools/demo.sh --photos, with photo cut-outs and ImageNet weights')


if __name__ == '__main__':
    try:
        run_tool(main)
    except KeyboardInterrupt:
        sys.exit('interrupted')
