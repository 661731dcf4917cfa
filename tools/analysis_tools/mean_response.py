"""Mean absolute response after each part of residual attention networks, one curve for each network.

The paper's figure of why naive attention learning fails: a mask between 0 and 1 lessens what passes it, so responses
fade from module to module, unless the mask is added to 1. Writes the plot and, beside it, the numbers as JSON.

python tools/analysis_tools/mean_response.py CONFIG --vary model.backbone.learning arl nal --random-weights --out
    start.png
python tools/analysis_tools/mean_response.py ARL NAL --checkpoints arl.pth nal.pth --num-images 500 --out trained.png
"""

import argparse
import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from mmlattn.apis import load_model
from mmlattn.apis.pictures import check_pictures, dataset_items, file_items, input_channels
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json
from mmlattn.utils.launch.config import apply_options, load_config
from mmlattn.utils.launch.explain import explain_missing_data, run_tool
from mmlattn.utils.launch.flags import DictAction, add_cfg_options, add_trust, make_parser

PARTS = r'.*backbone\.(stem|stage\d+\.[^.]+|layer\d+)'
# Okabe and Ito's palette: told apart with any colour vision.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#1A1A1A')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('configs', nargs='+', help='config files, one for each curve')
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument('--checkpoints', nargs='+', help='one for each curve')
    weights.add_argument(
        '--random-weights', action='store_true', help='networks as training would start them'
    )
    parser.add_argument(
        '--vary',
        nargs='+',
        default=[],
        metavar=('KEY', 'VALUE'),
        help='one curve for each value of a key of one config',
    )
    parser.add_argument('--labels', nargs='+', help='names of the curves')
    parser.add_argument('--images', nargs='+', type=Path, help='pictures instead of the test data set')
    parser.add_argument('--num-images', type=int, default=256, help='of the test data set, evenly spread')
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--parts', default=PARTS, help=f'regular expression of module names; default {PARTS}')
    parser.add_argument('--linear', action='store_true', help='a linear axis instead of a logarithmic one')
    parser.add_argument('--out', type=Path, required=True, help='the plot: .png, .svg or .pdf')
    parser.add_argument('--seed', type=int, default=0, help='of random weights')
    parser.add_argument('--device', default='cpu')
    add_trust(parser)
    add_cfg_options(parser, 'settings of all configs: key=value')
    args = parser.parse_args()
    if args.out.suffix not in ('.png', '.svg', '.pdf'):
        parser.error(f'--out must end in .png, .svg or .pdf, got {args.out}')
    if args.vary and (len(args.configs) > 1 or len(args.vary) < 2):
        parser.error('--vary takes a key and values for it, and a single config')
    if min(args.num_images, args.batch_size) < 1:
        parser.error('--num-images and --batch-size must be at least 1')
    return args


@contextmanager
def record_responses(model: nn.Module, parts: str = PARTS) -> Iterator[dict[str, list[Tensor]]]:
    """Record the mean absolute value of what each part of a model returns.

    Args:
        model (nn.Module): Any.
        parts (str): Regular expression of the names of the modules.

    Yields:
        dict[str, list[Tensor]]: By the name of the module, in network order; one tensor of shape (B,) for each
        forward pass.

    Raises:
        UserError: If no module has such a name.
    """
    modules = {name: module for name, module in model.named_modules() if re.fullmatch(parts, name)}
    if not modules:
        raise UserError(f'no module of the {type(model).__name__} matches --parts {parts!r}')
    responses = {name: [] for name in modules}

    def keep(name: str, module: nn.Module, args: tuple, out: Tensor) -> None:
        responses[name].append(out.detach().float().abs().flatten(1).mean(dim=1).cpu())

    hooks = [module.register_forward_hook(partial(keep, name)) for name, module in modules.items()]
    try:
        yield responses
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def mean_responses(
    model: nn.Module, items: Iterable[dict], batch_size: int, parts: str = PARTS
) -> tuple[dict[str, float], int]:
    """Mean absolute response of each part over pictures.

    Args:
        model (BaseModel): A classifier.
        items (Iterable[dict]): Of a data set of pictures of one size.
        batch_size (int): Pictures at a time.
        parts (str): See :func:`record_responses`.

    Returns:
        tuple: The responses by the name of the part without ``backbone.``, and the number of pictures.
    """
    items, images = iter(items), 0
    with record_responses(model, parts) as responses:
        while batch := list(islice(items, batch_size)):
            model(model.data_preprocessor(pseudo_collate(batch), False)['inputs'], mode='tensor')
            images += len(batch)
    means = {
        name.replace('backbone.', ''): torch.cat(values).mean().item() for name, values in responses.items()
    }
    return means, images


