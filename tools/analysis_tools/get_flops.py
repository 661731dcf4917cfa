"""Count parameters and multiply-adds of a whole classifier, the head included.

Multiply-adds are those of convolutions, linear layers and matrix products, for one picture; normalisation,
activation, pooling and interpolation count nothing, as in the papers. The network runs on tensors without data, so
any size takes no more than seconds and hardly any memory.

python tools/analysis_tools/get_flops.py configs/ran_attention56_in1k.py --shape 224 224 --by-module
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from mmlattn.utils import launch
from mmlattn.utils.errors import UserError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='path of the config file')
    parser.add_argument(
        '--shape',
        nargs='+',
        type=int,
        help='height and width of the input; by default what the test pipeline of the config ends with, else 224',
    )
    parser.add_argument(
        '--by-module', action='store_true', help='one row for each module inside the stages too'
    )
    launch.add_cfg_options(parser)
    args = parser.parse_args()
    if args.shape and (len(args.shape) > 2 or min(args.shape) < 1):
        parser.error(f'--shape takes height and width in pixels, or one number for both, got {args.shape}')
    return args


@dataclass(frozen=True)
class Cost:
    """What a module costs.

    Args:
        convolutions (int): Convolution layers.
        parameters (int): Elements of all parameters, frozen ones too.
        statistics (int): Elements of the running means and variances of its normalisation layers.
        multiply_adds (int): For one picture.
    """

    convolutions: int
    parameters: int
    statistics: int
    multiply_adds: int


def count(model, height: int, width: int) -> dict[str, Cost]:
    """What every module of a model costs.

    Args:
        model (BaseModel): With a forward pass of ``mode='tensor'``. Moved to the meta device.
        height (int): Of the input, pixels.
        width (int): Of the input, pixels.

    Returns:
        dict[str, Cost]: By the module's name; ``''`` is the whole model.
    """
    import torch
    from torch.nn.modules.batchnorm import _NormBase
    from torch.nn.modules.conv import _ConvNd
    from torch.utils.flop_counter import FlopCounterMode

    model = model.to('meta').eval()
    convolutions = [module for module in model.modules() if isinstance(module, _ConvNd)]
    channels = convolutions[0].in_channels if convolutions else 3
    picture = torch.empty(1, channels, height, width, device='meta')
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(picture, mode='tensor')
    flops = counter.get_flop_counts()  # a multiply-add is two
    root = type(model).__name__
    spent = {
        name: sum(flops.get(f'{root}.{name}' if name else 'Global', {}).values()) // 2
        for name, _ in model.named_modules()
    }
    for name in reversed(spent):  # what is never called itself, such as a list, costs what its parts do
        if not spent[name]:
            spent[name] = sum(
                cost for part, cost in spent.items() if part and part.rpartition('.')[0] == name
            )
    costs = {}
    for name, module in model.named_modules():
        inside = list(module.modules())
        tracked = [m for m in inside if isinstance(m, _NormBase) and m.running_mean is not None]
        costs[name] = Cost(
            convolutions=sum(isinstance(m, _ConvNd) for m in inside),
            parameters=sum(p.numel() for p in module.parameters()),
            statistics=sum(m.running_mean.numel() + m.running_var.numel() for m in tracked),
            multiply_adds=spent[name],
        )
    return costs


def input_size(cfg) -> tuple[int, int, str]:
    """Height and width of a square picture after the test pipeline of a config, and where they come from."""
    from mmlattn.apis.pictures import ARRAY_SIDES

    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    for transform in reversed(dataset.get('pipeline') or []):
        kind = transform['type'].rpartition('.')[2]
        size = transform.get('crop_size') or transform.get('scale')
        if size is None or not kind.startswith(('Center', 'Random', 'Resize')):
            continue
        first, second = (size, size) if isinstance(size, int) else size
        # mmcv takes (width, height), mmpretrain's random crop the other way round.
        return *((first, second) if kind == 'RandomCrop' else (second, first)), f'{kind} of the test pipeline'
    kind = str(dataset.get('type')).rpartition('.')[2]
    if kind in ARRAY_SIDES:
        return ARRAY_SIDES[kind], ARRAY_SIDES[kind], f'the pictures of {kind}'
    return 224, 224, 'the config names no size; choose with --shape'


def rows(costs: dict[str, Cost], by_module: bool) -> Iterator[str]:
    """Names of the modules to list: backbone, neck and head and their children, and with ``by_module`` theirs."""
    for name in costs:
        depth = name.count('.') + 1 if name else 0
        if 0 < depth <= 2 + by_module and costs[name].parameters:
            yield name


def main() -> None:
    """Print the counts."""
    args = parse_args()
    cfg = launch.load_config(args.config)
    launch.apply_options(cfg, args.cfg_options)
    if cfg.get('default_scope', 'mmpretrain') != 'mmpretrain' or 'model' not in cfg:
        raise UserError(
            f'{args.config} is no config of a classifier; count its backbone with the config of a classifier that '
            'has the same one, at the size of your pictures'
        )
    from mmpretrain.apis import get_model
    from rich.console import Console
    from rich.table import Table

    with launch.explain_config():
        model = get_model(cfg, device='cpu')
    height, width, origin = (
        input_size(cfg) if args.shape is None else (args.shape[0], args.shape[-1], '--shape')
    )
    with launch.explain_config(f' at {height} x {width} pixels'):
        costs = count(model, height, width)
    whole = costs['']

    table = Table('module', box=None)
    for column in ('convolutions', 'parameters', 'multiply-adds'):
        table.add_column(column, justify='right')
    for name in rows(costs, args.by_module):
        indent, cost = '  ' * name.count('.'), costs[name]
        cells = (cost.convolutions, cost.parameters, cost.multiply_adds)
        table.add_row(indent + name.rpartition('.')[2], *(f'{cell:,}' for cell in cells))
    console = Console(markup=False, highlight=False)
    console.print(table)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    print(f'\ninput                   {height} x {width} ({origin})')
    print(f'convolutions            {whole.convolutions:,}')
    also = f', {frozen:,} of them frozen' if frozen else ''
    print(f'parameters              {whole.parameters:,}{also}')
    print(f'with running statistics {whole.parameters + whole.statistics:,}')
    print(f'multiply-adds           {whole.multiply_adds:,}')


if __name__ == '__main__':
    launch.run_tool(main)
