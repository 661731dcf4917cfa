"""Choose thresholds and a calibration on the validation set, and keep them with the weights.

    python tools/analysis_tools/tune_thresholds.py CONFIG CHECKPOINT

writes CHECKPOINT_tuned.pth, with what was chosen as .json and .png beside it. Inferencer, tools/test.py and
tools/predict.py take both from that file. Candidates are judged on pictures that they were not fitted to, and what
does not pay is not taken: see docs/thresholds.md. Let the pictures not be the test set.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from mmlattn.utils.arguments import refuse_existing
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_missing_data, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_font, add_trust, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument('--split', choices=['val', 'test'], default='val', help='whose pictures; default val')
    parser.add_argument(
        '--predictions',
        help='.pkl of tools/test.py --out on these pictures, in the place of a pass over them',
    )
    parser.add_argument(
        '--target',
        default='f1',
        help='f1 (default), precision=P or recall=R that must be reached, as recall=0.8',
    )
    parser.add_argument(
        '--scope',
        choices=['class', 'global', 'both'],
        default='both',
        help="a threshold for each class, one for all, or (default) what does best, the model's own rule included",
    )
    parser.add_argument(
        '--calibrate',
        choices=['auto', 'none', 'temperature', 'platt'],
        default='auto',
        help='how scores become probabilities; default what does best',
    )
    parser.add_argument('--folds', type=int, default=5, help='parts to hold out in turn; default 5')
    parser.add_argument('--seed', type=int, default=0, help='of the folds')
    parser.add_argument(
        '--halves',
        type=int,
        metavar='N',
        help='write nothing: choose on one half of the pictures and measure on the other, for N draws of the halves',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='checkpoint to write, .pth or .safetensors; default CHECKPOINT_tuned with the suffix of CHECKPOINT',
    )
    parser.add_argument(
        '--classes', nargs='+', help='names of the classes to draw; default six, frequent to rare'
    )
    parser.add_argument('--device', default='cpu', help='where to run the model; default cpu')
    add_font(parser)
    add_cfg_options(parser)
    add_trust(parser)
    args = parser.parse_args()
    if args.folds < 2:
        parser.error(f'--folds must be 2 or more, got {args.folds}')
    if args.halves is not None and args.halves < 1:
        parser.error(f'--halves must be 1 or more, got {args.halves}')
    if args.out is not None and args.out.suffix not in ('.pth', '.safetensors'):
        parser.error(f'--out must end in .pth or .safetensors, got {args.out}')
    return args


def output_paths(args: argparse.Namespace) -> dict[str, Path]:
    """The three files to write: the checkpoint, and others by suffix.

    Raises:
        UserError: If one exists.
    """
    source = Path(args.checkpoint)
    folder = Path() if '://' in args.checkpoint else source.parent
    suffix = '.safetensors' if source.suffix == '.safetensors' else '.pth'
    checkpoint = args.out or folder / f'{source.stem}_tuned{suffix}'
    paths = dict(checkpoint=checkpoint)
    paths |= {suffix: checkpoint.with_suffix(suffix) for suffix in ('.json', '.png')}
    for path in paths.values():
        refuse_existing('--out', path)
    return paths


def predict(model: Any, cfg: Any, split: str) -> tuple[list[dict], tuple[str, ...] | None]:
    """Predictions of all pictures of a split, without evidence, and the names of its classes.

    Raises:
        UserError: If the config has no such data.
    """
    import torch
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner
    from rich.progress import track

    from mmlattn.datasets.unknown_labels import check_unknown_arrive
    from mmlattn.datasets.unreadable_pictures import guard_pictures
    from mmlattn.structures import EVIDENCE_FIELDS
    from mmlattn.utils.launch.explain import explain_config

    if cfg.get(f'{split}_dataloader') is None:
        raise UserError(f'the config has no {split}_dataloader: choose another --split')
    scope = DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain')
    with scope, explain_missing_data(cfg, (split,)), explain_config():
        loader = Runner.build_dataloader(cfg[f'{split}_dataloader'], seed=0)
        check_unknown_arrive(loader.dataset, f'{split}_dataloader')
        guard_pictures(loader.dataset, 'raise', training=False)
    samples = []
    with torch.no_grad():
        for batch in track(loader, 'predicting'):
            for sample in model.test_step(batch):
                fields = sample.to_dict()
                samples.append({name: fields[name] for name in fields if name not in EVIDENCE_FIELDS})
    if not samples:
        raise UserError(f'{split}_dataloader has no picture')
    classes = (getattr(loader.dataset, 'metainfo', None) or {}).get('classes')
    return samples, tuple(classes) if classes else None


def names_of(model: Any, found: tuple[str, ...] | None, count: int) -> tuple[str, ...]:
    """The classes by name: those of the checkpoint, with which those of the data must agree; numbers without any.

    Raises:
        UserError: If they do not.
    """
    from mmlattn.apis.loading import class_names
    from mmlattn.engine.hooks.class_names import compare_classes

    stored = class_names(model)
    if stored and found:
        compare_classes(stored, found, 'the checkpoint', 'the data')
    names = stored or found or tuple(str(c) for c in range(count))
    if len(names) != count:
        raise UserError(f'the model scores {count} classes and the data have {len(names)}')
    return names


def print_rows(rows: list, columns: list[str], taken: str, unit: str) -> None:
    """A table of candidates; the one that was taken has a star."""
    print(f'| held out | {" | ".join(columns)} | {unit} |\n|---{"|---" * len(columns)}|---|')
    for row in rows:
        values = (
            f'{100 * row.values[c]:.1f}' if c != 'log_loss' else f'{row.values[c]:.4f}' for c in columns
        )
        scale, digits = (1, 4) if unit.startswith('log-loss') else (100, 1)
        change = f'{scale * row.gain:+.{digits}f} ± {scale * row.spread:.{digits}f}'
        print(f'| {row.name}{" *" * (row.name == taken)} | {" | ".join(values)} | {change} |')


def say(decision: Any, tuned: Any, table: list[dict], target: Any) -> None:
    """What was compared, what was taken and what it brings."""
    print(f'\nCalibration, {tuned.folds} folds; * is taken:')
    print_rows(
        tuned.calibrations, ['log_loss', 'ECE', 'class_ECE'], tuned.calibration_name, 'log-loss gained'
    )
    print('\nThresholds; * is taken:')
    print_rows(tuned.scopes, ['CF1', 'CP', 'CR', 'OF1', 'OP', 'OR'], tuned.scope, 'CF1 gained')
    own, taken = tuned.scopes[0], next(row for row in tuned.scopes if row.name == tuned.scope)
    print(
        f'\n{decision.summary()}: CF1 {100 * own.values["CF1"]:.1f} -> {100 * taken.values["CF1"]:.1f}, '
        f'OF1 {100 * own.values["OF1"]:.1f} -> {100 * taken.values["OF1"]:.1f} on held-out folds'
    )
    if target.kind != 'f1':
        pooled = taken.values['OP' if target.kind == 'precision' else 'OR']
        print(
            f'{target}: {taken.values[target.kind]:.3f} in the mean of the classes and {pooled:.3f} of all labels on '
            'held-out folds; it is reached on the pictures of the choice, not for sure on others'
        )
    empty = [row['label'] for row in table if not row['positives']]
    if empty and decision.thresholds:
        print(f'without a positive, so with the common threshold: {", ".join(empty)}')
    if decision.never_named():
        print(
            f'{target} is reached at no threshold, so never predicted: {", ".join(decision.never_named())}; a lower '
            'target, or --scope global, gives them one'
        )


def tune_labels(args: argparse.Namespace, predicted: Any, model: Any, classes: tuple) -> Any:
    """Choose for a model of several labels; say and draw it."""
    from mmlattn.apis.decisions import class_table, decide_on, own_threshold, reliabilities
    from mmlattn.evaluation.functional.tuning import Target
    from mmlattn.visualization.threshold_figure import Candidate, draw_thresholds, telling_classes

    target = Target.parse(args.target)
    unknown = set(args.classes or ()) - set(classes)
    if unknown:
        raise UserError(f'--classes: the model has no {", ".join(sorted(unknown))}')
    print(
        f'{len(predicted.scores)} pictures of {args.split}, {len(classes)} classes, '
        f'{int((predicted.targets == 1).sum())} labels, {int((predicted.targets < 0).sum())} unknown'
    )
    decision, tuned = decide_on(
        predicted, classes, own_threshold(model, predicted), target, args.split, scope=args.scope,
        calibrate_by=args.calibrate, folds=args.folds, seed=args.seed,
    )  # fmt: skip
    table = class_table(predicted, decision, tuned)
    say(decision, tuned, table, target)
    positives = np.array([row['positives'] for row in table])
    figure = draw_thresholds(
        f'{Path(args.checkpoint).name}: {decision.summary()}',
        tuned.probabilities,
        predicted.targets,
        np.array(decision.thresholds or [np.inf] * len(classes)),
        classes,
        [classes.index(name) for name in args.classes] if args.classes else telling_classes(positives),
        reliabilities(predicted, tuned),
        [Candidate(r.name, r.values['CF1'], r.spread, r.name == tuned.scope) for r in tuned.scopes],
        args.font,
    )
    rows = {
        name: [row._asdict() for row in found]
        for name, found in dict(calibrations=tuned.calibrations, scopes=tuned.scopes).items()
    }
    return decision, figure, dict(rows, classes=table, folds=tuned.folds, seed=args.seed)


def tune_single_label(args: argparse.Namespace, samples: list[dict], classes: tuple) -> Any:
    """Choose the temperature of a model of a single label; say and draw it."""
    from mmlattn.apis.decisions import tune_softmax
    from mmlattn.structures import Decision
    from mmlattn.visualization.threshold_figure import draw_reliability

    print('a single label is the best class, so there are no thresholds to choose: temperature scaling alone')
    found = tune_softmax(samples, args.folds, args.seed)
    print(
        f'temperature {1 / found.scale:.3f}: log-loss {found.before["log_loss"]:.4f} -> '
        f'{found.after["log_loss"]:.4f} (gain {found.gain:.4f} ± {found.spread:.4f}), ECE '
        f'{100 * found.before["ECE"]:.1f} -> {100 * found.after["ECE"]:.1f} on held-out folds'
    )
    count = len(classes)
    decision = Decision(
        classes, [], [found.scale] * count, [0.0] * count, 'the best class', args.split, len(samples), 'softmax',
        scope='own', calibration='none' if found.scale == 1 else 'temperature',
    )  # fmt: skip
    title = f'{Path(args.checkpoint).name}: {decision.summary()}'
    figure = draw_reliability(title, found.reliabilities, args.font)
    kept = {name: value for name, value in found._asdict().items() if name != 'reliabilities'}
    return decision, figure, dict(kept, folds=args.folds, seed=args.seed)


def print_halves(args: argparse.Namespace, predicted: Any) -> None:
    """A row for each draw, and the mean of the gains."""
    from mmlattn.evaluation.functional.tuning import Target, try_halves

    halves = try_halves(
        *predicted, seeds=args.halves, target=Target.parse(args.target), scope=args.scope,
        calibrate_by=args.calibrate, folds=args.folds,
    )  # fmt: skip
    print('| seed | chosen | calibration | CF1 own | CF1 chosen | gain | OF1 own | OF1 chosen |')
    print('|---' * 8 + '|')
    gains = []
    for seed, half in enumerate(halves):
        own, tuned = half.own, half.tuned
        gains.append(100 * (tuned['CF1'] - own['CF1']))
        print(
            f'| {seed} | {half.scope} | {half.calibration_name} | {100 * own["CF1"]:.1f} | {100 * tuned["CF1"]:.1f} '
            f'| {gains[-1]:+.1f} ± {100 * half.spread:.1f} | {100 * own["OF1"]:.1f} | {100 * tuned["OF1"]:.1f} |'
        )
    print(f'mean gain in CF1 on the other half: {np.mean(gains):+.2f}')


def main() -> None:
    """Predict, choose, write."""
    args = parse_args()
    paths = None if args.halves else output_paths(args)
    cfg = read_config(args)

    from mmengine.runner import CheckpointLoader

    from mmlattn.apis.decisions import is_single_label, read_predictions
    from mmlattn.apis.loading import load_model
    from mmlattn.evaluation.functional.tuning import Target
    from mmlattn.structures import with_decision
    from mmlattn.utils.checkpoint.loading import safe_loading
    from mmlattn.utils.checkpoint.weight_files import write_weights
    from mmlattn.utils.json_files import to_json
    from mmlattn.utils.predictions import load_predictions
    from mmlattn.visualization.threshold_figure import MOST_CLASSES

    # Before the pass over the pictures.
    Target.parse(args.target)
    if len(args.classes or ()) > MOST_CLASSES:
        raise UserError(f'--classes: at most {MOST_CLASSES} are drawn, got {len(args.classes)}')
    model = load_model(cfg, args.checkpoint, device=args.device, trust=args.trust_checkpoint).eval()
    single = is_single_label(model)
    if args.predictions:
        samples, found = load_predictions(args.predictions, trust=args.trust_checkpoint), None
    else:
        samples, found = predict(model, cfg, args.split)
    source = args.predictions or f'{args.split}_dataloader'
    predicted = read_predictions(samples, source)
    classes = names_of(model, found, predicted.scores.shape[1])
    if args.halves is not None:
        if single:
            raise UserError('a single label has no thresholds: leave --halves out')
        print_halves(args, predicted)
        return
    if single:
        decision, figure, report = tune_single_label(args, samples, classes)
    else:
        decision, figure, report = tune_labels(args, predicted, model, classes)

    with safe_loading(trust=args.trust_checkpoint):
        checkpoint = CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')
    write_weights(paths['checkpoint'], with_decision(checkpoint, decision))
    head = dict(decision=decision.summary(), checkpoint=args.checkpoint, split=args.split, target=args.target)
    paths['.json'].write_text(to_json(head | report, indent=2) + '\n', encoding='utf-8')
    figure.savefig(paths['.png'])
    print(f'wrote {", ".join(map(str, paths.values()))}')


if __name__ == '__main__':
    run_tool(main)