def networks(args: argparse.Namespace) -> list[tuple[str, str, Config, str | None]]:
    """Label, file, config and checkpoint of each curve.

    Raises:
        UserError: If their numbers differ.
    """
    key, *values = args.vary or [None]
    found = []
    for path in args.configs:
        cfg = load_config(path)
        apply_options(cfg, args.cfg_options)
        if not values:
            found.append((Path(path).stem, path, cfg))
        for value in values:
            varied = copy.deepcopy(cfg)
            apply_options(varied, {key: DictAction._parse_iterable(value)})
            found.append((value, path, varied))
    labels = args.labels or [label for label, *_ in found]
    checkpoints = args.checkpoints or [None] * len(found)
    for name, given in (('--labels', labels), ('--checkpoints', checkpoints)):
        if len(given) != len(found):
            raise UserError(f'{name} must name one for each of the {len(found)} curves, got {len(given)}')
    return [(label, *rest, file) for label, (_, *rest), file in zip(labels, found, checkpoints, strict=True)]


def merge_orders(orders: Sequence[Sequence[str]]) -> list[str]:
    """All names, in an order that keeps each of the given ones: what is new follows what it follows there."""
    merged = []
    for order in orders:
        place = 0
        for name in order:
            if name in merged:
                place = merged.index(name) + 1
            else:
                merged.insert(place, name)
                place += 1
    return merged


def draw(curves: Mapping[str, Mapping[str, float]], title: str, linear: bool = False) -> Figure:
    """Plot the responses.

    Args:
        curves (Mapping[str, Mapping[str, float]]): By label and by the name of the part.
        title (str): What and on which pictures.
        linear (bool): The kind of the axis.

    Returns:
        Figure: To be saved.
    """
    parts = merge_orders([list(curve) for curve in curves.values()])
    figure = Figure(figsize=(max(6.5, 1.5 + 0.32 * len(parts)), 4.2), dpi=150, layout='constrained')
    axes = figure.add_subplot(xlim=(-0.6, len(parts) - 0.4), yscale='linear' if linear else 'log')
    for number, (label, curve) in enumerate(curves.items()):
        places = [parts.index(part) for part in curve]
        color = COLORS[number % len(COLORS)]
        axes.plot(places, list(curve.values()), 'o-', ms=4, lw=1.6, color=color, label=label)
    stages = [part.split('.')[0] for part in parts]
    for number, stage in enumerate(dict.fromkeys(stages)):
        first = stages.index(stage)
        last = first + stages.count(stage)
        if number % 2:
            axes.axvspan(first - 0.5, last - 0.5, color='#F2F2F2', zorder=0)
        if '.' in parts[first]:
            axes.text(
                (first + last - 1) / 2,
                1.01,
                stage,
                ha='center',
                transform=axes.get_xaxis_transform(),
                fontsize=9,
            )
    axes.set_xticks(range(len(parts)), [part.rpartition('.')[2] for part in parts], rotation=90, fontsize=8)
    if linear:
        axes.set_ylim(bottom=0)
    else:
        axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_formatter=NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axes.set_ylabel('mean absolute response')
    axes.grid(axis='y', color='#DDDDDD', lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False)
    figure.suptitle(title, fontsize=10, x=0.01, ha='left')
    return figure


def main() -> None:
    """Measure, plot and write."""
    args = parse_args()
    numbers = args.out.with_suffix('.json')
    taken = [str(file) for file in (args.out, numbers) if file.exists()]
    if taken:
        raise UserError(f'{", ".join(taken)} exists already; choose another --out')
    compared, results = networks(args), []
    for _, _, cfg, _ in compared:
        check_pictures(cfg, args.images or [])
    for label, path, cfg, checkpoint in compared:
        model = load_model(
            cfg, checkpoint or False, seed=args.seed, device=args.device, trust=args.trust_checkpoint
        )
        with explain_missing_data(cfg, ['test']):
            items = (
                file_items(cfg, args.images, input_channels(model))
                if args.images
                else dataset_items(cfg, limit=args.num_images)
            )
            responses, images = mean_responses(model, items, args.batch_size, args.parts)
        weights = dict(checkpoint=checkpoint) if checkpoint else dict(random_seed=args.seed)
        statistics = 'running' if checkpoint else f'of batches of {args.batch_size}'
        results.append(
            dict(
                label=label, config=path, **weights, statistics=statistics, images=images, responses=responses
            )
        )
        print(f'{label}: ' + ', '.join(f'{part} {value:.3g}' for part, value in responses.items()))
    kind = 'trained networks' if args.checkpoints else f'RANDOM WEIGHTS (seed {args.seed}), nothing learned'
    title = f'{kind}; {results[0]["images"]} {"pictures" if args.images else "test pictures"}'
    figure = draw({result['label']: result['responses'] for result in results}, title, args.linear)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out)
    numbers.write_text(
        to_json(dict(vary=args.vary, cfg_options=args.cfg_options, curves=results), indent=2) + '\n'
    )
    print(f'written to {args.out} and {numbers}')


if __name__ == '__main__':
    run_tool(main)
