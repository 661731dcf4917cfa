"""Deletion and insertion: does the score of a class fall when the places that the model saw it in are taken away?

python tools/analysis_tools/deletion.py CONFIG CHECKPOINT --pictures 200 --out deletion.json

Cells of each test picture are taken away step by step, those first that the evidence of the model speaks for, and the
area under the score of the class is measured (Petsiuk et al., BMVC 2018): the lower, the more rests on these cells.
Insertion gives them back to a blurred picture: the higher the better. Other orders stand beside it: at random, the
centre first, and by Grad-CAM of the same model.
"""

import argparse
from pathlib import Path

from mmlattn.utils.arguments import check_folder
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_missing_data, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_trust, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    from mmlattn.apis.deletion import LABELS, ORDERS
    from mmlattn.evaluation.functional.deletion import FILLS
    from mmlattn.structures.evidence import EVIDENCE_KINDS

    parser = make_parser(__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument('--out', type=Path, required=True, help='the file to write, .json')
    parser.add_argument(
        '--pictures', type=int, default=200, help='of the test data set, evenly spread; default 200'
    )
    parser.add_argument(
        '--orders',
        nargs='*',
        choices=ORDERS[1:],
        default=list(ORDERS[1:]),
        help='what the evidence is compared with; default all',
    )
    parser.add_argument(
        '--labels',
        choices=LABELS,
        default='present',
        help='measure the classes that a picture has (default) or that are predicted',
    )
    parser.add_argument(
        '--evidence', choices=EVIDENCE_KINDS, default='auto', help='what to read; default what there is'
    )
    parser.add_argument('--steps', type=int, default=14, help='points of a curve, less one; default 14')
    parser.add_argument('--grid', type=int, default=14, help='cells in each direction; default 14')
    parser.add_argument(
        '--fill',
        choices=FILLS,
        default='zero',
        help="what stands in for what deletion takes: zero, the data's mean colour (default), the picture's own mean "
        'colour, or the picture blurred',
    )
    parser.add_argument(
        '--insertion-fill', choices=FILLS, default='blur', help='what insertion begins with; default blur'
    )
    parser.add_argument('--sigma', type=float, default=10, help='of the blur, in pixels; default 10')
    parser.add_argument('--batch-size', type=int, default=64, help='pictures in a pass; default 64')
    parser.add_argument(
        '--amp', action='store_true', help='compute in bfloat16, faster where the processor has it'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the random order; default 0')
    parser.add_argument('--device', default='cpu')
    add_trust(parser)
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.out.suffix != '.json':
        parser.error(f'--out must end in .json, got {args.out}')
    if args.out.exists():
        parser.error(f'--out {args.out} exists already: give another name, or remove it')
    if args.pictures < 1:
        parser.error(f'--pictures must be at least 1, got {args.pictures}')
    return args


def table_of(summary: dict) -> str:
    """The summary as text: areas with their intervals, and the evidence less each other order."""
    lines = []
    for measure, better in (('deletion', 'lower is better'), ('insertion', 'higher is better')):
        lines.append(
            f'{measure + ", " + better:28}{"area":>7}{"95 %":>16}{"evidence less it":>20}{"95 %":>18}'
        )
        for order, found in summary[measure].items():
            cells = f'{order:28}{found["area"]:7.4f}{_interval(found["low"], found["high"]):>16}'
            if 'difference' in found:
                apart = _interval(found['difference_low'], found['difference_high'], '+')
                cells += f'{found["difference"]:+20.4f}{apart:>18}'
            lines.append(cells)
    return '\n'.join(lines)


def _interval(low: float, high: float, sign: str = '') -> str:
    return f'{low:{sign}.3f} .. {high:{sign}.3f}'


def main() -> None:
    """Measure."""
    args = parse_args()
    check_folder('--out', args.out.parent)
    import time

    from mmlattn.apis import MultiLabelInferencer
    from mmlattn.apis.deletion import DeletionTest, summary_of
    from mmlattn.apis.pictures import dataset_items
    from mmlattn.evaluation.functional.deletion import area_under

    cfg = read_config(args)
    if cfg.get('default_scope', 'mmpretrain') != 'mmpretrain':
        raise UserError(f'{args.config} is no config of a classifier, so it scores no classes')
    inferencer = MultiLabelInferencer(
        cfg, args.checkpoint, device=args.device, trust_checkpoint=args.trust_checkpoint, use_decision=False
    )
    chosen = (
        'orders',
        'labels',
        'evidence',
        'steps',
        'grid',
        'fill',
        'insertion_fill',
        'sigma',
        'amp',
        'seed',
    )
    settings = {name: getattr(args, name) for name in chosen}
    test = DeletionTest(inferencer, batch_size=args.batch_size, **settings)
    with explain_missing_data(cfg, ['test']):
        items = dataset_items(cfg, limit=args.pictures)
    started = time.perf_counter()
    pairs = test.run(items, args.pictures)
    seconds = time.perf_counter() - started
    summary = summary_of(pairs, test.shares, seed=args.seed)
    content = dict(
        schema='mmlattn.deletion/1',
        config=str(args.config),
        checkpoint=str(args.checkpoint),
        settings=settings,
        pictures=test.pictures,
        passes=test.passes,
        seconds=seconds,
        without_evidence=test.without_evidence,
        shares=test.shares,
        summary=summary,
        curves={order: sum(pair.curves[order] for pair in pairs) / len(pairs) for order in test.orders},
        pairs=[
            dict(
                picture=pair.name,
                label=inferencer.classes[pair.label] if inferencer.classes else pair.label,
                areas={order: area_under(curve, test.shares) for order, curve in pair.curves.items()},
            )
            for pair in pairs
        ],
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(to_json(content, indent=1))
    print(table_of(summary))
    whole, empty, begun = (
        sum(pair.curves['evidence'][place] for pair in pairs) / len(pairs)
        for place in ((0, 0), (0, -1), (1, 0))
    )
    print(
        f'mean score of the class: {whole:.3f} of the picture, {empty:.3f} with all taken away, {begun:.3f} where '
        f'insertion begins'
    )
    left_out = f', {test.without_evidence} more without evidence' if test.without_evidence else ''
    print(
        f'{len(pairs)} pairs of one of {test.pictures} pictures and a class that is {args.labels}{left_out}; '
        f'{test.passes} pictures went through the network in {seconds:.0f} s; written to {args.out}'
    )


if __name__ == '__main__':
    run_tool(main)
