"""Train a model. Flags and their meanings are those of mmpretrain's ``tools/train.py``."""

import argparse

from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import (
    add_hook,
    keep_checkpoints_safe,
    load_config,
    make_reproducible,
    merge_common,
    merge_options,
    set_dataloader_defaults,
    type_name,
)
from mmlattn.utils.launch.explain import explain_missing_data, run_tool
from mmlattn.utils.launch.flags import add_common_arguments
from mmlattn.utils.launch.resume import naming_what_is_kept, newest_checkpoint

MIXED = ('AmpOptimWrapper', 'MixedPrecisionOptimWrapper')
LOADERS = ['train_dataloader', 'val_dataloader', 'test_dataloader']


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; default work_dirs/<config name>')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='continue from the given checkpoint, or from the latest one in the working directory',
    )
    parser.add_argument(
        '--amp', action='store_true', help='train with automatic mixed precision; on a CPU in bfloat16'
    )
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate during training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the batch size of this run over auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='start the workers of data loaders anew each epoch',
    )
    add_common_arguments(parser)
    return parser.parse_args()


def merge_args(cfg, args: argparse.Namespace) -> None:
    """Write the command line into the config; ``--cfg-options`` has the last word."""
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    merge_common(cfg, args)
    if args.amp:
        use_mixed_precision(cfg)
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = newest_checkpoint(cfg.work_dir) if args.resume == 'auto' else args.resume
    if args.auto_scale_lr:
        cfg.auto_scale_lr = {**(cfg.get('auto_scale_lr') or {}), 'enable': True}
    set_dataloader_defaults(cfg, LOADERS, args, persistent_workers=True)
    merge_options(cfg, args.cfg_options, LOADERS)
    add_hook(cfg, 'mmlattn.LabelChecksHook')
    scaling = cfg.get('auto_scale_lr') or {}
    if scaling.get('enable') and 'base_batch_size' not in scaling:
        raise UserError('--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config')
    run_mixed_precision_on_cpu(cfg)
    make_reproducible(cfg)
    keep_checkpoints_safe(cfg)


def use_mixed_precision(cfg) -> None:
    """Compute losses in mixed precision.

    Raises:
        UserError: If the config has a wrapper of the optimizer whose steps would be lost.
    """
    wrapper = cfg.get('optim_wrapper') or {}  # the Runner says what is missing
    kind = type_name(wrapper)
    if kind not in ('', 'OptimWrapper', *MIXED):
        raise UserError(
            f'--amp would take the place of optim_wrapper.type={kind!r}: leave --amp out, or set '
            "optim_wrapper.type='OptimWrapper' in the config"
        )
    if wrapper and kind not in MIXED:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')


def run_mixed_precision_on_cpu(cfg) -> None:
    """Where there is no GPU, let ours take the place of mmengine's, which refuses a CPU."""
    from mmengine.device import get_device

    wrapper = cfg.get('optim_wrapper') or {}
    if type_name(wrapper) == 'AmpOptimWrapper' and get_device() == 'cpu':
        wrapper.type = 'mmlattn.MixedPrecisionOptimWrapper'


def main() -> None:
    """Train."""
    args = parse_args()
    cfg = load_config(args.config)
    merge_args(cfg, args)

    from mmlattn.utils.checkpoint.loading import use_safe_loading
    from mmlattn.utils.launch.runner import build_runner, process_group, run

    use_safe_loading(trust=args.trust_checkpoint, run_dir=cfg.work_dir if cfg.get('resume') else None)
    with naming_what_is_kept(cfg.work_dir), process_group(cfg), explain_missing_data(cfg, ('train', 'val')):
        run(build_runner(cfg, 'train_loop', 'val_loop'), 'train')


if __name__ == '__main__':
    run_tool(main)
