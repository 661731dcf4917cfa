"""Evaluate a model. Flags and their meanings are those of mmpretrain's ``tools/test.py``."""

import argparse
import os.path as osp

from mmengine.config import ConfigDict

from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import (
    add_hook,
    drop_hook,
    load_config,
    merge_common,
    merge_options,
    set_dataloader_defaults,
    type_name,
)
from mmlattn.utils.launch.explain import explain_missing_data, run_tool
from mmlattn.utils.launch.flags import add_common_arguments, add_decision, add_tta, check_tta
from mmlattn.utils.launch.tta import add_views


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Evaluate a model')
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument('--work-dir', help='folder for logs and metrics; default work_dirs/<config name>')
    parser.add_argument(
        '--out',
        help='file to write results to: .pkl, .csv or .json for predictions; .json, .yaml or .pkl for metrics',
    )
    parser.add_argument(
        '--out-item', choices=['metrics', 'pred'], help='what to write to --out; predictions by default'
    )
    parser.add_argument('--amp', action='store_true', help='evaluate with automatic mixed precision')
    parser.add_argument('--show-dir', help='folder to draw predictions into')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--interval', type=int, default=1, help='draw every so many samples')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds to show each window')
    add_tta(parser)
    parser.add_argument(
        '--constraints',
        help='json of what is known of the labels, for models that decode them: {"rules": {"present": [...], '
        '"absent": [...], "exclusive": [[...]], "parents": {...}, "count": n}, "images": {"a.jpg": {"present": '
        '[...], "absent": [...], "count": n}}}',
    )
    add_decision(parser)
    add_common_arguments(parser)
    args = parser.parse_args()
    check_tta(parser, args)
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        parser.error(f'--threshold must lie in [0, 1], got {args.threshold}')
    if args.threshold is not None and args.constraints:
        parser.error(
            '--threshold takes labels one by one and keeps to no --constraints: leave either of them out'
        )
    if args.out is None and args.out_item is not None:
        parser.error('--out-item needs --out')
    pickles, texts = ('.pkl', '.pickle'), ('.json', '.yaml', '.yml')
    if args.out and args.out_item != 'metrics' and not args.out.endswith((*pickles, '.csv', '.json')):
        parser.error(f'predictions are written as .pkl, .csv or .json, got --out {args.out}')
    if args.out and args.out_item == 'metrics' and not args.out.endswith(pickles + texts):
        parser.error(f'metrics are written as .json, .yaml or .pkl, got --out {args.out}')
    if args.out and osp.exists(args.out):
        parser.error(f'--out {args.out} exists already: give another name, or remove it')
    if args.constraints and not osp.isfile(args.constraints):
        parser.error(f'there is no file --constraints {args.constraints}')
    return args


def merge_args(cfg, args: argparse.Namespace) -> list[str]:
    """Write the command line into the config; ``--cfg-options`` has the last word.

    Returns:
        list[str]: What the log is to say about it.
    """
    merge_common(cfg, args)
    cfg.load_from = args.checkpoint
    cfg.resume = False
    if args.amp:
        cfg.test_cfg.fp16 = True
    drawing = args.show or args.show_dir is not None
    if drawing:
        draw_predictions(cfg, args)
    if args.constraints:
        drop_hook(cfg, 'LabelConstraintsHook')
        hook = dict(type='mmlattn.LabelConstraintsHook', file=args.constraints)
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
    set_dataloader_defaults(cfg, ['test_dataloader'], args)
    merge_options(cfg, args.cfg_options, ['test_dataloader'])
    # What takes another place, or the place of another, comes after the options that name it.
    notes = draw_with_ours(cfg) if drawing else []
    if args.tta:
        test_averaged_weights(cfg)
        augment_test(cfg, args)
    return notes


def draw_predictions(cfg, args: argparse.Namespace) -> None:
    """Turn the visualisation hook on, ours where there is none.

    Raises:
        UserError: If there is none in a config that is not for classification.
    """
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    if hooks.get('visualization') is None:
        if not for_classification(cfg):
            raise UserError('--show and --show-dir need default_hooks.visualization in the config')
        hooks.visualization = dict(type='mmlattn.EvidenceVisualizationHook')
    hook = hooks.visualization
    hook.update(show=args.show, wait_time=args.wait_time, interval=args.interval)
    if type_name(hook) == 'DetVisualizationHook':
        # mmdet's has other names, and takes folders relative to the working directory of the run.
        hook.update(draw=True, test_out_dir=args.show_dir and osp.abspath(args.show_dir))
    else:
        hook.update(enable=True, out_dir=args.show_dir)


