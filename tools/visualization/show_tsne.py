"""Draw a map of the pictures of a data set by what the last layer of a model reads of them (t-SNE).

    python tools/visualization/show_tsne.py CONFIG CHECKPOINT --out map.png

One panel for each class, so that pictures with several labels are in several of them; map.csv has the places. Near
each other is what the model tells apart badly. How far groups lie apart, and how large they are, means nothing.
"""

import argparse
import csv
from pathlib import Path

from mmlattn.utils.arguments import refuse_existing
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_config, explain_missing_data, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_font, add_trust, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='path of the config file, or name of one of ours')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument(
        '--out', type=Path, required=True, help='.png to write; the places go into the same as .csv'
    )
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='test', help='default test')
    parser.add_argument(
        '--limit', type=int, default=2000, help='pictures at most, evenly spaced; default 2000'
    )
    parser.add_argument(
        '--classes', nargs='+', help='names of the classes to draw; default the most frequent'
    )
    parser.add_argument(
        '--perplexity', type=float, default=30.0, help='how many neighbours count; default 30'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the map')
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--device', default='cpu')
    add_font(parser)
    add_trust(parser)
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.out.suffix != '.png':
        parser.error(f'--out must end in .png, got {args.out}')
    for name in ('limit', 'batch_size'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or more, got {getattr(args, name)}')
    return args


def main() -> None:
    """Look, map, draw."""
    args = parse_args()
    table = args.out.with_suffix('.csv')
    for path in (args.out, table):
        refuse_existing('--out', path)
    cfg = read_config(args)

    from mmlattn.apis.embedding import collect_features, map_of, shown_classes
    from mmlattn.apis.loading import load_model
    from mmlattn.visualization.embedding_figure import MOST_PANELS, draw_map

    with explain_config():
        model = load_model(cfg, args.checkpoint, device=args.device, trust=args.trust_checkpoint).eval()
    with explain_missing_data(cfg, (args.split,)):
        found = collect_features(model, cfg, args.split, args.limit, args.batch_size)
    shown = shown_classes(found, args.classes, MOST_PANELS)
    if not shown:
        raise UserError(f'no picture of {args.split} has a label: choose another --split')
    places = map_of(found.values, args.perplexity, args.seed)
    name = Path(args.checkpoint).name
    title = f'{name}: {len(places)} pictures of {args.split}, t-SNE of perplexity {args.perplexity:g}'
    figure = draw_map(places, found.labels, found.classes, shown, title, args.font)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with table.open('x', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['picture', 'x', 'y', 'labels'])
        for path, (x, y), row in zip(found.paths, places.tolist(), found.labels, strict=True):
            writer.writerow([path, x, y, ';'.join(found.classes[c] for c in (row == 1).nonzero()[0])])
    figure.savefig(args.out)
    print(f'wrote {args.out} and {table}')


if __name__ == '__main__':
    run_tool(main)
