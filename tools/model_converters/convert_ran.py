"""Make weights of residual attention networks from elsewhere loadable here, or the other way round.

SRC is read as weights only. It is one of

port   a state dict of github.com/tengshaofeng/ResidualAttentionNetwork-pytorch, saved with torch.save: one of its
       classes for 224 pixels or ResidualAttentionModel_92_32input_update;
caffe  the blobs of one of the authors' four network definitions (github.com/fwang91/residual-attention-network): blob
       i of layer L under the name L.i, in an .npz or in a dict of tensors saved with torch.save. From Caffe's net:
           blobs = {f'{L}.{i}': blob.data for L, layer in net.params.items() for i, blob in enumerate(layer)}
           np.savez('ran.npz', **blobs)

Every name in the file must be known and no weight may be missing. DST gets a checkpoint for the model that is
printed; the settings in it are part of what the weights mean.
"""

import argparse

from mmlattn.utils.arguments import refuse_existing, refuse_npz
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import add_conversion, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    add_conversion(parser)
    parser.add_argument(
        '--layout',
        choices=['auto', 'port', 'caffe'],
        default='auto',
        help='whose names SRC has, or DST with --reverse; by default what they look like',
    )
    parser.add_argument(
        '--reverse',
        action='store_true',
        help='SRC is a checkpoint of mmlattn, DST gets the names of --layout',
    )
    return parser.parse_args()


def main() -> None:
    """Convert."""
    args = parse_args()
    from mmlattn.utils.checkpoint.weight_files import read_weights, write_weights

    refuse_existing('DST', args.dst)
    if args.reverse and args.layout == 'auto':
        raise UserError('--reverse needs --layout port or --layout caffe')
    if not args.reverse:
        refuse_npz(args.dst)
    state, meta = read_weights(args.src)

    from mmlattn.models.ran.state_dicts import from_mmlattn, model_config, to_mmlattn
    from mmlattn.version import __version__

    if args.reverse:
        origin = meta.get('converted_from', args.layout)
        if origin != args.layout:
            raise UserError(
                f'{args.src} was converted from {origin}, and {args.layout} computes something else with its weights'
            )
        converted = from_mmlattn(state, args.layout)
        write_weights(args.dst, converted)
        print(f'wrote {args.dst}: {len(converted)} tensors with the names of {args.layout}')
        return
    converted, plan = to_mmlattn(state, args.layout)
    model = model_config(plan)
    meta = dict(converted_from=plan.layout, model=model, mmlattn_version=__version__)
    write_weights(args.dst, dict(state_dict=converted, meta=meta))
    parts = ''.join(f'    {name}={part!r},\n' for name, part in model.items())
    print(
        f'# wrote {args.dst} from {args.src} ({plan.layout}, {plan.classes} classes)\nmodel = dict(\n{parts})'
    )


if __name__ == '__main__':
    run_tool(main)
