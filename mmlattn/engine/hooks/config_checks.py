"""The parts of a config are compared with each other before the first step."""

import math
from difflib import get_close_matches

import numpy as np
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.runner import BaseLoop
from mmpretrain.evaluation import Accuracy, ConfusionMatrix, SingleLabelMetric
from mmpretrain.models.heads import ClsHead, MultiLabelClsHead
from torch import nn

from mmlattn.datasets.unknown_labels import check_unknown_arrive, has_unknown
from mmlattn.evaluation.evaluators import check_metric_names
from mmlattn.evaluation.metrics.class_table import TableMetric
from mmlattn.models.views.decision import deciding_head, head_of
from mmlattn.registry import HOOKS
from mmlattn.utils.errors import UserError
from mmlattn.utils.weights import network

IF_MEANT = "if this is meant, set custom_hooks=[..., dict(type='mmlattn.ConfigChecksHook', enabled=False)]"
_PARAMWISE = {
    'custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'dwconv_decay_mult', 'flat_decay_mult',
    'bypass_duplicate', 'dcn_offset_lr_mult',
}  # fmt: skip


@HOOKS.register_module()
class ConfigChecksHook(Hook):
    """Refuses parts of a config that do not belong together, before anything is computed with them.

    * A head, or a metric, for one label a picture and data with label sets. The reverse works, and is logged.
    * Weights of a loss, and the top k of a metric, for another number of classes than the head has.
    * ``data_preprocessor.std`` with a nought, ``paramwise_cfg`` with settings that nobody reads.
    * Two metrics that give values of the same name.
    * Unknown labels that a pipeline drops on the way to a head or metric which leaves them out; that a head of
      mmpretrain takes them for absent is logged.
    * ``save_best`` of a metric that no evaluator gives; its prefix before, its name after the first validation.

    Args:
        enabled (bool): Whether to compare; the tools add this hook where a config has none.
    """

    # Before the best checkpoint is looked for.
    priority = 'NORMAL'

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled

    def before_run(self, runner) -> None:
        """Compare what this run uses."""
        if not self.enabled:
            return
        model = network(runner.model)
        head = head_of(model)
        _check_statistics(model)
        if head is not None:
            _check_loss_weights(head)
        for mode, loop in _loops(runner):
            dataset = loop.dataloader.dataset
            evaluator, several = getattr(loop, 'evaluator', None), _has_label_sets(dataset)
            metrics = getattr(evaluator, 'metrics', ())
            if head is not None and several is not None:
                _check_label_kind(runner, deciding_head(head), several, mode)
            _check_unknown(runner, head, dataset, metrics, mode)
            for metric in metrics:
                _check_metric(metric, several, getattr(head, 'num_classes', None), mode)
            if type(evaluator) is Evaluator:
                # Others, as mmdet's of several data sets, may put names of their own before those of the metrics.
                check_metric_names(metrics, f'{mode}_evaluator')
                if mode == 'val':
                    _check_prefixes(_best_of(runner), metrics)
            if mode == 'train':
                _check_paramwise(runner)

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """See that the best checkpoint can be found."""
        # mmengine saves no best checkpoint where there are no metrics at all.
        for name in _best_of(runner) if self.enabled and metrics else ():
            if name not in metrics:
                near = get_close_matches(name, metrics, n=1)
                hint = f'did you mean {near[0]}?' if near else f'write one of {", ".join(metrics)}'
                raise UserError(f'default_hooks.checkpoint.save_best={name!r} is none of the metrics: {hint}')


def _loops(runner) -> list[tuple[str, BaseLoop]]:
    """The loops that are built; the others are not used in this run."""
    loops = [(mode, getattr(runner, f'_{mode}_loop', None)) for mode in ('train', 'val', 'test')]
    return [(mode, loop) for mode, loop in loops if isinstance(loop, BaseLoop)]


def _check_statistics(model: nn.Module) -> None:
    std = getattr(getattr(model, 'data_preprocessor', None), 'std', None)
    if std is not None and not (std > 0).all():
        raise UserError(
            f'data_preprocessor.std must be above 0 in every channel, got {std.flatten().tolist()}'
        )


def _check_loss_weights(head: nn.Module) -> None:
    classes = getattr(deciding_head(head), 'num_classes', None)
    for name, module in head.named_modules():
        for key in ('class_weight', 'pos_weight'):
            weights = getattr(module, key, None)
            number = math.prod(np.shape(weights))
            if weights is not None and classes is not None and number not in (1, classes):
                raise UserError(
                    f'{key} of {name}: {type(module).__name__} has {number} entries, the head {classes} classes: '
                    'give one for each class, in their order'
                )


