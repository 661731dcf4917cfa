"""How much better a model names the labels of pictures once one of them is known.

    python tools/analysis_tools/known_labels.py CONFIG CHECKPOINT

Of each test picture one label that is there is drawn, and the others are judged, without it and with it. CNN-RNN is
told the label. What other heads say is changed by counting: by how often labels came together in training, see
mmlattn/evaluation/functional/known_labels.py. Means over several draws, and their standard deviations.
"""

import argparse
from pathlib import Path

from mmlattn.utils.arguments import check_folder, check_whole, refuse_existing
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_missing_data, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_trust, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        'config', help='of a multi-label classifier; the labels of its train_dataloader are counted'
    )
    parser.add_argument('checkpoint', help='its trained weights')
    parser.add_argument('--draws', type=int, default=5, help='how often labels are drawn; default 5')
    parser.add_argument('--seed', type=int, default=0, help='of the first draw; default 0')
    parser.add_argument('--out', type=Path, help='json to write, with every draw')
    add_trust(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> None:
    """Draw, predict, judge."""
    args = parse_args()
    check_whole('--draws', args.draws, 1)
    check_whole('--seed', args.seed, 0)
    if args.out is not None:
        check_folder('--out', args.out.parent)
        refuse_existing('--out', args.out)
    cfg = read_config(args)

    import numpy as np
    from mmengine.registry import DATASETS, init_default_scope
    from mmengine.runner import Runner
    from mmpretrain.models import ImageClassifier

    from mmlattn.apis.loading import load_model
    from mmlattn.apis.told import judge_known, training_sets
    from mmlattn.evaluation.functional.known_labels import odds_ratios
    from mmlattn.utils.json_files import to_json

    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    model = load_model(cfg, args.checkpoint, trust=args.trust_checkpoint)
    if not isinstance(model, ImageClassifier):
        raise UserError(f'{type(model).__name__} is no ImageClassifier, whose head could be asked twice')
    with explain_missing_data(cfg, ['train', 'test']):
        loader = Runner.build_dataloader(cfg.test_dataloader)
        counted = training_sets(DATASETS.build(cfg.train_dataloader.dataset), model.head.num_classes)
    judged = judge_known(model, loader, odds_ratios(counted), range(args.seed, args.seed + args.draws))
    measures = list(next(iter(judged.values()))[0])
    print(f'the other labels of {len(loader.dataset)} pictures, {args.draws} draws, in per cent')
    print(f'{"known label":14}' + ''.join(f'{name:>16}' for name in measures))
    for way, draws in judged.items():
        columns = [[draw[name] for draw in draws] for name in measures]
        print(f'{way:14}' + ''.join(f'{np.mean(column):9.1f} +-{np.std(column):4.1f}' for column in columns))
    if args.out is not None:
        args.out.write_text(to_json(judged, indent=2) + '\n')


if __name__ == '__main__':
    run_tool(main)
