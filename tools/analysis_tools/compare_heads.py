r"""Which head for my data: train several above one frozen backbone, alike, and compare them.

    python tools/analysis_tools/compare_heads.py --data configs/_base_/datasets/coco18_224.py \
        --backbone efficientnet-lite0 --heads linear,csra,ml-decoder --out-dir work_dirs/heads
    python tools/analysis_tools/compare_heads.py configs/A.py configs/B.py --out-dir work_dirs/heads

The backbone runs once over the pictures and their mirror images; its feature maps are stored, and every head is
trained on them for the same number of epochs. Of the same few learning rates each gets the one that is best on the
val split, with the first seed; the test split is looked at after that. Of configs the neck, the head, the hooks and
the optimizer are taken. What is done is not done again: the same command goes on where it stopped.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmlattn.utils.arguments import check_choice, check_folder, check_number, check_whole
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import apply_options
from mmlattn.utils.launch.explain import explain_missing_data, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, make_parser
from mmlattn.utils.memory import keep_freed_memory

HEADS = 'linear,max,csra,st-lstm,cnn-rnn,ml-decoder,q2l'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('configs', nargs='*', help='configs to compare, of the same data and backbone')
    parser.add_argument(
        '--data', help='in place of configs: a config of data such as coco18_224, or a label file with splits'
    )
    parser.add_argument('--pictures', help='folder of the pictures, where --data is a label file')
    parser.add_argument('--side', type=int, default=224, help='pixels of these pictures; default 224')
    parser.add_argument(
        '--backbone', help='mobilenet-v2, efficientnet-lite0 ..., or a config whose backbone to take'
    )
    parser.add_argument(
        '--heads', help=f'names, the first one is what others are compared with; default {HEADS}'
    )
    parser.add_argument('--out-dir', type=Path, required=True, help='folder of all runs and of the report')
    parser.add_argument('--epochs', type=int, default=10, help='of every training; default 10')
    parser.add_argument('--batch-size', type=int, default=32, help='of every training; default 32')
    parser.add_argument(
        '--lrs',
        type=float,
        nargs='+',
        default=[2e-4, 1e-3, 5e-3],
        help='to choose from; default 2e-4 1e-3 5e-3',
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default 0 1 2')
    parser.add_argument('--amp', action='store_true', help='mixed precision in training; bfloat16 on a CPU')
    parser.add_argument('--no-flip', action='store_true', help='leave mirror images out of training')
    parser.add_argument(
        '--crops', type=int, default=0, help='further views of each training picture; default 0'
    )
    parser.add_argument(
        '--hold-out',
        type=float,
        default=0.0,
        help='share of the training pictures to choose by, where no val is',
    )
    parser.add_argument(
        '--features',
        type=Path,
        default=Path('data/features'),
        help='folder of stored features',
    )
    parser.add_argument(
        '--finetune',
        help='best, or names of heads: one more row each, the whole network trained on from that head',
    )
    parser.add_argument(
        '--finetune-epochs', type=int, default=3, help='over the pictures themselves; default 3'
    )
    parser.add_argument('--finetune-lr', type=float, default=1e-4, help='of all weights; default 1e-4')
    parser.add_argument('--workers', type=int, default=1, help='processes that read pictures; default 1')
    parser.add_argument(
        '--cache', type=Path, default=Path('data/downloads'), help='folder for packages of weights'
    )
    add_cfg_options(parser, 'settings to override in all configs, or in that of --data: key=value')
    parser.add_argument('--features-only', action='store_true', help='store the features, and train nothing')
    return parser.parse_args()


def check_args(args: argparse.Namespace) -> None:
    """Raises ``UserError`` for what can not be compared."""
    if bool(args.configs) == bool(args.data):
        raise UserError('give configs, or --data with --backbone')
    if args.data and not args.backbone:
        raise UserError('--data needs --backbone, such as --backbone efficientnet-lite0')
    if args.configs and args.backbone:
        raise UserError('configs have a backbone of their own: leave --backbone out')
    for name, value, least in (
        ('--epochs', args.epochs, 1),
        ('--batch-size', args.batch_size, 1),
        ('--finetune-epochs', args.finetune_epochs, 1),
        ('--crops', args.crops, 0),
        ('--workers', args.workers, 0),
        ('--side', args.side, 1),
    ):
        check_whole(name, value, least)  # fmt: skip
    for seed in args.seeds:
        check_whole('--seeds', seed, 0)
    if args.configs and args.pictures:
        raise UserError('configs have pictures of their own: leave --pictures out')
    for name, rate in (*(('--lrs', rate) for rate in args.lrs), ('--finetune-lr', args.finetune_lr)):
        check_number(name, rate)
        if rate <= 0:
            raise UserError(f'{name} must be above 0, got {rate:g}')
    check_number('--hold-out', args.hold_out, least=0, most=0.5)
    for name, values in (('--seeds', args.seeds), ('--lrs', args.lrs)):
        if len(set(values)) < len(values):
            raise UserError(f'{name} has a value twice: {values}')
    check_folder('--out-dir', args.out_dir)
    check_folder('--features', args.features)


def read_input(args: argparse.Namespace) -> tuple[dict, Any, list[str]]:
    """The configs to compare by their paths, the one of data and backbone, and the names of further heads."""
    from mmlattn.comparison.candidates import data_config, read_configs, with_backbone
    from mmlattn.comparison.finetuning import check_names
    from mmlattn.comparison.presets import HEADS as KNOWN

    given = args.heads if args.heads is not None else '' if args.configs else HEADS
    names = [name for name in given.split(',') if name]
    for name in names:
        check_choice('--heads', name, KNOWN)
    compared = [*(Path(path).stem for path in args.configs), *names]
    if len(set(compared)) < len(compared) or not compared:
        raise UserError(f'heads need names, each once, got {", ".join(compared) or "none"}: check --heads')
    if args.finetune is not None:
        check_names(args.finetune, compared)
    configs = read_configs(args.configs, args.cfg_options) if args.configs else {}
    if configs:
        cfg = next(iter(configs.values()))
    else:
        data = data_config(args.data, args.pictures, args.side)
        apply_options(data, args.cfg_options)
        cfg = with_backbone(data, args.backbone, args.cache)
    return configs, cfg, names


def describe(args: argparse.Namespace) -> str:
    """How all heads were trained, in one line."""
    backbone = args.backbone or f'the backbone of {Path(args.configs[0]).stem}'
    precision = ', mixed precision' if args.amp else ''
    more = ''
    if args.finetune:
        more = f'; fine-tuned for {args.finetune_epochs} epochs of the pictures, first seed'
    return (
        f'{backbone}, frozen; {args.epochs} epochs on stored features, batches of {args.batch_size}{precision}; '
        f'learning rate chosen on val{more}'
    )


def main() -> None:
    """Store features, train, choose, test, report."""
    args = parse_args()
    check_args(args)

    from mmengine.device import get_device
    from mmengine.logging import MMLogger
    from mmengine.registry import init_default_scope

    import mmlattn.register  # noqa: F401
    from mmlattn.comparison.candidates import config_candidate, preset_candidate
    from mmlattn.comparison.data import check_labels, prepare
    from mmlattn.comparison.features import build_extractor
    from mmlattn.comparison.finetuning import choose, finetune
    from mmlattn.comparison.grid import Comparison, claim, compare
    from mmlattn.comparison.head_configs import write_configs
    from mmlattn.comparison.report import write_report
    from mmlattn.comparison.scoring import score_all
    from mmlattn.comparison.training import Budget

    keep_freed_memory()
    MMLogger.get_instance('mmengine', log_level='WARNING')
    init_default_scope('mmpretrain')
    configs, cfg, names = read_input(args)
    candidates = [config_candidate(path, one) for path, one in configs.items()]
    with explain_missing_data(cfg), claim(args.out_dir):
        extractor = build_extractor(cfg, get_device())
        views = dict(crops=args.crops, flip=not args.no_flip, hold_out=args.hold_out)
        data = prepare(cfg, extractor, args.features, **views, workers=args.workers)
        if args.features_only:
            return
        sizes = (data['train'].targets.shape[1], data['train'].channels)
        check_labels(data)
        candidates += [preset_candidate(name, *sizes) for name in names]
        budget = Budget(args.epochs, args.batch_size, args.amp)
        comparison = Comparison(data, budget, args.lrs, args.seeds, args.out_dir)
        outcomes = {candidate.name: compare(comparison, candidate) for candidate in candidates}
        write_configs(comparison, cfg, candidates, list(outcomes.values()))
        further = []
        for name in choose(list(outcomes.values()), comparison, args.finetune) if args.finetune else ():
            candidate = next(candidate for candidate in candidates if candidate.name == name)
            how = (cfg, extractor, args.finetune_epochs, args.finetune_lr)
            further.append(finetune(comparison, candidate, outcomes[name], *how))
        rows = score_all([*outcomes.values(), *further], data['val'].targets, data['test'].targets)
        pictures = {split: len(found.dataset) for split, found in data.items()}
        settings = dict(
            heads=[candidate.settings() for candidate in candidates],
            budget=asdict(budget),
            learning_rates=args.lrs,
            seeds=args.seeds,
            pictures=pictures,
            backbone=extractor.identity,
            data={split: found.identity for split, found in data.items()},
        )
        report = write_report(rows, pictures, describe(args), settings, args.out_dir)
    print(f'\n{report.read_text()}\nwritten to {report}')


if __name__ == '__main__':
    run_tool(main)
