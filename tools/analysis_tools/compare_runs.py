"""Train configs with several seeds, one run after the other, and print their final scores with the spread.

    python tools/analysis_tools/compare_runs.py configs/A.py configs/B.py --seeds 0 1 2 --out-dir work_dirs/compare

Each run is `tools/train.py CONFIG` in OUT_DIR/CONFIG/seedN, and with --test `tools/test.py` on its last checkpoint
after it. Runs that have ended are read, not repeated, so an interrupted comparison goes on where it stopped; the run
it stopped in starts anew in a fresh folder.
"""

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json
from mmlattn.utils.launch.config import apply_options, load_config, type_name
from mmlattn.utils.launch.explain import explain_config, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, make_parser
from mmlattn.utils.launch.resume import newest_checkpoint

TOOLS = Path(__file__).resolve().parents[1]
# The first of these that all configs give is compared if no --metric says else.
USUAL = ('accuracy/top1', 'multi-label/mAP')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('configs', nargs='+', type=Path, help='config files, each trained with every seed')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='default 0 1 2')
    parser.add_argument(
        '--out-dir', type=Path, required=True, help='folder of all runs and of the report, compare.json'
    )
    parser.add_argument(
        '--metric', nargs='+', help=f'keys of the scores; default {" or ".join(USUAL)}, whichever there is'
    )
    parser.add_argument(
        '--test', action='store_true', help='take scores of test_evaluator on the last checkpoint'
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


def with_options(config: Path, options: list[str]) -> Any:
    """The config that a run gets."""
    parser = make_parser('')
    add_cfg_options(parser)
    cfg = load_config(str(config))
    apply_options(cfg, parser.parse_args(['--cfg-options', *options]).cfg_options if options else {})
    return cfg


def choose_metrics(args: argparse.Namespace) -> list[str]:
    """The metrics to compare, known to be given by every config before anything is trained.

    Raises:
        UserError: If a config gives none of that name, or writes its scores nowhere.
    """
    given = {
        config: given_metrics(with_options(config, args.cfg_options), config, args.test)
        for config in args.configs
    }
    known = {config: names for config, names in given.items() if names is not None}
    usual = [name for name in USUAL if all(name in names for names in known.values())]
    if not (args.metric or usual):
        raise UserError(
            f'none of {", ".join(USUAL)} is given: choose --metric among {sorted(set().union(*known.values()))}'
        )
    wanted = args.metric or usual[:1]
    for (config, names), metric in itertools.product(known.items(), wanted):
        if metric not in names:
            raise UserError(f'{config} gives no {metric}: choose --metric among {sorted(names)}')
    return wanted


def given_metrics(cfg: Any, config: Path, test: bool) -> set[str] | None:
    """Names of the values that the evaluator gives; None if it has metrics that do not tell.

    Raises:
        UserError: If there is no evaluator, or nothing that writes its values.
    """
    from mmengine.evaluator import Evaluator
    from mmengine.registry import DefaultScope

    from mmlattn.evaluation.evaluators import metric_names

    key, other = ('test_evaluator', 'drop') if test else ('val_evaluator', 'add')
    if not cfg.get(key):
        raise UserError(f'{config} has no {key}: {other} --test, or set it')
    backends = (
        cfg.visualizer.get('vis_backends') or () if cfg.get('visualizer') else None
    )  # mmengine's has one
    if not (test or backends is None or 'LocalVisBackend' in map(type_name, backends)):
        raise UserError(
            f"{config} writes its scores into no file: --cfg-options \"visualizer.vis_backends=[{{'type': "
            "'LocalVisBackend'}]\""
        )
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'), explain_config():
        names = [metric_names(metric) for metric in Evaluator(cfg[key]).metrics]
    return set().union(*names) if all(names) else None


def recipe(config: Path, options: list[str]) -> str:
    """The whole config with the options of the call, as text."""
    return load_config(str(config)).pretty_text + f'\n# {options}\n'


def finished_run(folder: Path, wanted: str) -> Path | None:
    """The finished run of that recipe, None if there is none; raises ``UserError`` for one of another recipe."""
    for done in sorted(folder.glob('try*/finished')):
        if done.read_text() != wanted:
            raise UserError(
                f'{done.parent} was run with another config or other --cfg-options: choose another --out-dir'
            )
        return done.parent
    return None


def last_scores(run: Path) -> Mapping[str, float]:
    """The last value of everything that a run wrote while it trained."""
    scores = {}
    for path in sorted(run.rglob('scalars.json')):
        for line in path.open() if run / 'test' not in path.parents else ():
            scores |= json.loads(line)
    return scores


def test_scores(config: Path, run: Path, options: list[str]) -> Mapping[str, float]:
    """Those of the last checkpoint, tested unless that is done."""
    results = run / 'test.json'
    if not results.exists():
        out = ['--work-dir', str(run / 'test'), '--out', str(results), '--out-item', 'metrics']
        call('test.py', [str(config), newest_checkpoint(str(run)), *out], options, run / 'test_output.txt')
    return json.loads(results.read_text())


def train(config: Path, seed: int, folder: Path, options: list[str]) -> Path:
    """One run in a new folder; what was run goes to ``finished`` there."""
    work_dir = folder / f'try{len(list(folder.glob("try*"))) + 1}'
    work_dir.mkdir(parents=True)
    args = [str(config), '--work-dir', str(work_dir)]
    call('train.py', args, [f'randomness.seed={seed}', *options], work_dir / 'output.txt')
    (work_dir / 'finished').write_text(recipe(config, options))
    return work_dir


def call(tool: str, args: list[str], options: list[str], output: Path) -> None:
    """Run a tool; what it prints goes to a file."""
    command = [sys.executable, str(TOOLS / tool), *args, *(['--cfg-options', *options] if options else [])]
    with output.open('w') as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode
    if code:
        raise UserError(f'{" ".join(command)} ended with {code}; its output is in {output}')


def unused(path: Path) -> Path:
    """``path``, or where that exists, the same with the first free number."""
    names = (path if n == 1 else path.with_stem(f'{path.stem}-{n}') for n in itertools.count(1))
    return next(name for name in names if not name.exists())


def print_table(metric: str, scores: Mapping[str, Mapping[int, float]]) -> None:
    """One row for each config."""
    print(f'\n| config | {metric}: mean | standard deviation | runs |\n|---|---|---|---|')
    for name, runs in scores.items():
        spread = 'one run'
        if len(runs) > 1:
            # statistics stumbles over NaN.
            finite = all(map(math.isfinite, runs.values()))
            spread = f'{statistics.stdev(runs.values()) if finite else math.nan:.2f}'
        each = ', '.join(f'{score:.2f}' for score in runs.values())
        print(f'| {name} | {statistics.mean(runs.values()):.2f} | {spread} | {each} |')


def main() -> None:
    """Run what is missing, seed by seed, then print the tables."""
    args = parse_args()
    metrics = choose_metrics(args)
    scores: dict[str, dict[str, dict[int, float]]] = {m: {c.stem: {} for c in args.configs} for m in metrics}
    for seed in args.seeds:
        for config in args.configs:
            folder = args.out_dir / config.stem / f'seed{seed}'
            run = finished_run(folder, recipe(config, args.cfg_options))
            run = run or train(config, seed, folder, args.cfg_options)
            found = test_scores(config, run, args.cfg_options) if args.test else last_scores(run)
            found = {name: math.nan if value is None else value for name, value in found.items()}
            for metric in metrics:
                if metric not in found:
                    known = sorted(key for key in found if '/' in key)
                    raise UserError(f'{run} has no {metric!r}: choose --metric among {known}')
                scores[metric][config.stem][seed] = found[metric]
            values = ', '.join(f'{metric} {found[metric]:.2f}' for metric in metrics)
            print(f'{config.stem} seed {seed}: {values}', flush=True)
    for metric in metrics:
        print_table(metric, scores[metric])
    report = unused(args.out_dir / 'compare.json')
    report.write_text(to_json(dict(scores=scores), indent=2) + '\n')
    print(f'\nwritten to {report}')


if __name__ == '__main__':
    run_tool(main)
