"""Time of attention_crop against one picture at a time, in one run: forward, and backward to pictures and squares.

Against it stand a loop over pictures that cuts whole pixels and resizes them (no gradient by the square, and none
between pixels), and a loop over ``affine_grid`` and ``grid_sample``. They take turns; medians are printed, and ratios
are medians over the runs, so that what else the machine does meets all of them.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mmlattn.models.racnn.crop import CROP_GRADIENTS, attention_crop
from mmlattn.models.racnn.squares import place_squares, squares_to_boxes, squares_to_theta
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import make_parser
from mmlattn.utils.timing import clock


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--batch-size', type=int, default=64, help='pictures (default %(default)s)')
    parser.add_argument(
        '--size', type=int, default=448, help='side of a picture, in pixels (default %(default)s)'
    )
    parser.add_argument('--crop-size', type=int, default=224, help='side of a crop (default %(default)s)')
    parser.add_argument('--grad', choices=CROP_GRADIENTS, nargs='+', default=list(CROP_GRADIENTS))
    parser.add_argument('--threads', type=int, default=1, help='CPU threads (default %(default)s)')
    parser.add_argument('--repeats', type=int, default=11, help='timed runs of each (default %(default)s)')
    parser.add_argument('--device', default='cpu')
    return parser.parse_args()


def slices(x: Tensor, squares: Tensor, size: int) -> Tensor:
    """Whole pixels of each picture, resized."""
    boxes = (squares_to_boxes(squares.detach()) * x.shape[-1]).round().long().tolist()
    parts = [
        F.interpolate(picture[None, :, y0:y1, x0:x1], (size, size), mode='bilinear', align_corners=False)
        for picture, (x0, y0, x1, y1) in zip(x.unbind(), boxes, strict=True)
    ]
    return torch.cat(parts)


def sampler_loop(x: Tensor, squares: Tensor, size: int) -> Tensor:
    """The interpolation of attention_crop, one picture at a time, with PyTorch's own functions."""
    parts = []
    for picture, square in zip(x.unbind(), squares.unbind(), strict=True):
        side_x, side_y, centre_x, centre_y = squares_to_theta(square)
        zero = torch.zeros_like(side_x)
        matrix = torch.stack((side_x, zero, centre_x, zero, side_y, centre_y)).view(1, 2, 3)
        grid = F.affine_grid(matrix, (1, x.shape[1], size, size), align_corners=False)
        parts.append(F.grid_sample(picture[None], grid, padding_mode='border', align_corners=False))
    return torch.cat(parts)


def seconds(
    crop: Callable[[Tensor, Tensor], Tensor], x: Tensor, raw: Tensor, upstream: Tensor
) -> list[float]:
    """Forward, and backward to the pictures and, where there is a gradient, to what places the squares."""
    x.grad = raw.grad = None
    times = [clock(x.device)]
    seen = crop(x, place_squares(raw))
    times.append(clock(x.device))
    seen.backward(upstream)
    times.append(clock(x.device))
    return [times[1] - times[0], times[2] - times[1], times[2] - times[0]]


def main() -> None:
    """Take turns and print the table."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    x = torch.rand(args.batch_size, 3, args.size, args.size, device=args.device, requires_grad=True)
    raw = torch.randn(args.batch_size, 3, device=args.device, requires_grad=True)
    upstream = torch.randn(args.batch_size, 3, args.crop_size, args.crop_size, device=args.device)
    crops = {
        f'attention_crop, {grad}': lambda x, squares, grad=grad: attention_crop(
            x, squares, args.crop_size, grad
        )
        for grad in args.grad
    }
    crops['loop of slices'] = lambda x, squares: slices(x, squares, args.crop_size)
    crops['loop of grid_sample'] = lambda x, squares: sampler_loop(x, squares, args.crop_size)
    times = {name: [] for name in crops}
    for run in range(args.repeats + 2):
        for name, crop in crops.items():
            taken = seconds(crop, x, raw, upstream)
            if run >= 2:
                times[name].append(taken)
    print(
        f'{args.batch_size} pictures, {args.size} to {args.crop_size} pixels, {args.device}, {args.threads} '
        f'thread(s), torch {torch.__version__}, medians of {args.repeats}\n'
        '| | forward | backward | step | / loop of slices | / loop of grid_sample |\n|---|---|---|---|---|---|'
    )
    for name, taken in times.items():
        cells = [f'{1e3 * statistics.median(part):.1f} ms' for part in zip(*taken, strict=True)]
        for other in ('loop of slices', 'loop of grid_sample'):
            ratios = [ours[2] / theirs[2] for ours, theirs in zip(taken, times[other], strict=True)]
            cells.append(f'{statistics.median(ratios):.2f}')
        print(f'| {name} | ' + ' | '.join(cells) + ' |')


if __name__ == '__main__':
    run_tool(main)
