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
from pathlib import Path

from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('src', metavar='SRC', type=Path, help='file with weights')
    parser.add_argument('dst', metavar='DST', type=Path, help='file to write; it must not exist yet')
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


def read(path: Path) -> tuple[dict, dict]:
    """Tensors by name, and the checkpoint's meta, if it has one.

    Raises:
        UserError: If there is no such file, or it holds anything but named tensors.
    """
    import numpy as np
    import torch

    from mmlattn.utils.checkpoint import BrokenFileError, load_weights_only

    if not path.is_file():
        raise UserError(f'there is no file {path}')
    try:
        if path.suffix == '.npz':
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}, {}
        content = load_weights_only(str(path), 'cpu')
    except BrokenFileError as error:
        raise UserError(f'{path} {error}: it is cut off, damaged or no checkpoint') from error
    except UserError as error:
        raise UserError(
            f'{path} {error}: save no more than torch.save(model.state_dict(), ...) does'
        ) from error
    except Exception as error:  # whatever numpy stumbles over in a broken or hostile file
        raise UserError(f'{path} cannot be read as arrays ({error}): damaged, or no .npz') from error
    state, meta = content, {}
    if isinstance(content, dict) and isinstance(content.get('state_dict'), dict):
        state, meta = content['state_dict'], content.get('meta')
    if not isinstance(state, dict) or not state or not all(map(torch.is_tensor, state.values())):
        what = ', '.join(map(str, list(state)[:3])) if isinstance(state, dict) else type(state).__name__
        raise UserError(f'{path} holds no state dict (but {what}): expected tensors by their names')
    return state, meta if isinstance(meta, dict) else {}


def write(path: Path, content: dict) -> None:
    """Write a file whole or not at all: arrays to ``.npz``, else with ``torch.save``.

    Raises:
        UserError: If it has come to exist.
    """
    from tempfile import TemporaryDirectory

    import numpy as np
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix='.convert-') as folder:
        partial = Path(folder, path.name)
        if path.suffix == '.npz':
            np.savez(partial, **{name: tensor.numpy() for name, tensor in content.items()})
        else:
            torch.save(content, partial)
        refuse_existing(path)
        partial.rename(path)


def refuse_existing(path: Path) -> None:
    """Raises ``UserError`` if something is at ``path``."""
    if path.exists():
        raise UserError(f'{path} exists and is not overwritten; give another DST')


def main() -> None:
    """Convert."""
    args = parse_args()
    refuse_existing(args.dst)
    if args.reverse and args.layout == 'auto':
        raise UserError('--reverse needs --layout port or --layout caffe')
    if args.dst.suffix == '.npz' and not args.reverse:
        raise UserError(f'{args.dst}: a checkpoint of mmlattn is no .npz; name it .pth')
    state, meta = read(args.src)

    from mmlattn.models.ran.state_dicts import from_mmlattn, model_config, to_mmlattn
    from mmlattn.version import __version__

    if args.reverse:
        origin = meta.get('converted_from', args.layout)
        if origin != args.layout:
            raise UserError(
                f'{args.src} was converted from {origin}, and {args.layout} computes something else with its weights'
            )
        converted = from_mmlattn(state, args.layout)
        write(args.dst, converted)
        print(f'wrote {args.dst}: {len(converted)} tensors with the names of {args.layout}')
        return
    converted, plan = to_mmlattn(state, args.layout)
    model = model_config(plan)
    meta = dict(converted_from=plan.layout, model=model, mmlattn_version=__version__)
    write(args.dst, dict(state_dict=converted, meta=meta))
    parts = ''.join(f'    {name}={part!r},\n' for name, part in model.items())
    print(
        f'# wrote {args.dst} from {args.src} ({plan.layout}, {plan.classes} classes)\nmodel = dict(\n{parts})'
    )


if __name__ == '__main__':
    run_tool(main)