def draw_with_ours(cfg) -> list[str]:
    """Let our hook and visualizer take the place of the stock ones; a user's own stay.

    The stock ones draw thumbnails of the network's input, swap red and blue, and know no evidence.

    Returns:
        list[str]: Which have been replaced, for the log.
    """
    if not for_classification(cfg):
        return []
    cfg.visualizer = cfg.get('visualizer') or dict(type='Visualizer')
    notes = []
    for part, stock, ours in (
        (cfg.default_hooks.visualization, ('VisualizationHook',), 'mmlattn.EvidenceVisualizationHook'),
        (cfg.visualizer, ('Visualizer', 'UniversalVisualizer'), 'mmlattn.EvidenceVisualizer'),
    ):
        if type_name(part) in stock:
            notes.append(f'{ours} draws in the place of {type_name(part)}')
            part.type = ours
    return notes


def for_classification(cfg) -> bool:
    """Whether plain names of a config are those of mmpretrain; configs in pure Python have no scope."""
    return (cfg.get('default_scope') or 'mmpretrain') == 'mmpretrain'


def augment_test(cfg, args: argparse.Namespace) -> None:
    """Wrap model and pipeline for test-time augmentation.

    Raises:
        UserError: If the config says nothing about it and is not a classification config, or says something else.
    """
    if not {'tta_model', 'tta_pipeline'} <= cfg.keys() and not for_classification(cfg):
        raise UserError('--tta needs tta_model and tta_pipeline in a config that is not for classification')
    add_views(cfg, args.tta_scales, args.tta_crops)
    cfg.model = dict(**cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline


def test_averaged_weights(cfg) -> None:
    """Drop EMA's hook: a checkpoint's ``state_dict`` holds the averaged weights already.

    The hook would look for them under the names of the augmented model, not find any, and test those it began with.

    Raises:
        UserError: If the hook is to test other weights than the averaged.
    """
    for hook in drop_hook(cfg, 'EMAHook'):
        if hook.get('evaluate_on_ema') is False or hook.get('evaluate_on_origin'):
            raise UserError(
                '--tta tests the averaged weights of EMAHook only: leave evaluate_on_ema and evaluate_on_origin of '
                'custom_hooks at their defaults, or leave --tta out'
            )


def use_decision(cfg, args: argparse.Namespace) -> None:
    """Take labels and scores by the decision in the checkpoint, or as the flags say."""
    if args.threshold is not None or args.ignore_decision:
        drop_hook(cfg, 'StoredDecisionHook')
        hook = dict(type='mmlattn.StoredDecisionHook', threshold=args.threshold, ignore=args.ignore_decision)
        cfg.custom_hooks = [*cfg.custom_hooks, hook]
    add_hook(cfg, 'mmlattn.StoredDecisionHook')


def main() -> None:
    """Evaluate."""
    args = parse_args()
    cfg = load_config(args.config)
    notes = merge_args(cfg, args)

    import mmengine
    from mmengine.dist import is_main_process
    from mmengine.evaluator import DumpResults

    from mmlattn.apis.dump_predictions import DumpPredictions
    from mmlattn.evaluation.evaluators import leave_out_evidence
    from mmlattn.models import MultiLabelTTAModel
    from mmlattn.utils.checkpoint.loading import use_safe_loading
    from mmlattn.utils.launch.runner import build_runner, process_group, run
    from mmlattn.utils.weights import without_wrapper

    use_safe_loading(trust=args.trust_checkpoint)
    add_hook(cfg, 'mmlattn.CompleteWeightsHook')  # or random weights would get a score
    use_decision(cfg, args)
    with process_group(cfg), explain_missing_data(cfg, ('test',)):
        runner = build_runner(cfg, 'test_loop')
        model = without_wrapper(runner.model)
        if isinstance(model, MultiLabelTTAModel):
            out = [] if model.tells_places else leave_out_evidence(runner.test_evaluator)
            notes += [f'--tta averages scores, so {name} is left out' for name in out]
            notes.append(f'--tta: {model.fuse} over the views of each {model.fuse_on}')
        for note in notes:
            runner.logger.info(note)
        if args.out and args.out_item != 'metrics':
            tables = args.out.endswith(('.csv', '.json'))
            dump = DumpPredictions(args.out) if tables else DumpResults(out_file_path=args.out)
            dump.dataset_meta = runner.test_evaluator.dataset_meta
            runner.test_evaluator.metrics.append(dump)
        metrics = run(runner, 'test')
        if args.out and args.out_item == 'metrics' and is_main_process():
            mmengine.dump(metrics, args.out)


if __name__ == '__main__':
    run_tool(main)
