"""Time and memory of CSRAHead against mmpretrain's CSRAClsHead and a bare 1x1 convolution, in one run.

Times are medians of forward + backward, the three taking turns; memory is what autograd keeps for the backward
pass (unique storages seen by ``saved_tensors_hooks``), without the feature map and the classifier's parameters
that each must keep.
"""

import argparse
import statistics
from functools import partial

import torch
import torch.nn.functional as F
from mmpretrain.models.heads import CSRAClsHead

from mmlattn.models import CSRAHead
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import make_parser
from mmlattn.utils.memory import saved_bytes
from mmlattn.utils.timing import seconds, take_turns


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--num-heads', type=int, default=6, choices=(1, 2, 4, 6, 8))
    parser.add_argument('--num-classes', type=int, default=80)
    parser.add_argument('--in-channels', type=int, default=2048)
    parser.add_argument('--size', type=int, default=14, help='side of the feature map')
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--repeats', type=int, default=15)
    parser.add_argument('--device', default='cpu')
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    args = parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    shape = dict(
        num_classes=args.num_classes, in_channels=args.in_channels, num_heads=args.num_heads, lam=0.5
    )
    ours, theirs = CSRAHead(**shape).to(args.device), CSRAClsHead(**shape).to(args.device)
    x = torch.randn(
        args.batch_size, args.in_channels, args.size, args.size, device=args.device, requires_grad=True
    )
    kernel = torch.randn(
        args.num_heads * args.num_classes, args.in_channels, 1, 1, device=args.device, requires_grad=True
    )
    upstream = torch.randn(args.batch_size, len(kernel), args.size, args.size, device=args.device)
    steps = {
        'CSRAHead': (lambda: ours((x,)).sum(), [x, *ours.parameters()]),
        'CSRAClsHead': (lambda: theirs((x,)).sum(), [x, *theirs.parameters()]),
        'conv2d 1x1': (lambda: (F.conv2d(x, kernel) * upstream).sum(), [x, kernel, upstream]),
    }
    turns = {
        n: partial(seconds, lambda step=step: step().backward(), args.device)
        for n, (step, _) in steps.items()
    }
    times = take_turns(turns, args.repeats, 2)
    medians = {name: statistics.median(values) for name, values in times.items()}
    memory = {name: saved_bytes(step, own) for name, (step, own) in steps.items()}
    print(f'{args}\n{"":14}{"ms":>10}{"CSRAHead /":>12}{"MiB saved":>12}{"CSRAHead /":>12}')
    for name in steps:
        ratio_time = f'{medians["CSRAHead"] / medians[name]:.2f}'
        ratio_memory = f'{memory["CSRAHead"] / memory[name]:.2f}' if memory[name] else '-'
        print(
            f'{name:14}{1e3 * medians[name]:10.1f}{ratio_time:>12}{memory[name] / 2**20:12.1f}{ratio_memory:>12}'
        )


if __name__ == '__main__':
    run_tool(main)