def _has_label_sets(dataset) -> bool | None:
    """Whether any picture has a set of labels that is not one label; None where the data do not tell."""
    try:
        # Data with a number for each picture, and real label sets, show it at the first ones.
        for index in range(len(dataset)):
            label = dataset.get_data_info(index)['gt_label']
            if np.ndim(label) == 0:
                return False
            if len(label) != 1:
                return True
    except (AttributeError, IndexError, KeyError, NotImplementedError, TypeError):
        return None
    return False


def _check_label_kind(runner, head: nn.Module, several: bool, mode: str) -> None:
    name = type(head).__name__
    if several and isinstance(head, ClsHead):
        raise UserError(
            f'{name} decides for one label a picture, but those of {mode}_dataloader have label sets: set model.head '
            f'to a head for several labels, as mmlattn.CSRAHead or MultiLabelLinearClsHead; {IF_MEANT}'
        )
    if not several and isinstance(head, MultiLabelClsHead) and mode == 'train':
        runner.logger.warning(
            f'{name} decides for each class by itself, but the pictures of train_dataloader have one label each: '
            'heads for one label, as LinearClsHead, know that'
        )


def _check_unknown(runner, head: nn.Module | None, dataset, metrics, mode: str) -> None:
    """Unknown labels count as absent wherever they are not told of."""
    head = None if head is None else deciding_head(head)
    learns = mode == 'train' and isinstance(head, MultiLabelClsHead)
    if learns and not hasattr(head, 'unknown') and has_unknown(dataset):
        runner.logger.warning(
            f'{type(head).__name__} takes the unknown labels of train_dataloader for absent: mmlattn.CSRAHead, '
            'STLSTMHead, CNNRNNHead and LinearMultiLabelHead leave them out'
        )
    reads = mode == 'train' and getattr(head, 'unknown', None) == 'mask'
    if reads or any(isinstance(metric, TableMetric) and metric.unknown == 'mask' for metric in metrics):
        mend = ", or set unknown='negative' of the head" if mode == 'train' else ''
        check_unknown_arrive(dataset, f'{mode}_dataloader', mend)


def _check_metric(metric, several: bool | None, num_classes: int | None, mode: str) -> None:
    name = type(metric).__name__
    if isinstance(metric, (Accuracy, ConfusionMatrix, SingleLabelMetric)) and several:
        raise UserError(
            f'{name} in {mode}_evaluator is for one label a picture, but those of {mode}_dataloader have label sets: '
            'take mmlattn.MultiLabelReport, AveragePrecision or MultiLabelMetric'
        )
    most = max(getattr(metric, 'topk', ())) if isinstance(metric, Accuracy) else 0
    if num_classes is not None and most > num_classes:
        raise UserError(
            f'{name} in {mode}_evaluator has topk={metric.topk}, the head {num_classes} classes: set topk to at most '
            'that'
        )


def _best_of(runner) -> list[str]:
    """The metrics by which the best checkpoint is chosen, if they are named."""
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    return [name for hook in hooks for name in hook.save_best or () if name != 'auto']


def _check_prefixes(best: list[str], metrics) -> None:
    prefixes = [metric.prefix for metric in metrics]
    for name in best:
        if prefixes and all(prefixes) and name.partition('/')[0] not in prefixes:
            raise UserError(
                f'default_hooks.checkpoint.save_best={name!r} is no metric of val_evaluator: their names begin with '
                f'{", ".join(f"{prefix}/" for prefix in prefixes)}'
            )


def _check_paramwise(runner) -> None:
    """Mmengine passes over what it does not know."""
    cfg = runner.cfg.get('optim_wrapper') or {}
    constructor = cfg.get('constructor', DefaultOptimWrapperConstructor)
    if isinstance(constructor, str):
        constructor = OPTIM_WRAPPER_CONSTRUCTORS.get(constructor)
    options = cfg.get('paramwise_cfg') or {}
    if constructor is not DefaultOptimWrapperConstructor:
        return
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    own = {'lr_mult', 'decay_mult', *getattr(optimizer, 'defaults', ())}
    keys = [('paramwise_cfg', options, _PARAMWISE)]
    custom = options.get('custom_keys', {})
    keys += [(f'paramwise_cfg.custom_keys.{part}', value, own) for part, value in custom.items()]
    for place, given, known in keys:
        for key in given:
            near = get_close_matches(key, known, n=1)
            # Custom keys go into the groups of the optimizer, where it or a hook may read others: LARS, SimSiam.
            if key not in known and (near or known is _PARAMWISE):
                hint = f'did you mean {near[0]}?' if near else f'write some of {", ".join(sorted(known))}'
                raise UserError(f'optim_wrapper.{place} has {key}, which is not read: {hint}')
    names = [name for name, _ in network(runner.model).named_parameters()]
    for part in custom:
        if not any(part in name for name in names):
            runner.logger.warning(
                f'optim_wrapper.paramwise_cfg.custom_keys has {part!r}, which is in the name of no parameter'
            )
