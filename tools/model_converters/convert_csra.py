"""Make the checkpoints that the authors of CSRA released loadable under our names, or the other way round.

SRC is read as weights only: one of the authors' classifiers, ResNet or ViT (github.com/Kevinz-code/CSRA), as a state
dict or a checkpoint with one. Every name in the file must be known and no weight may be missing. DST gets a
checkpoint for the model that is printed.

Models here also load such a file as it is, by load_from, by the inferencer and by the tools; what a converted one
adds is lam, which their files do not hold. Theirs is in their file names (head4_lam0.5), else in their README.
"""

import argparse
import re
from typing import TYPE_CHECKING

from mmlattn.utils.arguments import refuse_existing, refuse_npz
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import add_conversion, make_parser

if TYPE_CHECKING:
    from torch import Tensor, nn

# Largest difference of scores between two correct implementations, relative to the largest score.
TOLERANCE = 1e-4
# The number of a head, in all official layouts.
HEAD = r'(classifier\.multi_head\.|classifier\.fc|head)(\d+)(?:\.head)?\.weight'
# timm's names, which the official files have, and torchvision's.
TORCHVISION_VIT = (
    (r'^patch_embed\.proj\.', 'conv_proj.'),
    (r'^cls_token$', 'class_token'),
    (r'^pos_embed$', 'encoder.pos_embedding'),
    (r'^norm\.', 'encoder.ln.'),
    (r'^blocks\.(\d+)\.norm(\d)\.', r'encoder.layers.encoder_layer_\1.ln_\2.'),
    (r'^blocks\.(\d+)\.attn\.qkv\.', r'encoder.layers.encoder_layer_\1.self_attention.in_proj_'),
    (r'^blocks\.(\d+)\.attn\.proj\.', r'encoder.layers.encoder_layer_\1.self_attention.out_proj.'),
    (r'^blocks\.(\d+)\.mlp\.fc1\.', r'encoder.layers.encoder_layer_\1.mlp.0.'),
    (r'^blocks\.(\d+)\.mlp\.fc2\.', r'encoder.layers.encoder_layer_\1.mlp.3.'),
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    add_conversion(parser)
    parser.add_argument(
        '--lam',
        type=float,
        help='weight of the attention term that the weights were trained with; stored in DST, and other settings are '
        'refused from then on. Without it nothing is stored, and the config decides',
    )
    parser.add_argument(
        '--verify',
        action='store_true',
        help='compare, before writing, the scores of random pictures with those of a network of torchvision and the '
        'equations of the paper, under the names in the official file',
    )
    parser.add_argument(
        '--reverse', action='store_true', help='SRC is a checkpoint of mmlattn, DST gets the official names'
    )
    args = parser.parse_args()
    if args.reverse and args.lam is not None:
        parser.error('--lam is stored in checkpoints of mmlattn; the official ones have no place for it')
    return args


def torchvision_scores(
    state: 'dict[str, Tensor]', pictures: 'Tensor', temperatures: tuple, lam: float
) -> 'Tensor':
    """Logits (B, C) by torchvision's network and the paper's equations, from official names."""
    import torch
    from torchvision.models.feature_extraction import create_feature_extractor

    vit = 'cls_token' in state
    network = (torchvision_vit if vit else torchvision_resnet)(state)
    last = 'encoder.ln' if vit else 'layer4'
    x = create_feature_extractor(network.eval(), [last])(pictures)[last]
    x = x[:, 1:].transpose(1, 2) if vit else x.flatten(2)
    heads = {int(m[2]): k.removesuffix('.weight') for k in state if (m := re.fullmatch(HEAD, k))}
    logits = torch.zeros(())
    for t, (_, head) in zip(temperatures, sorted(heads.items()), strict=True):
        w, b = state[f'{head}.weight'].flatten(1), state.get(f'{head}.bias', torch.zeros(1))
        s = (torch.einsum('cd,bdn->bcn', w, x) + b[:, None]) / w.norm(dim=1)[:, None]
        att = s.amax(dim=2) if t == 99 else ((t * s).softmax(dim=2) * s).sum(dim=2)
        logits = logits + s.mean(dim=2) + lam * att
    return logits


def torchvision_resnet(state: 'dict[str, Tensor]') -> 'nn.Module':
    """Torchvision's ResNet, its classifier apart with weights."""
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

    state = {name.removeprefix('backbone.'): tensor for name, tensor in state.items()}
    state = {name: tensor for name, tensor in state.items() if not name.startswith(('classifier.', 'fc.'))}
    counts = [len({k.split('.')[1] for k in state if k.startswith(f'layer{n}.')}) for n in (1, 2, 3, 4)]
    network = ResNet(Bottleneck if 'layer1.0.conv3.weight' in state else BasicBlock, counts)
    network.load_state_dict(state | {f'fc.{k}': v for k, v in network.fc.state_dict().items()})
    return network


def torchvision_vit(state: 'dict[str, Tensor]') -> 'nn.Module':
    """Torchvision's ViT, its classifier apart with weights."""
    from torch import nn
    from torchvision.models.vision_transformer import VisionTransformer

    renamed = {}
    for name, tensor in state.items():
        for pattern, new in TORCHVISION_VIT:
            name = re.sub(pattern, new, name)
        renamed[name] = tensor
    renamed = {k: v for k, v in renamed.items() if k.startswith(('conv_proj', 'class_token', 'encoder.'))}
    width, _, patch, _ = renamed['conv_proj.weight'].shape
    cells = renamed['encoder.pos_embedding'].shape[1] - 1
    layers = len({name.split('.')[2] for name in renamed if name.startswith('encoder.layers.')})
    hidden = len(renamed['encoder.layers.encoder_layer_0.mlp.0.bias'])
    network = VisionTransformer(round(cells**0.5) * patch, patch, layers, width // 64, width, hidden)
    network.heads = nn.Identity()
    network.load_state_dict(renamed)
    return network


def verify(model: 'nn.Module', state: 'dict[str, Tensor]') -> None:
    """Compare the scores of our model with those of the official names.

    Raises:
        UserError: If they differ.
    """
    import torch

    state = {name: tensor.float() for name, tensor in state.items()}
    side = model.backbone.img_size[0] if 'cls_token' in state else 128
    pictures = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torchvision_scores(state, pictures, model.head.temperatures, model.head.lam)
        difference = ((model(pictures) - expected).abs().max() / expected.abs().max()).item()
    told = f"the scores differ from those of torchvision's network by {difference:.1e} of the largest"
    if not difference <= TOLERANCE:
        raise UserError(f'{told}: nothing is written. Likely the file is of another network')
    print(f'# verified: {told}')


def to_theirs(state: 'dict[str, Tensor]') -> 'dict[str, Tensor]':
    """Official names, for weights that were trained with settings that official code would take."""
    from mmlattn.models.csra.official_files import from_mmlattn
    from mmlattn.utils.stored_settings import BUFFER, decode_settings

    settings = decode_settings(state[f'head.{BUFFER}']) if f'head.{BUFFER}' in state else {}
    if not settings.get('normalize', True):
        raise UserError(
            'these weights were trained with normalize=False; the official code always normalises'
        )
    if settings:
        print(
            f'# lam={settings["lam"]}, temperatures={settings["temperatures"]}: no part of an official file'
        )
    return from_mmlattn(state)


def to_ours(state: 'dict[str, Tensor]', source: str, lam: float | None, verifies: bool) -> dict:
    """The checkpoint for the model that is printed."""
    from mmengine.config import Config
    from mmpretrain.apis import get_model

    from mmlattn.models.csra.official_files import model_config, read_plan, to_mmlattn
    from mmlattn.utils.stored_settings import BUFFER
    from mmlattn.utils.weights import load_all_weights
    from mmlattn.version import __version__

    config = model_config(read_plan(to_mmlattn(state)), 0.1 if lam is None else lam)
    model = get_model(Config(dict(model=config)), device='cpu').eval()
    load_all_weights(model, state, source)
    if verifies:
        verify(model, state)
    converted = model.state_dict()
    if lam is None:
        print(
            f"# lam is not in {source}: 0.1, the authors' for one head, is only what stands here; see --lam"
        )
        del converted[f'head.{BUFFER}']
    parts = ''.join(f'    {name}={part!r},\n' for name, part in config.items())
    print(f'model = dict(\n{parts})')
    meta = dict(converted_from='csra', model=config, mmlattn_version=__version__)
    return dict(state_dict=dict(converted), meta=meta)


def main() -> None:
    """Convert."""
    args = parse_args()
    from mmlattn.utils.checkpoint.weight_files import read_weights, write_weights

    refuse_existing('DST', args.dst)
    refuse_npz(args.dst)
    state, _ = read_weights(args.src)
    content = to_theirs(state) if args.reverse else to_ours(state, str(args.src), args.lam, args.verify)
    write_weights(args.dst, content)
    print(f'# wrote {args.dst} from {args.src}')


if __name__ == '__main__':
    run_tool(main)
