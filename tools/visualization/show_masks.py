"""Draw what the soft masks of a residual attention network do to a picture, as figure 1 of the paper does.

For each attention module: the mean of its mask over the channels, and for the most telling channels the feature
before the mask (T), the mask (M) and the feature after it ((1 + M) T). The first channel is the one whose mask varies
most over the picture; each further one varies most in what the channels before do not explain linearly.

python tools/visualization/show_masks.py CONFIG a.jpg b.jpg --checkpoint CHECKPOINT --out-dir shown
python tools/visualization/show_masks.py CONFIG --from-dataset 0 17 --checkpoint CHECKPOINT --out-dir shown
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from mmlattn.apis import load_model, without_crops
from mmlattn.apis.loading import class_names
from mmlattn.apis.pictures import (
    PictureReader,
    check_pictures,
    dataset_items,
    file_items,
    input_channels,
    shown_picture,
)
from mmlattn.models.ran.attention_module import FUSIONS
from mmlattn.models.ran.mask_recording import soft_masks
from mmlattn.utils.drawings import check_drawings, drawing_names
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_missing_data, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_font, add_trust, make_parser
from mmlattn.visualization.fonts import font_family
from mmlattn.visualization.mask_figure import AttentionMaps, draw_masks
from mmlattn.visualization.palette import INK


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('images', nargs='*', type=Path, help='pictures')
    parser.add_argument(
        '--from-dataset', nargs='+', type=int, default=[], help='items of the test data set, from 0'
    )
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument('--checkpoint', help='path or URL of the checkpoint')
    weights.add_argument(
        '--random-weights', action='store_true', help='draw a network that has learned nothing'
    )
    parser.add_argument('--out-dir', type=Path, required=True, help='folder for one PNG per picture')
    parser.add_argument('--channels', type=int, default=2, help='channels of each mask to draw; default 2')
    parser.add_argument(
        '--no-crop', action='store_true', help='leave out the crop of the test pipeline: draw whole pictures'
    )
    parser.add_argument('--seed', type=int, default=0, help='of random weights')
    parser.add_argument('--device', default='cpu')
    add_font(parser)
    add_trust(parser)
    add_cfg_options(parser)
    args = parser.parse_args()
    if not args.images and not args.from_dataset:
        parser.error('name pictures, or items of the test data set with --from-dataset')
    if args.channels < 1:
        parser.error(f'--channels must be at least 1, got {args.channels}')
    return args


@contextmanager
def record_attention(model: nn.Module) -> Iterator[list[AttentionMaps]]:
    """Record the attention modules in the order in which they run, for batches of one picture.

    Raises:
        UserError: If the model has none.
    """
    masks = soft_masks(model)
    if not masks:
        raise UserError(
            f'the backbone {type(model.backbone).__name__} has no soft masks to draw; ResidualAttentionNet and '
            'ResidualAttentionWrapper have'
        )
    recorded = []

    def keep(name: str, module: nn.Module, args: tuple[Tensor, Tensor], mask: Tensor) -> None:
        trunk, fuse = args[1], model.get_submodule(name).fuse
        maps = [part[0].float().cpu() for part in (trunk, mask, fuse(trunk, mask))]
        recorded.append(AttentionMaps(name, *maps, naive=fuse is FUSIONS['nal']))

    hooks = [m.register_forward_hook(partial(keep, name)) for name, m in masks.items()]
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()


def describe(title: str, sample, model: nn.Module, args: argparse.Namespace) -> dict[str, str]:
    """Lines of the heading with their colours: picture, network, weights, prediction."""
    lines = {title: INK, f'network: {Path(args.config).stem}': INK}
    if args.random_weights:
        return lines | {f'RANDOM WEIGHTS (seed {args.seed}): this network has learned nothing': '#B03A00'}
    classes = class_names(model)
    label = int(sample.pred_score.argmax())
    name = classes[label] if classes else f'class {label}'
    return lines | {
        f'weights: {Path(args.checkpoint).name}': INK,
        f'predicted: {name}, {sample.pred_score[label]:.2f}': INK,
    }


def main() -> None:
    """Draw."""
    args = parse_args()
    files = check_drawings(drawing_names([*args.images, *args.from_dataset]), args.out_dir)
    font = None if args.font is None else font_family(args.font)
    cfg = read_config(args)
    check_pictures(cfg, args.images)
    if args.no_crop:
        cfg = without_crops(cfg)
    model = load_model(
        cfg, args.checkpoint or False, seed=args.seed, device=args.device, trust=args.trust_checkpoint
    )
    items = file_items(cfg, args.images, input_channels(model)) if args.images else []
    if args.from_dataset:
        with explain_missing_data(cfg, ['test']):
            items += dataset_items(cfg, args.from_dataset)
    reader, to_rgb = PictureReader(cfg), getattr(model.data_preprocessor, 'to_rgb', False)
    titles = [path.name for path in args.images] + [f'item {i} of the test data' for i in args.from_dataset]
    for title, file, item in zip(titles, files, items, strict=True):
        with record_attention(model) as attentions, torch.no_grad():
            sample = model.test_step(pseudo_collate([item]))[0]
        picture = shown_picture(item['inputs'], reader, to_rgb)
        heading = describe(title, sample, model, args)
        figure = draw_masks(picture, heading, attentions, args.channels, font)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file)
        print(f'drawn to {file}')


if __name__ == '__main__':
    run_tool(main)
