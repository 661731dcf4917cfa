"""Draw what a trained model finds in pictures and where it looked.

python tools/visualization/show_evidence.py CONFIG CHECKPOINT a.jpg b.jpg --out-dir shown
python tools/visualization/show_evidence.py CONFIG CHECKPOINT folder --out-dir shown
"""

import argparse
from pathlib import Path

from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_font, add_trust, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument('images', nargs='+', type=Path, help='pictures, or folders of pictures')
    parser.add_argument(
        '--out-dir',
        type=Path,
        required=True,
        help='folder for one PNG per picture',
    )
    parser.add_argument(
        '--threshold', type=float, help="predict from this score on; default: the model's own"
    )
    parser.add_argument('--topk', type=int, help='predict at most so many classes')
    parser.add_argument(
        '--constraints', type=Path, help='json of what is known of the labels, as for tools/test.py'
    )
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument(
        '--no-crop',
        action='store_true',
        help='leave out the crop of the test pipeline, so that the network sees whole pictures, one at a time; '
        'evidence is drawn on whole pictures only',
    )
    parser.add_argument('--cell-size', type=int, help='side of a drawn cell in pixels')
    parser.add_argument('--device', default='cpu')
    add_font(parser)
    add_trust(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> None:
    """Draw."""
    args = parse_args()
    from mmlattn.apis import MultiLabelInferencer, without_crops
    from mmlattn.apis.picture_files import picture_files
    from mmlattn.apis.pictures import check_pictures
    from mmlattn.utils.drawings import check_drawings, drawing_names
    from mmlattn.visualization import EvidenceVisualizer

    images = picture_files(args.images)
    check_drawings(drawing_names(images), args.out_dir)
    visualizer = EvidenceVisualizer('inferencer', font=args.font)
    cfg = read_config(args)
    check_pictures(cfg, images)
    inferencer = MultiLabelInferencer(
        without_crops(cfg) if args.no_crop else cfg,
        args.checkpoint,
        device=args.device,
        trust_checkpoint=args.trust_checkpoint,
    )
    inferencer.visualizer = visualizer
    results = inferencer(
        images,
        batch_size=1 if args.no_crop else args.batch_size,
        with_evidence=True,
        threshold=args.threshold,
        topk=args.topk,
        constraints=args.constraints,
        show_dir=str(args.out_dir),
        resize=args.cell_size,
    )
    for path, result in zip(images, results, strict=True):
        names = result.get('pred_classes', result['pred_labels'])
        scores = [result['pred_scores'][label] for label in result['pred_labels']]
        found = ', '.join(f'{name} {score:.2f}' for name, score in zip(names, scores, strict=True))
        print(f'{path}: {found or "nothing"}')
    print(f'drawn to {args.out_dir}')


if __name__ == '__main__':
    run_tool(main)
