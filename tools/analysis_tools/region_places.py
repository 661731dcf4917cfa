"""What the places of ST-LSTM's regions are worth: mAP with the regions elsewhere.

    python tools/analysis_tools/region_places.py CONFIG CHECKPOINT

Where another picture's places do as well as its own, the model does not look for anything in the picture; where
moving the regions at random hardly costs, there is nothing to look for with these features.
"""

import argparse
from pathlib import Path

from mmlattn.utils.arguments import check_folder, check_number, check_whole, refuse_existing
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_missing_data, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_trust, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='of a classifier with the neck STLSTM')
    parser.add_argument('checkpoint', help='its trained weights')
    parser.add_argument(
        '--distances',
        type=float,
        nargs='+',
        default=[0.1, 0.2, 0.4],
        help='of the moves, where 1 is half a side of the picture; default 0.1 0.2 0.4',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the directions; default 0')
    parser.add_argument('--out', type=Path, help='json to write')
    add_trust(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> None:
    """Place, score, print."""
    args = parse_args()
    check_whole('--seed', args.seed, 0)
    for distance in args.distances:
        check_number('--distances', distance, least=0)
    if args.out is not None:
        check_folder('--out', args.out.parent)
        refuse_existing('--out', args.out)
    cfg = read_config(args)

    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner
    from mmpretrain.models import ImageClassifier

    from mmlattn.apis.loading import load_model
    from mmlattn.apis.region_places import judge_places
    from mmlattn.utils.json_files import to_json

    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    model = load_model(cfg, args.checkpoint, trust=args.trust_checkpoint)
    if not isinstance(model, ImageClassifier):
        raise UserError(
            f'{type(model).__name__} is no ImageClassifier, whose neck could be told where to look'
        )
    with explain_missing_data(cfg, ['test']):
        loader = Runner.build_dataloader(cfg.test_dataloader)
    found = judge_places(model, loader, args.distances, args.seed)
    print(f'mAP on {len(loader.dataset)} pictures, regions at')
    for name, value in found.items():
        print(f'{name:40}{value:6.2f}')
    if args.out is not None:
        args.out.write_text(to_json(found, indent=2) + '\n')


if __name__ == '__main__':
    run_tool(main)
