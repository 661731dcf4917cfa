"""Time the whole MultiLabelReport against mmpretrain's AveragePrecision alone, on the same collected results.

Scores and targets are drawn with a seed. Each sample goes through ``process`` of both metrics once; timed is
``compute_metrics``, which is what runs after the last batch. The two take turns, and medians are printed.
"""

import argparse
import statistics
from functools import partial

import numpy as np
import torch
from mmpretrain.evaluation import AveragePrecision

from mmlattn.evaluation import MultiLabelReport
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import make_parser
from mmlattn.utils.timing import seconds, take_turns


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        '--num-images', type=int, default=40137, help='images (COCO val2014 with annotations: 40137)'
    )
    parser.add_argument('--num-classes', type=int, default=80, help='classes')
    parser.add_argument('--repeats', type=int, default=7, help='timed runs of each metric')
    parser.add_argument('--threads', type=int, default=1, help='threads of torch')
    parser.add_argument('--seed', type=int, default=0, help='seed of scores and targets')
    return parser.parse_args()


def main() -> None:
    """Draw, collect, time and print."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(args.seed)
    frequency = np.geomspace(0.5, 0.002, args.num_classes)  # COCO's classes lie in about this range
    targets = torch.from_numpy((rng.random((args.num_images, args.num_classes)) < frequency).astype(np.int64))
    logits = rng.standard_normal((args.num_images, args.num_classes), dtype=np.float32) - 2
    scores = torch.sigmoid(torch.from_numpy(logits) + 2 * targets.float())
    samples = [dict(pred_score=s, gt_score=t) for s, t in zip(scores, targets, strict=True)]

    metrics = {
        'mmpretrain AveragePrecision': AveragePrecision(),
        'mmlattn MultiLabelReport': MultiLabelReport(),
    }
    for metric in metrics.values():
        metric.process(None, samples)
    mean_ap = {}

    def evaluate(name: str) -> None:
        mean_ap[name] = metrics[name].compute_metrics(metrics[name].results)['mAP']

    turns = {name: partial(seconds, partial(evaluate, name)) for name in metrics}
    times = take_turns(turns, args.repeats)
    medians = [statistics.median(values) for values in times.values()]
    print(f'{args.num_images} x {args.num_classes}, {args.threads} thread(s), median of {args.repeats}')
    for name, median in zip(metrics, medians, strict=True):
        print(f'  {name:28s} {1000 * median:9.3f} ms   mAP {mean_ap[name]:.6f}')
    print(f'  ratio {medians[1] / medians[0]:.2f}')


if __name__ == '__main__':
    run_tool(main)
