"""Draw what several heads find in photographs of COCO that may be shown, and write whose photographs they are.

python tools/visualization/photo_gallery.py data/coco128/annotations/instances_train2017.json \
    data/coco128/train2017 --out photographs.jpg --attribution ATTRIBUTION.md \
    --model CSRA configs/csra.py csra.pth 2 --model ST-LSTM configs/st-lstm.py st-lstm.pth 1

Each row is a photograph with its true labels and boxes, and what each model tells: of each the first so many pieces
of evidence, best scores first. Shown are the first photographs of the file whose licence lets changed pictures be
shown, which are wider than high and have two or three of the labels that the models know; nothing is chosen by what
the models make of them.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmlattn.utils.arguments import check_folder
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import add_font, add_trust, make_parser

CHANGES = 'made smaller, heat maps, boxes and captions drawn over or beside them'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    from mmlattn.datasets.photo_licences import SHOWABLE

    parser = make_parser(__doc__)
    parser.add_argument('annotations', type=Path, help="json of COCO's instances, with its licences")
    parser.add_argument('pictures', type=Path, help='folder of its pictures')
    parser.add_argument(
        '--model',
        nargs=4,
        action='append',
        required=True,
        metavar=('NAME', 'CONFIG', 'CHECKPOINT', 'CELLS'),
        help='a trained model, what it is called, and how many pieces of its evidence are drawn; may be repeated',
    )
    parser.add_argument('--out', type=Path, required=True, help='the picture to write, .jpg or .png')
    parser.add_argument('--attribution', type=Path, required=True, help='the file to write, .md')
    parser.add_argument(
        '--licences',
        type=int,
        nargs='+',
        default=list(SHOWABLE),
        help='ids of licences, as the json has them; default all that let changed pictures be shown: '
        + ', '.join(f'{number} ({name})' for number, name in SHOWABLE.items()),
    )
    parser.add_argument('--count', type=int, default=6, help='photographs; default 6')
    parser.add_argument(
        '--labels',
        type=int,
        nargs=2,
        default=[2, 3],
        help='each has so many labels, from and to; default 2 3',
    )
    parser.add_argument('--cell-size', type=int, default=190, help='side of a cell in pixels; default 190')
    parser.add_argument('--quality', type=int, default=88, help='of a .jpg; default 88')
    parser.add_argument('--device', default='cpu')
    add_font(parser)
    add_trust(parser)
    args = parser.parse_args()
    for flag, path, endings in (
        ('--out', args.out, ('.jpg', '.png')),
        ('--attribution', args.attribution, ('.md',)),
    ):
        if path.suffix not in endings:
            parser.error(f'{flag} must end in {" or ".join(endings)}, got {path}')
        if os.path.lexists(path):
            parser.error(f'{flag} {path} exists already: give another name, or remove it')
    if args.count < 1 or not 0 <= args.labels[0] <= args.labels[1]:
        parser.error(f'--count must be at least 1 and --labels go up, got {args.count} and {args.labels}')
    if args.cell_size < 80 or not 1 <= args.quality <= 95:
        parser.error(
            f'--cell-size must be at least 80 and --quality 1 to 95, got {args.cell_size} and {args.quality}'
        )
    for name, *_, cells in args.model:
        if not cells.isdecimal() or not int(cells):
            parser.error(f'--model {name}: the number of its cells must be 1 or more, got {cells!r}')
    return args


def evidence_panels(name: str, sample, classes: Sequence[str], cells: int) -> list:
    """The first panels of a model's evidence under its name, blank ones where it tells less."""
    from mmlattn.visualization.panels import Panel, sample_panels

    panels = sample_panels(sample, classes, max_classes=cells)[1:][:cells]
    panels += [Panel('', lines=(('nothing else', 'predicted'),))] * (cells - len(panels))
    # A cell has no room for more words.
    titles = [panel.title.replace('label path', 'path').removesuffix(', in order') for panel in panels]
    return [
        replace(panel, title=f'{name}: {title}' if title else name)
        for panel, title in zip(panels, titles, strict=True)
    ]


def load(args: argparse.Namespace, name: str, config: str, checkpoint: str, _: str):
    """A model that names its classes."""
    from mmlattn.apis import MultiLabelInferencer
    from mmlattn.utils.launch.config import load_config

    model = MultiLabelInferencer(
        load_config(config), checkpoint, device=args.device, trust_checkpoint=args.trust_checkpoint
    )
    if model.classes is None:
        raise UserError(f'{name}: neither {config} nor {checkpoint} names the classes')
    return model


def main() -> None:
    """Choose, predict, draw, and write."""
    args = parse_args()
    for flag, path in (('--out', args.out), ('--attribution', args.attribution)):
        check_folder(flag, path.parent)
    from PIL import Image

    from mmlattn.datasets import COCOMultiLabel
    from mmlattn.datasets.photo_licences import attribution_text, first_photos, showable_photos
    from mmlattn.visualization import EvidenceVisualizer
    from mmlattn.visualization.panels import sample_panels

    models = [load(args, *model) for model in args.model]
    first, classes = args.model[0][0], models[0].classes
    for (name, *_), model in zip(args.model, models, strict=True):
        if model.classes != classes:
            raise UserError(f'{name} knows other classes than {first}: give models of the same data set')
    photos = showable_photos(str(args.annotations), args.licences)
    dataset = COCOMultiLabel(
        str(args.annotations), data_prefix=str(args.pictures), metainfo=dict(classes=classes)
    )
    items = list(dataset)
    items = [items[number] for number in first_photos(photos, items, args.count, *args.labels)]
    paths = [item['img_path'] for item in items]
    pictures = [models[0].pipeline.shown(path) for path in paths]
    blocks = [[] for _ in items]
    for (name, *_, cells), model in zip(args.model, models, strict=True):
        samples = model(paths, batch_size=len(paths), with_evidence=True, return_datasamples=True)
        for item, sample, block in zip(items, samples, blocks, strict=True):
            sample.set_gt_label(item['gt_label'])
            for field in ('gt_boxes', 'gt_box_labels'):
                sample.set_field(item[field], field)
            block += [] if block else sample_panels(sample, classes)[:1]
            block += evidence_panels(name, sample, classes, int(cells))
    drawn = EvidenceVisualizer('gallery', font=args.font).draw_panels(
        pictures, blocks, cell_size=args.cell_size
    )
    shown = [photos[item['img_id']] for item in items]
    for path in (args.out, args.attribution):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawn).save(args.out, quality=args.quality, optimize=True)
    args.attribution.write_text(attribution_text(args.out.name, shown, CHANGES))
    for photo in shown:
        print(f'{photo.file_name}: {photo.licence}, {photo.page}')
    print(
        f'{args.out}: {drawn.shape[1]} x {drawn.shape[0]}, {args.out.stat().st_size / 1e3:.0f} kB; {args.attribution}'
    )


if __name__ == '__main__':
    run_tool(main)
