"""Count parameters and multiply-adds of a whole classifier, the head included.

Multiply-adds are those of convolutions, linear layers and matrix products, for one picture; normalisation,
activation, pooling and interpolation count nothing, as in the papers. The network runs on tensors without data, so
any size takes no more than seconds and hardly any memory.

python tools/analysis_tools/get_flops.py configs/ran_attention56_in1k.py --shape 224 224 --by-module
"""

import argparse
from collections.abc import Iterator

from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_config, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
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
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.shape and (len(args.shape) > 2 or min(args.shape) < 1):
        parser.error(f'--shape takes height and width in pixels, or one number for both, got {args.shape}')
    return args


def rows(costs: dict, by_module: bool) -> Iterator[str]:
    """Names of the modules to list: backbone, neck and head and their children, and with ``by_module`` theirs."""
    for name in costs:
        depth = name.count('.') + 1 if name else 0
        if 0 < depth <= 2 + by_module and costs[name].parameters:
            yield name


def main() -> None:
    """Print the counts."""
    args = parse_args()
    cfg = read_config(args)
    if cfg.get('default_scope', 'mmpretrain') != 'mmpretrain' or 'model' not in cfg:
        raise UserError(
            f'{args.config} is no config of a classifier; count its backbone with the config of a classifier that '
            'has the same one, at the size of your pictures'
        )
    from rich.console import Console
    from rich.table import Table

    from mmlattn.apis.flops import count, input_size
    from mmlattn.apis.loading import build_model

    with explain_config():
        model = build_model(cfg)
    height, width, origin = (
        input_size(cfg) if args.shape is None else (args.shape[0], args.shape[-1], '--shape')
    )
    with explain_config(f' at {height} x {width} pixels'):
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
    run_tool(main)
