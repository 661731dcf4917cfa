"""Make one page of html that shows where a model is wrong.

python tools/analysis_tools/show_errors.py CONFIG CHECKPOINT --out errors.html
python tools/analysis_tools/show_errors.py CONFIG --predictions predictions.pkl --out errors.html

The page holds the 2 x 2 table of each class, pairs of classes that are taken for each other or wrongly predicted
together, labels that are probably wrong, the worst and the most doubtful pictures with where the model looked, and
the worst of each class. It needs no network and no other file, and it can be printed.
"""

import argparse
from pathlib import Path
from typing import Any

from mmlattn.utils.arguments import check_folder
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_missing_data, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_decision, add_font, add_trust, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', nargs='?', help='path or URL of the checkpoint')
    parser.add_argument(
        '--predictions',
        help='a .pkl of tools/test.py --out in the place of a checkpoint; nothing is computed anew',
    )
    parser.add_argument('--out', type=Path, required=True, help='the page to write, a new .html')
    parser.add_argument(
        '--split', choices=['train', 'val', 'test'], default='test', help='pictures to test; default test'
    )
    parser.add_argument(
        '--pictures',
        type=int,
        default=200,
        help='hold at most so many pictures; default 200, 0 for tables alone',
    )
    parser.add_argument('--batch-size', type=int, help="default: test_dataloader's")
    parser.add_argument('--device', default='cpu')
    add_decision(parser)
    add_font(parser)
    add_trust(parser)
    add_cfg_options(parser)
    args = parser.parse_args()
    if (args.checkpoint is None) == (args.predictions is None):
        parser.error('give a checkpoint, or --predictions, and not both')
    if args.predictions is not None and (args.split != 'test' or args.ignore_decision):
        parser.error('--split and --ignore-decision are for a checkpoint: predictions were made before')
    if args.out.suffix != '.html':
        parser.error(f'--out must end in .html, got {args.out}')
    if args.out.exists():
        parser.error(f'--out {args.out} exists already: give another name, or remove it')
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        parser.error(f'--threshold must lie in [0, 1], got {args.threshold}')
    if args.pictures < 0 or (args.batch_size is not None and args.batch_size < 1):
        parser.error('--pictures must be at least 0 and --batch-size at least 1')
    return args


def make_test(args: argparse.Namespace, cfg: Any) -> Any:
    """What to show: a model on a split, or predictions."""
    from mmlattn.apis.tested import FileTest, ModelTest
    from mmlattn.utils.predictions import load_predictions

    if args.predictions is not None:
        samples = load_predictions(args.predictions, args.trust_checkpoint)
        with explain_missing_data(cfg, ['test']):
            return FileTest(cfg, args.predictions, samples, threshold=args.threshold)
    with explain_missing_data(cfg, [args.split]):
        return ModelTest(
            cfg,
            args.checkpoint,
            args.split,
            threshold=args.threshold,
            use_decision=not args.ignore_decision,
            batch_size=args.batch_size,
            device=args.device,
            trust=args.trust_checkpoint,
        )


def main() -> None:
    """Test, look, write."""
    args = parse_args()
    check_folder('--out', args.out.parent)
    cfg = read_config(args)
    if cfg.get('default_scope', 'mmpretrain') != 'mmpretrain':
        raise UserError(f'{args.config} is no config of a classifier, so there are no labels to be wrong')
    from mmlattn.version import __version__
    from mmlattn.visualization import EvidenceVisualizer
    from mmlattn.visualization.pages.errors import errors_page
    from mmlattn.visualization.pages.findings import find
    from mmlattn.visualization.pages.render import write_page
    from mmlattn.visualization.pages.sheets import page_pictures

    visualizer = EvidenceVisualizer('errors', max_classes=3, font=args.font)
    test = make_test(args, cfg)
    tested = test.run()
    found = find(tested)
    store = page_pictures(test.look, tested.classes, found, args.pictures, visualizer)
    facts = [
        ('config', args.config),
        ('predictions', args.predictions) if args.predictions else ('checkpoint', args.checkpoint),
        *([] if args.predictions else [('split', args.split)]),
        ('labels are those of', test.rule),
        ('pictures in this page', f'{sum(key.startswith("p") for key in store):,}'),
    ]
    notes = [test.no_evidence] if test.no_evidence else []
    title = f'Errors of {Path(args.config).stem}'
    page = errors_page(
        tested,
        found,
        store,
        title=title,
        facts=facts,
        notes=notes,
        thresholds=test.thresholds,
        version=__version__,
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_page(args.out, page)
    print(f'labels are those of {test.rule}')
    for note in notes:
        print(note)
    print(f'{len(tested.names)} pictures, written to {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)')


if __name__ == '__main__':
    run_tool(main)
