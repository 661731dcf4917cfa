"""Time of beam_search against beams written with Python lists, in one run, on the paper's decoder.

One calls the decoder for each live path, one for each image and step; both mask, rank and end as ours does. END is
made improbable, so that all steps are taken. The three take turns; medians are printed, and ratios are medians over
the runs, so that what else the machine does meets all of them. Every run checks that all found the same best paths.
"""

import argparse
import heapq
import statistics

import torch
from torch import Tensor

from mmlattn.models.cnn_rnn.beam_search import beam_search
from mmlattn.models.cnn_rnn.joint_decoder import JointDecoder
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import make_parser
from mmlattn.utils.timing import clock


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--batch-size', type=int, default=64, help='images (default %(default)s)')
    parser.add_argument('--width', type=int, default=5, help='beams (default %(default)s)')
    parser.add_argument('--num-classes', type=int, default=80, help='labels (default %(default)s)')
    parser.add_argument('--steps', type=int, default=18, help='most labels on a path (default %(default)s)')
    parser.add_argument('--hidden-dims', type=int, default=512, help='of the LSTM (default %(default)s)')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads (default %(default)s)')
    parser.add_argument('--repeats', type=int, default=5, help='timed runs of each (default %(default)s)')
    parser.add_argument('--device', default='cpu')
    return parser.parse_args()


def make_decoder(num_classes: int, hidden_dims: int) -> JointDecoder:
    """A decoder that prefers some labels clearly, and never END."""
    decoder = JointDecoder(num_classes, 64, hidden_dims=hidden_dims).eval()
    torch.nn.init.normal_(decoder.labels.table.weight, std=0.5)
    # What it is multiplied with is never negative.
    torch.nn.init.constant_(decoder.labels.table.weight[num_classes], -100.0)
    return decoder


def batched(decoder: JointDecoder, context: Tensor, width: int, steps: int) -> list[list[int]]:
    """Ours: all images and beams in one call each step."""
    num_classes = decoder.labels.num_classes
    start = torch.full(context.shape[:2], num_classes + 1, device=context.device)
    beams = beam_search(
        lambda tokens, state: decoder.step(tokens, state, context),
        start, decoder.start(context), num_classes, width=width, max_len=steps,
    )  # fmt: skip
    best = zip(beams.paths[:, 0].tolist(), beams.lengths[:, 0].tolist(), strict=True)
    return [path[:n] for path, n in best]


def step_log_probs(logits: Tensor, paths: list[list[int]]) -> Tensor:
    """Of the next label (W, C + 1), none of those on its path."""
    for row, path in zip(logits, paths, strict=True):
        row[path] = -torch.inf
    return logits.log_softmax(dim=-1)


def call_per_image(decoder: JointDecoder, context: Tensor, width: int, steps: int) -> list[list[int]]:
    """One image at a time, its beams in one call."""
    found, num_classes = [], decoder.labels.num_classes
    for own in context.split(1):
        state, paths, finished = decoder.start(own), [[]], []
        totals, tokens = own.new_zeros(1), torch.full((1, 1), num_classes + 1, device=own.device)
        for _ in range(steps):
            logits, state = decoder.step(tokens, state, own)
            scores = totals[:, None] + step_log_probs(logits[0], paths)
            finished += zip(scores[:, -1].tolist(), paths, strict=True)
            totals, index = scores[:, :-1].flatten().topk(width)
            parents, labels = index // num_classes, index % num_classes
            paths = [[*paths[i], label] for i, label in zip(parents.tolist(), labels.tolist(), strict=True)]
            state, tokens = tuple(part[:, parents] for part in state), labels[None]
        finished += zip(totals.tolist(), paths, strict=True)
        found.append(max(finished)[1])
    return found


def call_per_path(decoder: JointDecoder, context: Tensor, width: int, steps: int) -> list[list[int]]:
    """One path at a time."""
    found, num_classes = [], decoder.labels.num_classes
    for own in context.split(1):
        live, finished = [(0.0, [], decoder.start(own))], []
        for _ in range(steps):
            extended = []
            for total, path, state in live:
                token = torch.full((1, 1), path[-1] if path else num_classes + 1, device=own.device)
                logits, after = decoder.step(token, state, own)
                scores = step_log_probs(logits[0], [path])[0]
                finished.append((total + scores[-1].item(), path))
                best, labels = scores[:-1].topk(width)
                pairs = zip(best.tolist(), labels.tolist(), strict=True)
                extended += [(total + score, [*path, label], after) for score, label in pairs]
            live = heapq.nlargest(width, extended, key=lambda entry: entry[0])
        finished += [(total, path) for total, path, _ in live]
        found.append(max(finished)[1])
    return found


SEARCHES = {
    'beam_search': batched,
    'one call per image and step': call_per_image,
    'one call per live path': call_per_path,
}


@torch.no_grad()
def main() -> None:
    """Take turns, compare what they find, and print the table."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    decoder = make_decoder(args.num_classes, args.hidden_dims).to(args.device)
    times = {name: [] for name in SEARCHES}
    for run in range(args.repeats + 1):
        context = decoder.context(torch.randn(args.batch_size, 64, device=args.device))
        paths = {}
        for name, search in SEARCHES.items():
            start = clock(context.device)
            paths[name] = search(decoder, context, args.width, args.steps)
            if run:
                times[name].append(clock(context.device) - start)
        if any(found != paths['beam_search'] for found in paths.values()):
            raise RuntimeError('the searches do not agree on the best paths')
    steps = statistics.mean(map(len, paths['beam_search']))
    print(
        f'{args.batch_size} images, width {args.width}, {args.num_classes} labels, {steps:g} labels on the best '
        f'path, {args.device}, {args.threads} thread(s), torch {torch.__version__}, medians of {args.repeats}\n'
        '| | time | / beam_search |\n|---|---|---|'
    )
    for name, taken in times.items():
        ratios = [theirs / ours for theirs, ours in zip(taken, times['beam_search'], strict=True)]
        print(f'| {name} | {1e3 * statistics.median(taken):.0f} ms | {statistics.median(ratios):.1f} |')


if __name__ == '__main__':
    run_tool(main)
