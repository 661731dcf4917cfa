"""Flags that several tools have, under one name and with one meaning."""

import argparse
import ast
from pathlib import Path

from mmengine.config import DictAction as _DictAction

#: How each launcher tells a process its place, in the environment.
PLACES = {
    'pytorch': {name: name for name in ('RANK', 'WORLD_SIZE')},
    'slurm': dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'),
    'mpi': {name: f'OMPI_COMM_WORLD_{name}' for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')},
}


class DictAction(_DictAction):
    """mmengine's ``key=value`` pairs; a single value, such as a path, keeps its spaces, and dicts are Python's."""

    @staticmethod
    def _parse_iterable(val: str) -> object:
        if val.startswith(('{', '[{', '({')):  # mmengine's own would cut dicts at their commas
            try:
                return ast.literal_eval(val)
            except (SyntaxError, ValueError) as error:
                raise AssertionError(f"expected dicts as in [{{'type': 'A', 'k': 1}}], got {val}") from error
        plain = val.strip('\'"')
        if ',' in plain or plain.startswith(('(', '[')):
            return _DictAction._parse_iterable(val)
        return _DictAction._parse_int_float_bool(plain)

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Collect the pairs; what is none ends the program with one line."""
        for pair in values:
            if not pair.partition('=')[0] or '=' not in pair:
                raise argparse.ArgumentError(self, f'expected key=value, got {pair!r}')
        try:
            super().__call__(parser, namespace, values, option_string)
        except AssertionError as error:
            raise argparse.ArgumentError(self, str(error)) from error


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser that shows the description as it is written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_cfg_options(
    parser: argparse.ArgumentParser, meaning: str = 'settings to override: key=value'
) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, help=meaning)


def add_conversion(parser: argparse.ArgumentParser) -> None:
    """Add the two files of a converter."""
    parser.add_argument('src', metavar='SRC', type=Path, help='file with weights')
    parser.add_argument('dst', metavar='DST', type=Path, help='file to write; it must not exist yet')


def add_decision(parser: argparse.ArgumentParser) -> None:
    """Add ``--threshold`` and ``--ignore-decision``, which overrule the decision in a checkpoint."""
    parser.add_argument(
        '--threshold',
        type=float,
        help='a label is predicted from this score on, for all classes; default: the thresholds that '
        "tune_thresholds.py stored in the checkpoint, or else the head's own rule",
    )
    parser.add_argument(
        '--ignore-decision',
        action='store_true',
        help="leave out calibration and thresholds that are stored in the checkpoint: the head's own scores and rule",
    )


def add_font(parser: argparse.ArgumentParser) -> None:
    """Add ``--font``, for what is written in pictures."""
    parser.add_argument(
        '--font',
        help='font file, or family of an installed font, for what is written; letters that it lacks, such as '
        'Chinese ones, are taken from other installed fonts',
    )


def add_tta(parser: argparse.ArgumentParser) -> None:
    """Add ``--tta`` and what its views are, see :mod:`.tta`."""
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: tta_pipeline and tta_model of the config, else the picture and its mirror '
        'image, fused before scores are normalised',
    )
    parser.add_argument(
        '--tta-scales',
        type=float,
        nargs='+',
        metavar='S',
        help='with --tta: sizes of the picture, such as 0.875 1 1.125',
    )
    parser.add_argument(
        '--tta-crops',
        choices=['five'],
        help='with --tta: look at the corners and the centre of a larger picture',
    )


def check_tta(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program if views are named that nothing looks at."""
    if (args.tta_scales or args.tta_crops) and not args.tta:
        parser.error('--tta-scales and --tta-crops need --tta')


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-checkpoint``."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='open files that hold more than weights; they can run any code on your machine',
    )


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that training and testing share, with mmpretrain's meanings, and ``--trust-checkpoint``."""
    add_cfg_options(
        parser,
        'override settings of the config: key=value pairs such as optim_wrapper.optimizer.lr=0.01; a list is '
        'key="[a,b]" or key=a,b; nested lists and tuples as in key="[(a,b),(c,d)]" need the quotation '
        'marks; white space is kept outside lists only; dicts are written as in '
        "key=\"[{'type': 'A', 'k': 1}]\"",
    )
    add_trust(parser)
    parser.add_argument('--no-pin-memory', action='store_true', help='turn off pin_memory in data loaders')
    launchers = ['none', *PLACES]
    parser.add_argument('--launcher', choices=launchers, default='none', help='what starts the processes')
    # torch.distributed.launch spells it with a hyphen since torch 2.0, with an underscore before.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
