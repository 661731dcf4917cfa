"""Publish a trained model: its weights alone, with classes and thresholds, and nothing that runs.

    python tools/publish_model.py CHECKPOINT csra.safetensors
    python tools/publish_model.py CHECKPOINT csra_folder --config CONFIG --measured metrics.json --measured-by "..."

OUT.pth or OUT.safetensors becomes OUT-HASH with that suffix, the first digits of its SHA-256 in the name, and
OUT-HASH.json beside it tells the rest. Any other OUT is a new folder of weights, config as json and card, which
mmlattn.from_pretrained opens; --push takes it to huggingface_hub. Optimizer, log and paths of the training stay out.
Where EMA was on, the averages are taken, which were also tested.
"""

import argparse
import json
from pathlib import Path

from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.explain import explain_config, run_tool
from mmlattn.utils.launch.flags import add_trust, make_parser

#: Endings of one file; all else is the name of a folder.
ONE_FILE = ('.pth', '.safetensors')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='path or URL of the checkpoint')
    parser.add_argument('out', metavar='OUT', type=Path, help='NAME.pth, NAME.safetensors, or a new folder')
    parser.add_argument('--config', help='path of its config, or name of one of ours; a folder needs it')
    parser.add_argument('--no-ema', action='store_true', help='take the plain weights, not their averages')
    parser.add_argument('--license', help='of the weights, as huggingface_hub names it, such as apache-2.0')
    parser.add_argument(
        '--measured',
        type=Path,
        help='.json of tools/test.py --out-item metrics with these weights, for the card',
    )
    parser.add_argument('--measured-by', help='on which pictures, and by which command, these were measured')
    parser.add_argument('--push', metavar='USER/NAME', help='repository of huggingface_hub for the folder')
    parser.add_argument('--public', action='store_true', help='let a repository that --push makes be public')
    add_trust(parser)
    args = parser.parse_args()
    if bool(args.measured) != bool(args.measured_by):
        parser.error('--measured and --measured-by go together')
    if args.public and not args.push:
        parser.error('--public needs --push')
    of_folder = {'--license': args.license, '--measured': args.measured, '--push': args.push}
    if args.out.suffix in ONE_FILE:
        if given := [flag for flag, value in of_folder.items() if value]:
            parser.error(f'{given[0]} is for a folder, and {args.out} is one file')
    elif args.config is None:
        parser.error(
            f'{args.out} is to be a folder, which needs --config; a file ends in .pth or .safetensors'
        )
    return args


def measured_numbers(args: argparse.Namespace):
    """What ``--measured`` holds.

    Raises:
        UserError: If that is no json of numbers.
    """
    from mmlattn.hub.cards import Measured

    if args.measured is None:
        return None
    try:
        values = json.loads(args.measured.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise UserError(f'--measured {args.measured} cannot be read as json: {error}') from error
    if not isinstance(values, dict) or not all(isinstance(v, (int, float)) for v in values.values()):
        raise UserError(f'--measured {args.measured} holds no numbers by name')
    return Measured(values, args.measured_by)


def publish_file(args: argparse.Namespace) -> None:
    """One file, with one beside it that tells of it."""
    from mmengine.runner import CheckpointLoader

    from mmlattn.hub.config_data import config_data
    from mmlattn.hub.publishing import publish, published
    from mmlattn.utils.checkpoint.loading import safe_loading
    from mmlattn.utils.launch.config import load_config

    config = None if args.config is None else config_data(load_config(args.config))
    with safe_loading(trust=args.trust_checkpoint):
        checkpoint = CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')
    content = published(checkpoint, args.checkpoint, averaged=not args.no_ema, config=config)
    say_which(checkpoint, args.no_ema)
    print('wrote', *publish(content, args.out))


def say_which(checkpoint: dict, plain: bool) -> None:
    """Where there is a choice, say which weights were taken."""
    if 'ema_state_dict' in checkpoint:
        print('the plain weights' if plain else 'the averaged weights of EMA; --no-ema takes the plain ones')


def main() -> None:
    """Publish."""
    args = parse_args()
    if args.out.suffix in ONE_FILE:
        publish_file(args)
        return
    import mmlattn
    from mmlattn.hub.remote import check_push

    if args.push:
        check_push(args.push)
    measured = measured_numbers(args)
    with explain_config():
        mmlattn.save_pretrained(
            args.out,
            args.config,
            args.checkpoint,
            name=args.push,
            averaged=not args.no_ema,
            measured=measured,
            license_name=args.license,
            trust=args.trust_checkpoint,
        )
    print(f'wrote {args.out}')
    if args.push:
        print(f'pushed to {mmlattn.push_to_hub(args.out, args.push, private=not args.public)}')


if __name__ == '__main__':
    run_tool(main)
