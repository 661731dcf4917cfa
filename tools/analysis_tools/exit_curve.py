"""Accuracy against cost of RA-CNN that stops looking closer once it is sure, without running it again.

    python tools/test.py CONFIG CHECKPOINT --out pred.pkl --cfg-options model.with_evidence=True
    python tools/analysis_tools/exit_curve.py CONFIG pred.pkl --out curve.png

For each threshold it says what `model.exit_above` of that value gives: how many scales look at a picture on average,
at how many multiply-adds (as get_flops.py counts them, localizers and fusion included) and with which accuracy. The
table is printed and written as JSON beside the plot.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_config, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_trust, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='config of an RA-CNN')
    parser.add_argument(
        'predictions', help='.pkl of tools/test.py --out, with evidence and without exit_above'
    )
    parser.add_argument('--out', type=Path, required=True, help='the plot, a new file: .png, .svg or .pdf')
    parser.add_argument('--thresholds', nargs='+', type=float, help='by default such that equal shares stop')
    parser.add_argument('--points', type=int, default=21, help='number of default thresholds; default 21')
    add_trust(parser)
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.out.suffix not in ('.png', '.svg', '.pdf'):
        parser.error(f'--out must end in .png, .svg or .pdf, got {args.out}')
    for path in (args.out, args.out.with_suffix('.json')):
        if path.exists():
            parser.error(f'{path} exists already: give another --out, or remove it')
    if not all(0 <= t < math.inf for t in args.thresholds or []):
        parser.error(f'--thresholds must be of 0 or more, got {args.thresholds}')
    if args.points < 2:
        parser.error(f'--points must be 2 or more, got {args.points}')
    return args


def exit_costs(cfg: Any) -> list[int]:
    """Multiply-adds for one picture of the config's size that is done after each scale.

    Raises:
        UserError: If the config's model is no RA-CNN.
    """
    from mmlattn.apis.flops import count, input_size
    from mmlattn.apis.loading import build_model
    from mmlattn.models.racnn.classifier import RACNN

    height, width, _ = input_size(cfg)
    with explain_config(f' at {height} x {width} pixels'):
        model = build_model(cfg)
        if not isinstance(model, RACNN):
            raise UserError(f'the model is a {type(model).__name__}, but RACNN alone can stop early')
        costs, asked = [], 0
        for scales in range(1, model.num_scales + 1):
            model.depth, model.fused = scales, scales > 1
            parts = count(model, height, width)
            costs.append(parts[''].multiply_adds + asked)
            # Those that were asked whether they are sure, in vain, have spoken too.
            if scales > 1 and len(model.fusion):
                asked += parts[f'fusion.{scales - 2}'].multiply_adds
    return costs


def read_exits(name: str, samples: list[dict], num_scales: int) -> tuple[np.ndarray, np.ndarray]:
    """How sure the first k scales together are, and whether they are right.

    Returns:
        tuple[ndarray, ndarray]: Highest probability and hit, (N, S) each.

    Raises:
        UserError: If the samples lack scores, a label, or looks of some scales.
    """
    from mmlattn.evaluation.functional.scales import class_ranks
    from mmlattn.structures.evidence import read_scale_scores
    from mmlattn.structures.labels import true_class

    confidence, hits = [], []
    for sample in samples:
        _, scales, fused = read_scale_scores(sample)
        if len(scales) != num_scales:
            raise UserError(
                f'{name}: {len(scales)} of {num_scales} scales looked at {sample.get("img_path", "a picture")}: test '
                'this config with model.exit_above=None and model.output=None'
            )
        scores = np.concatenate([scales[:1], fused])
        confidence.append(scores.max(axis=1))
        hits.append(class_ranks(scores, true_class(sample, scores.shape[1])) == 0)
    return np.array(confidence), np.array(hits)


def default_thresholds(confidence: np.ndarray, points: int) -> list[float]:
    """Quantiles of how sure all but the last are, from 0, to six digits so that they can be typed."""
    quantiles = np.quantile(confidence[:, :-1].astype(np.float64), np.linspace(0, 1, points)[1:])
    return np.unique([0, *quantiles.round(6)]).tolist()


def exit_row(confidence: np.ndarray, hits: np.ndarray, costs: list[int], threshold: float | None) -> dict:
    """What a threshold gives; with None every scale looks."""
    from mmlattn.evaluation.functional.scales import exit_scales

    last = exit_scales(confidence, math.inf if threshold is None else threshold)
    return dict(
        threshold=threshold,
        mean_scales=float(last.mean()) + 1,
        mean_multiply_adds=float(np.array(costs)[last].mean()),
        accuracy=100 * float(hits[np.arange(len(hits)), last].mean()),
    )


def draw(rows: list[dict]) -> Any:
    """The curve, with both ends named."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout='constrained')
    axes = figure.add_subplot(
        xlabel='mean multiply-adds per picture (10⁹)', ylabel='accuracy (%)', title='Stopping when sure'
    )
    cost, accuracy = [row['mean_multiply_adds'] / 1e9 for row in rows], [row['accuracy'] for row in rows]
    axes.plot(cost, accuracy, marker='o', markersize=4, color='#0072B2')
    for index in (0, -1):
        label = f'{rows[index]["mean_scales"]:.2f} scales'
        axes.annotate(label, (cost[index], accuracy[index]), (0, 6), textcoords='offset points', ha='center')
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    return figure


def main() -> None:
    """Read, sweep, print, write."""
    args = parse_args()
    cfg = read_config(args)
    from mmlattn.utils.predictions import load_predictions

    samples = load_predictions(args.predictions, args.trust_checkpoint)
    costs = exit_costs(cfg)
    confidence, hits = read_exits(args.predictions, samples, len(costs))
    thresholds = args.thresholds or default_thresholds(confidence, args.points)
    rows = [exit_row(confidence, hits, costs, t) for t in [*sorted(thresholds), None]]

    print('| exit_above | mean scales | mean GMACs | accuracy |\n|---|---|---|---|')
    for row in rows:
        name = 'never' if row['threshold'] is None else f'{row["threshold"]:g}'
        print(
            f'| {name} | {row["mean_scales"]:.3f} | {row["mean_multiply_adds"] / 1e9:.4g} | {row["accuracy"]:.2f} |'
        )
    told = dict(multiply_adds=costs, pictures=len(samples), curve=rows)
    with args.out.with_suffix('.json').open('x', encoding='utf-8') as file:
        file.write(to_json(told, indent=2))
    with args.out.open('xb') as file:
        draw(rows).savefig(file, format=args.out.suffix[1:], dpi=150)
    print(f'written to {args.out} and {args.out.with_suffix(".json")}')


if __name__ == '__main__':
    run_tool(main)
