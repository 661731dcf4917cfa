"""Write a config that reads the features which compare_heads.py stored, in the place of pictures and a backbone.

    python tools/analysis_tools/stored_config.py CONFIG stored.py
    python tools/test.py stored.py work_dirs/NAME/runs/HEAD/lr0.001_seed0/weights.pth

With it every tool that tests or tunes works on the weights of a head alone, and takes seconds. Features that are
missing are made. The test split's pipeline is taken for all splits, and training sees each picture as it is.
"""

import argparse
from pathlib import Path

from mmlattn.utils.arguments import check_folder, check_whole
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_missing_data, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='of the head, with its frozen backbone and data')
    parser.add_argument('out', type=Path, help='config to write, a new .py')
    parser.add_argument(
        '--features', type=Path, default=Path('data/features'), help='folder of stored features'
    )
    parser.add_argument('--workers', type=int, default=1, help='processes that read pictures; default 1')
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> None:
    """Find or make the features, and write."""
    args = parse_args()
    check_whole('--workers', args.workers, 0)
    check_folder('--features', args.features)
    check_folder('OUT', args.out.parent)
    if args.out.suffix != '.py' or args.out.exists():
        raise UserError(f'OUT must be a new file that ends in .py, got {args.out}')
    cfg = read_config(args)

    from mmengine.registry import init_default_scope

    from mmlattn.comparison.data import prepare
    from mmlattn.comparison.features import build_extractor
    from mmlattn.comparison.stored import stored_config

    init_default_scope('mmpretrain')
    with explain_missing_data(cfg):
        data = prepare(cfg, build_extractor(cfg), args.features, flip=False, workers=args.workers)
    files = {split: str(Path(one.dataset.maps[0].filename).absolute()) for split, one in data.items()}
    stored_config(cfg, files).dump(str(args.out))
    print(f'{args.out} written')


if __name__ == '__main__':
    run_tool(main)
