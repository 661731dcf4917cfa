"""Fuse the predictions of several models, or of one network trained at several scales, and evaluate them.

    python tools/test.py CONFIG_512 CHECKPOINT_512 --out 512.pkl
    python tools/test.py CONFIG_640 CHECKPOINT_640 --out 640.pkl
    python tools/analysis_tools/fuse_scores.py CONFIG_512 512.pkl 640.pkl

Pictures are matched by their paths. Labels are decided anew by the rule of the config's head, and the metrics are
those of its test_evaluator; classes have numbers in their tables, as no data set is read.
"""

import argparse
import math
from pathlib import Path
from typing import Any

from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_config, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_trust, make_parser

TRUTH = ('gt_label', 'gt_score', 'gt_label_ignore', 'gt_label_difficult')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='config with the head that decides and the test_evaluator')
    parser.add_argument('predictions', nargs='+', help='two or more .pkl files of tools/test.py --out')
    parser.add_argument('--fuse', choices=['mean', 'max'], default='mean', help='of scores; default mean')
    parser.add_argument('--weights', nargs='+', type=float, help='of the files in the mean; equal by default')
    parser.add_argument('--out', help='new file: .pkl for the fused predictions, .json for all metrics')
    add_cfg_options(parser)
    add_trust(parser)
    args = parser.parse_args()
    if len(args.predictions) < 2:
        parser.error(f'there is nothing to fuse in one file, {args.predictions[0]}: give two or more')
    if args.weights is not None:
        if args.fuse != 'mean':
            parser.error('--weights are those of a mean: leave --fuse max out')
        if len(args.weights) != len(args.predictions):
            parser.error(f'{len(args.predictions)} files need as many --weights, got {len(args.weights)}')
        if not all(w > 0 for w in args.weights) or not math.isfinite(sum(args.weights)):
            parser.error(f'--weights must be above 0, with a sum that a float holds, got {args.weights}')
    if args.out is not None and Path(args.out).suffix not in ('.pkl', '.json'):
        parser.error(f'--out takes .pkl for predictions or .json for metrics, got {args.out}')
    if args.out is not None and Path(args.out).exists():
        parser.error(f'--out {args.out} exists already: give another name, or remove it')
    return args


def by_path(name: str, samples: list[dict]) -> dict[str, dict]:
    """The predictions of a file by the path of their picture.

    Raises:
        UserError: If one has no path, scores or truth, of the same classes all, or two have the same path.
    """
    for field in ('img_path', 'pred_score'):
        if any(field not in sample for sample in samples):
            raise UserError(
                f'{name} has predictions without {field}: they must be those of a classifier, and meta_keys of '
                'PackInputs must keep img_path'
            )
    for sample in samples:
        check_sample(name, sample, samples[0])
    found = {sample['img_path']: sample for sample in samples}
    if len(found) < len(samples):
        raise UserError(
            f'{name} has {len(samples)} predictions of {len(found)} pictures: which of them to take?'
        )
    return found


def check_sample(name: str, sample: dict, first: dict) -> None:
    """See that a sample has a path, a score for each class and a truth of these classes.

    Raises:
        UserError: Naming the picture and what is wrong.
    """
    import torch

    path, scores = sample['img_path'], sample['pred_score']
    if not isinstance(path, str):
        raise UserError(f'{name} has a prediction with img_path={path!r}: expected the path of a picture')
    if not torch.is_tensor(scores) or scores.dim() != 1 or scores.is_complex() or not scores.isfinite().all():
        raise UserError(
            f'{name}: pred_score of {path} must be a tensor with one finite score for each class, as tools/test.py '
            f'writes it, got {str(scores)[:60]!r}'
        )
    if len(scores) != len(first['pred_score']):
        raise UserError(
            f'{name} scores {len(first["pred_score"])} classes of {first["img_path"]} and {len(scores)} of {path}: '
            'it must come from one network'
        )
    found = truth(sample)
    if not found.keys() & {'gt_label', 'gt_score'}:
        raise UserError(f'{name}: {path} has no gt_label or gt_score to compare with: test with annotations')
    for field, values in found.items():
        classes = range(len(scores))
        fits = len(values) == len(classes) if field == 'gt_score' else all(v in classes for v in values)
        if not fits:
            raise UserError(
                f'{name}: {field} of {path} is not of the {len(classes)} classes of pred_score, got '
                f'{len(values) if field == "gt_score" else values}: test with the annotations of these classes'
            )


def check_same_data(files: dict[str, dict[str, dict]]) -> None:
    """See that all files are about the same pictures, classes and truth.

    Raises:
        UserError: Naming the first two files that are not, and how they differ.
    """
    (first, samples), *others = files.items()
    for name, other in others:
        differing = sorted(samples.keys() ^ other.keys())
        if differing:
            owner = first if differing[0] in samples else name
            raise UserError(
                f'{first} and {name} are not of the same data: {len(differing)} pictures are in one of them only, '
                f'such as {differing[0]} in {owner}'
            )
        for path, sample in samples.items():
            counts = [len(s['pred_score']) for s in (sample, other[path])]
            if counts[0] != counts[1]:
                raise UserError(
                    f'{first} scores {counts[0]} classes and {name} {counts[1]}: they are not of the same data'
                )
            mine, theirs = truth(sample), truth(other[path])
            for field in TRUTH:
                if mine.get(field) != theirs.get(field):
                    raise UserError(
                        f'{first} and {name} differ in {field} of {path}, {labels(mine, field)} and '
                        f'{labels(theirs, field)}: test both with the same annotations'
                    )


