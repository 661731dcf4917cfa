"""Train configs with several seeds, one run after the other, and print their final scores with the spread.

    python tools/analysis_tools/compare_runs.py configs/A.py configs/B.py --seeds 0 1 2 --out-dir work_dirs/compare

Each run is `tools/train.py CONFIG` in OUT_DIR/CONFIG/seedN. Runs that have ended are read, not repeated, so an
interrupted comparison goes on where it stopped; the run it stopped in starts anew in a fresh folder.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
from pathlib import Path

from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import load_config
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import make_parser

TRAIN = Path(__file__).resolve().parents[1] / 'train.py'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('configs', nargs='+', type=Path, help='config files, each trained with every seed')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='default 0 1 2')
    parser.add_argument(
        '--out-dir', type=Path, required=True, help='folder of all runs and of the report, compare.json'
    )
    parser.add_argument(
        '--metric', default='accuracy/top1', help='key of the final score (default %(default)s)'
    )
    parser.add_argument('--cfg-options', nargs='+', default=[], help='passed on to every run')
    args = parser.parse_args()
    for config in args.configs:
        if not config.is_file():
            parser.error(f'no such config: {config}')
    if any(option.partition('=')[0] == 'randomness.seed' for option in args.cfg_options):
        parser.error('give the seeds by --seeds')
    if len({config.stem for config in args.configs}) < len(args.configs):
        parser.error('two configs have the same name, so their runs would share a folder')
    return args


def recipe(config: Path, options: list[str]) -> str:
    """The whole config with the options of the call, as text."""
    return load_config(str(config)).pretty_text + f'\n# {options}\n'


def final_score(folder: Path, metric: str, wanted: str) -> float | None:
    """The last value of ``metric`` that a finished run of that recipe wrote; None if there is none."""
    for done in sorted(folder.glob('try*/finished')):
        if done.read_text() != wanted:
            raise UserError(
                f'{done.parent} was run with another config or other --cfg-options: choose another --out-dir'
            )
        lines = [json.loads(line) for path in done.parent.rglob('scalars.json') for line in path.open()]
        scores = [line[metric] for line in lines if metric in line]
        if not scores:
            known = sorted({key for line in lines for key in line if '/' in key})
            hint = (
                f'choose --metric among {known}'
                if known
                else 'its visualizer needs the backend LocalVisBackend'
            )
            raise UserError(f'{done.parent} has no {metric!r}: {hint}')
        return scores[-1]
    return None


def train(config: Path, seed: int, folder: Path, options: list[str]) -> None:
    """One run in a new folder; what it prints goes to a file there, and what was run to ``finished``."""
    work_dir = folder / f'try{len(list(folder.glob("try*"))) + 1}'
    work_dir.mkdir(parents=True)
    command = [sys.executable, str(TRAIN), str(config), '--work-dir', str(work_dir)]
    command += ['--cfg-options', f'randomness.seed={seed}', *options]
    with (work_dir / 'output.txt').open('w') as output:
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT).returncode
    if code:
        raise UserError(f'{" ".join(command)} ended with {code}; its output is in {work_dir / "output.txt"}')
    (work_dir / 'finished').write_text(recipe(config, options))


def unused(path: Path) -> Path:
    """``path``, or where that exists, the same with the first free number."""
    names = (path if n == 1 else path.with_stem(f'{path.stem}-{n}') for n in itertools.count(1))
    return next(name for name in names if not name.exists())


def main() -> None:
    """Run what is missing, seed by seed, then print the table."""
    args = parse_args()
    scores: dict[str, dict[int, float]] = {config.stem: {} for config in args.configs}
    for seed in args.seeds:
        for config in args.configs:
            folder = args.out_dir / config.stem / f'seed{seed}'
            wanted = recipe(config, args.cfg_options)
            if final_score(folder, args.metric, wanted) is None:
                train(config, seed, folder, args.cfg_options)
            scores[config.stem][seed] = final_score(folder, args.metric, wanted)
            print(f'{config.stem} seed {seed}: {scores[config.stem][seed]:.2f}', flush=True)
    print(f'\n| config | {args.metric}: mean | standard deviation | runs |\n|---|---|---|---|')
    for name, runs in scores.items():
        spread = f'{statistics.stdev(runs.values()):.2f}' if len(runs) > 1 else 'one run'
        each = ', '.join(f'{score:.2f}' for score in runs.values())
        print(f'| {name} | {statistics.mean(runs.values()):.2f} | {spread} | {each} |')
    report = unused(args.out_dir / 'compare.json')
    report.write_text(json.dumps(dict(metric=args.metric, scores=scores), indent=2) + '\n')
    print(f'\nwritten to {report}')


if __name__ == '__main__':
    run_tool(main)
