"""The demo behind ``bash tools/demo.sh``: data, two trainings, evaluation, a picture."""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from gallery import draw_gallery
from jobs import Job, run_jobs
from mmengine.config import Config
from rich.console import Console
from rich.table import Table

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
    parser.add_argument('--out', type=Path)
    parser.add_argument('--started-in', type=Path, default=Path.cwd(), help=argparse.SUPPRESS)
    return parser.parse_args()


def new_run_folder(out: Path | None, name: str) -> Path:
    """Make the folder of this run.

    Args:
        out (Path, optional): The user's choice; must not hold anything yet.
        name (str): Otherwise ``work_dirs/<name>-<first free number>``.

    Raises:
        ValueError: If ``out`` is taken.
    """
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f'--out {out} is there already and not empty; choose another folder')
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
    """The ``mim`` command line; the data folder and the seed are all that differs from the config."""
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
        cells = [f'{values[key]:.1f}' if key in values else '-' for key in COLUMNS.values()]
        table.add_row(HEADS[head], *cells)
    return table


def main() -> None:
    """Run the demo."""
    args = parse_args()
    started = time.monotonic()
    tier = PHOTOS if args.photos else DIGITS
    out = None if args.out is None else args.started_in / args.out
    run = new_run_folder(out, f'demo-{"photos" if args.photos else "digits"}-seed{args.seed}')
    console = Console()

    data_root = ROOT / f'{tier.data}-seed{args.seed}'
    console.print(f'[bold]1/4[/] data: {data_root}')
    converter = ROOT / 'tools/dataset_converters' / tier.converter
    command = [sys.executable, str(converter), '--out', str(data_root), '--seed', str(args.seed)]
    if subprocess.run([*command, '--cache', str(ROOT / 'data/downloads')], cwd=ROOT).returncode:
        raise RuntimeError('the data set could not be made, see above')

    # yapf, with which mmengine prints configs, writes a cache on its first import; two runs at once would trip.
    import yapf  # noqa: F401

    configs = {head: ROOT / 'configs' / tier.configs.format(head) for head in HEADS}
    console.print(f'[bold]2/4[/] training, CSRA and the linear head with the same recipe; logs in {run}')
    jobs = []
    for head, config in configs.items():
        cfg = Config.fromfile(config)
        command = mim('train', config, run / head, data_root, args.seed)
        jobs.append(
            Job(HEADS[head], command, run / f'{head}_train.log', run / head, count_steps(cfg, data_root))
        )
    run_jobs(jobs, 'training')

    console.print('[bold]3/4[/] evaluating on held-out scenes')
    jobs, checkpoints = [], {}
    for head, config in configs.items():
        checkpoints[head] = Path((run / head / 'last_checkpoint').read_text().strip())
        options = ('--checkpoint', str(checkpoints[head]), '--out', str(run / f'{head}_metrics.json'))
        options += ('--out-item', 'metrics')
        command = mim('test', config, run / f'{head}_test', data_root, args.seed, *options)
        jobs.append(Job(HEADS[head], command, run / f'{head}_test.log'))
    run_jobs(jobs, 'testing')
    metrics = {head: json.loads((run / f'{head}_metrics.json').read_text()) for head in HEADS}

    console.print('[bold]4/4[/] drawing')
    picture = run / 'gallery.png'
    draw_gallery(configs['csra'], checkpoints['csra'], data_root, picture, tier.blocks, tier.cell)
    console.print(results_table(metrics))
    console.print(
        'pointing: how often the peak of the attention lies in a box of the class, true positives only'
    )
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    console.print(
        f'\nDone in {minutes} min {seconds} s. Open the picture: [bold]{picture}[/]', soft_wrap=True
    )
    relative = checkpoints['csra']
    console.print(
        'Try it on pictures of your own:\n  .venv/bin/python tools/visualization/show_evidence.py '
        f'{configs["csra"].relative_to(ROOT)} {relative} PICTURE... --out-dir shown',
        soft_wrap=True,
    )
    if not args.photos:
        console.print('Next: bash tools/demo.sh --photos, with photo cut-outs and ImageNet weights')


if __name__ == '__main__':
    try:
        main()
    except (ValueError, RuntimeError) as error:
        sys.exit(f'error: {error}')