def truth(sample: dict) -> dict[str, list]:
    """The ground truth of a sample, label sets in order.

    Raises:
        UserError: If some of it is no list of numbers.
    """
    found = {name: sample[name] for name in TRUTH if sample.get(name) is not None}
    lists = {name: value.tolist() if hasattr(value, 'tolist') else value for name, value in found.items()}
    for name, values in lists.items():
        if not isinstance(values, (list, tuple)) or not all(isinstance(v, (int, float)) for v in values):
            raise UserError(
                f'{name} of {sample["img_path"]} must be a list of numbers, got {str(found[name])[:60]!r}'
            )
    return {name: list(value) if name == 'gt_score' else sorted(value) for name, value in lists.items()}


def labels(found: dict[str, list], field: str) -> list | None:
    """The classes that a field of the truth names."""
    values = found.get(field)
    return [c for c, v in enumerate(values) if v > 0] if values and field == 'gt_score' else values


def fuse(cfg: Any, files: list[dict[str, dict]], how: str, weights: list[float] | None) -> list[dict]:
    """Fused predictions, in the order of the first file and without the evidence of any."""
    import torch
    from mmengine.registry import DefaultScope
    from mmpretrain.registry import MODELS

    from mmlattn.models.views.decision import decide_labels
    from mmlattn.structures import EVIDENCE_FIELDS

    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')), explain_config():
        head = MODELS.build(cfg.model.head)
    paths = list(files[0])
    scores = torch.stack([torch.stack([f[path]['pred_score'].float() for path in paths]) for f in files])
    if how == 'max':
        fused = scores.amax(dim=0)
    else:
        parts = torch.tensor(weights or [1.0] * len(files), dtype=torch.float64)
        fused = torch.einsum('f,fnc->nc', parts / parts.sum(), scores.double()).float()
    samples = [
        {name: value for name, value in files[0][path].items() if name not in EVIDENCE_FIELDS}
        for path in paths
    ]
    return [
        sample | dict(pred_score=score.clone(), pred_label=label)
        for sample, score, label in zip(samples, fused, decide_labels(head, fused, samples), strict=True)
    ]


def evaluate(cfg: Any, name: str, samples: list[dict]) -> dict[str, float]:
    """Metrics of the config's test_evaluator; those of evidence where there is some."""
    from mmengine.evaluator import Evaluator
    from mmengine.registry import DefaultScope

    from mmlattn.evaluation.evaluators import check_metric_names, leave_out_evidence
    from mmlattn.structures.evidence import EVIDENCE_KINDS

    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')), explain_config():
        evaluator = Evaluator(cfg.test_evaluator)
    check_metric_names(evaluator.metrics, 'test_evaluator')
    if not any(field in samples[0] for field in EVIDENCE_KINDS) and (out := leave_out_evidence(evaluator)):
        print(f'{name}: without evidence, so without {", ".join(out)}')
    return evaluator.offline_evaluate(samples, chunk_size=256)


def print_table(metrics: dict[str, dict]) -> None:
    """One row for each metric, one column for each file and the fusion."""
    print('| metric | ' + ' | '.join(metrics) + ' |\n|---' + '|---' * len(metrics) + '|')
    for key in dict.fromkeys(key for values in metrics.values() for key in values):
        row = [values.get(key, '-') for values in metrics.values()]
        print(f'| {key} | ' + ' | '.join(f'{v:.2f}' if isinstance(v, float) else str(v) for v in row) + ' |')


def main() -> None:
    """Read, match, fuse, evaluate."""
    args = parse_args()
    cfg = read_config(args)
    if not cfg.get('model', {}).get('head') or not cfg.get('test_evaluator'):
        raise UserError(
            f'{args.config} needs model.head, whose rule decides the labels, and test_evaluator, whose metrics are '
            'computed'
        )
    from mmlattn.utils.predictions import load_predictions

    files = {}
    for name in args.predictions:
        if name in files:
            raise UserError(f'{name} is given twice; to count it twice use --weights')
        files[name] = by_path(name, load_predictions(name, args.trust_checkpoint))
    check_same_data(files)
    fused = fuse(cfg, list(files.values()), args.fuse, args.weights)
    metrics = {name: evaluate(cfg, name, list(samples.values())) for name, samples in files.items()}
    metrics['fused'] = evaluate(cfg, 'fused', fused)
    print_table(metrics)
    if args.out is not None:
        import mmengine

        mmengine.dump(fused if args.out.endswith('.pkl') else metrics, args.out)
        print(f'written to {args.out}')


if __name__ == '__main__':
    run_tool(main)
