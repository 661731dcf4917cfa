"""Training step of Attention-56 against torchvision's ResNet-152 and ResNet-50: time, time per multiply-add, memory.

Every network runs in both memory formats and is judged by its faster one. The networks take turns, so that what else
the machine does meets all of them; a ratio is the median over the rounds. On a CPU they run with an allocator that
keeps memory for the next step, as docs/training.md advises; --give-back takes glibc's default instead. Peak memory is
what a step adds to a fresh process that holds the network (Linux, default allocator; on a GPU what PyTorch reports).
"""

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmlattn.models import ResidualAttentionNet
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import make_parser
from mmlattn.utils.timing import seconds, take_turns

FORMATS = dict(channels_last=torch.channels_last, contiguous=torch.contiguous_format)


class Attention(nn.Module):
    """The backbone with its linear head."""

    def __init__(self, arch: str, with_cp: bool = False) -> None:
        super().__init__()
        self.backbone = ResidualAttentionNet(arch, with_cp=with_cp)
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.backbone(x)[0].mean(dim=(2, 3)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    'Attention-56': lambda: Attention('56'),
    'Attention-92': lambda: Attention('92'),
    'Attention-56 with_cp': lambda: Attention('56', with_cp=True),
    'ResNet-152': torchvision.models.resnet152,
    'ResNet-50': torchvision.models.resnet50,
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--threads', type=int, default=2, help='CPU threads (default %(default)s)')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--amp', action='store_true', help='autocast to bfloat16')
    parser.add_argument(
        '--networks', nargs='+', choices=NETWORKS, default=['Attention-56', 'ResNet-152', 'ResNet-50']
    )
    parser.add_argument(
        '--give-back',
        action='store_true',
        help="glibc's default: freed memory goes back and is faulted in again",
    )
    parser.add_argument(
        '--profile', action='store_true', help='also say where the first network spends its time'
    )
    parser.add_argument('--peak', nargs=2, metavar=('NETWORK', 'FORMAT'), help=argparse.SUPPRESS)
    return parser.parse_args()


def make_step(name: str, memory_format: str, args: argparse.Namespace) -> Callable[[], None]:
    """Forward and backward of one batch."""
    model = NETWORKS[name]().to(args.device, memory_format=FORMATS[memory_format]).train()
    x = torch.randn(args.batch_size, 3, args.size, args.size, device=args.device)
    x = x.contiguous(memory_format=FORMATS[memory_format])
    y = torch.randint(0, 1000, (args.batch_size,), device=args.device)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.amp):
            loss = F.cross_entropy(model(x).float(), y)
        loss.backward()

    return step


def keep_memory() -> bool:
    """Tell glibc never to give memory back: no mmap for large tensors, no trimming. False without glibc."""
    mmap_max, trim_threshold = -4, -1  # of malloc.h
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return mallopt is not None and mallopt(mmap_max, 0) == 1 and mallopt(trim_threshold, -1) == 1


def multiply_adds(name: str, size: int) -> int:
    """Of convolutions and linear layers."""
    with torch.device('meta'), torch.no_grad(), FlopCounterMode(display=False) as counter:
        NETWORKS[name]().eval()(torch.empty(1, 3, size, size))
    return counter.get_total_flops() // 2  # a multiply-add is two


def peak_bytes(name: str, memory_format: str, args: argparse.Namespace) -> int:
    """What one step needs beyond the network itself."""
    step = make_step(name, memory_format, args)
    if args.device != 'cpu':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    before = resident_bytes('VmRSS')
    step()
    return resident_bytes('VmHWM') - before


def resident_bytes(field: str) -> int:
    """Memory of this process, now (VmRSS) or at most (VmHWM); getrusage's maximum counts the parent's as well."""
    status = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
    return int(status[field].split()[0]) * 1024


def peak_in_new_process(name: str, memory_format: str) -> int:
    """``peak_bytes`` where nothing else has run, for memory once touched stays with a process."""
    command = [sys.executable, *sys.argv, '--peak', name, memory_format]
    # glibc's default, which gives memory back, whatever this process runs with.
    env = {key: value for key, value in os.environ.items() if not key.startswith('MALLOC_')}
    return int(
        subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.split()[-1]
    )


def profile(name: str, memory_format: str, args: argparse.Namespace) -> str:
    """Table of the operators that cost most."""
    step = make_step(name, memory_format, args)
    step()
    with torch.profiler.profile() as record:
        step()
    column = 'self_cpu_time_total' if args.device == 'cpu' else 'self_device_time_total'
    return record.key_averages().table(sort_by=column, row_limit=15, max_name_column_width=48)


def main() -> None:
    """Measure and print a table."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.peak:
        print(peak_bytes(*args.peak, args))
        return
    kept = args.device == 'cpu' and not args.give_back and keep_memory()
    steps = {(name, layout): make_step(name, layout, args) for name in args.networks for layout in FORMATS}
    times = take_turns(
        {key: partial(seconds, step, args.device) for key, step in steps.items()}, args.repeats, 1
    )
    best = {
        name: min(FORMATS, key=lambda layout: statistics.median(times[name, layout]))
        for name in args.networks
    }
    macs = {name: multiply_adds(name, args.size) for name in args.networks}
    first = args.networks[0]

    allocator = 'memory kept' if kept else 'default allocator'
    cpu = f'{args.threads} CPU threads, {allocator}'
    where = cpu if args.device == 'cpu' else torch.cuda.get_device_name()
    print(
        f'batch {args.batch_size}, {args.size} px, {where}, torch {torch.__version__}, {args.repeats} rounds'
    )
    columns = ('network', 'multiply-adds', 'channels_last', 'contiguous', 'peak memory of a step')
    columns += tuple(f'{first} / it: {what}' for what in ('step', 'per multiply-add'))
    print('| ' + ' | '.join(columns) + ' |\n' + '|---' * len(columns) + '|')
    for name in args.networks:
        rounds = zip(times[first, best[first]], times[name, best[name]], strict=True)
        ratio = statistics.median(a / b for a, b in rounds)
        cells = [name, f'{macs[name] / 1e9:.2f} G']
        cells += [f'{statistics.median(times[name, layout]):.3f} s' for layout in FORMATS]
        cells += [f'{peak_in_new_process(name, best[name]) / 2**30:.2f} GiB']
        cells += [f'{ratio:.3f}', f'{ratio * macs[name] / macs[first]:.3f}']
        print('| ' + ' | '.join(cells) + ' |')
    if args.profile:
        print(profile(first, best[first], args))


if __name__ == '__main__':
    run_tool(main)
