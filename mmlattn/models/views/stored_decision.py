"""The decision in a checkpoint: whether it is this model's, and what it makes of predictions.

One place for inferencer, hook and tools. The head's own rule is ``decision.py``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from mmpretrain.structures import DataSample
from torch import Tensor, as_tensor, nn

from mmlattn.structures.decisions import Decision, read_decision
from mmlattn.structures.labels import select_labels
from mmlattn.utils.checkpoint.digests import DIGESTS, digest
from mmlattn.utils.errors import UserError

from .decision import deciding_head, head_of

#: A field of the meta of samples whose scores or labels are not the model's own: it says whose they are.
DECIDED = 'stored_decision'


def fitting_decision(model: nn.Module, checkpoint: Mapping, name: str) -> Decision | None:
    """The decision that a checkpoint has for a model; None without one.

    Args:
        model (nn.Module): A classifier, out of every wrapper.
        checkpoint (Mapping): As it was loaded.
        name (str): What messages call it.

    Raises:
        UserError: If it is damaged, or of other classes than the model or the checkpoint, or of other weights.
    """
    try:
        decision = read_decision(checkpoint)
    except UserError as error:
        raise UserError(f'{name}: {error}') from error
    if decision is None:
        return None
    if has_other_weights(checkpoint):
        raise UserError(
            f'{name}: its stored decision is for the averaged weights, and the file has the plain ones, as when it '
            'was published without EMA: choose it anew with tools/analysis_tools/tune_thresholds.py'
        )
    head = head_of(model)
    outputs = getattr(head, 'num_classes', None)
    if outputs is not None and outputs != len(decision.classes):
        raise UserError(
            f'{name}: its stored decision is for {len(decision.classes)} classes and the model has {outputs} '
            'outputs: choose it anew with tools/analysis_tools/tune_thresholds.py'
        )
    names = ((checkpoint.get('meta') or {}).get('dataset_meta') or {}).get('classes') or decision.classes
    if tuple(names) != decision.classes:
        raise UserError(
            f'{name}: its stored decision is for other classes than its weights, or in another order: choose it '
            'anew with tools/analysis_tools/tune_thresholds.py'
        )
    if head is not None and (problem := undecidable(head)):
        raise UserError(f'{name} has a stored decision, but {problem}')
    return decision


def has_other_weights(checkpoint: Mapping) -> bool:
    """Whether the plain weights have taken the place of the averaged ones, which the digests tell."""
    digests = checkpoint.get(DIGESTS) or {}
    published = 'ema_state_dict' in digests and 'ema_state_dict' not in checkpoint
    return published and digest(checkpoint['state_dict']) != digests.get('state_dict')


def undecidable(head: nn.Module) -> str | None:
    """Why thresholds of single classes mean nothing for a head; None where they do."""
    head = deciding_head(head)
    if hasattr(head, 'rules'):
        return f'{type(head).__name__} decides on sets of labels, not on one label after another'
    return None


def announce(decision: Decision | None, name: str, replaced: Any = None) -> None:
    """Say in one line which decision is used, and whether ``replaced`` thresholds take the place of its own."""
    if decision is not None:
        instead = '' if replaced is None else f'; labels by threshold {replaced} instead'
        print_log(f'{name}: {decision.summary()}{instead}', 'current')


def apply_decision(
    samples: Sequence[DataSample],
    decision: Decision | None,
    thresholds: Tensor | float | None = None,
    topk: int | None = None,
) -> Sequence[DataSample]:
    """Calibrate the scores of predictions and take their labels by them, in place.

    Args:
        samples (Sequence[DataSample]): With ``pred_score`` (C,), and with the labels of the head's own rule.
        decision (Decision, optional): The stored one.
        thresholds (Tensor | float, optional): For all classes or (C,), in the place of the stored ones.
        topk (int, optional): The best classes, in the place of the stored thresholds, or with ``thresholds`` of those
            that reach them.
    """
    own = thresholds is None and topk is None
    if own and decision is not None:
        thresholds = decision.threshold_tensor()
    told = [decision.summary()] if decision is not None else []
    told += [] if own else [_given(thresholds, topk)]
    for sample in samples:
        if decision is not None and sample.get(DECIDED) is None:
            sample.set_field(decision.calibrate(sample.pred_score), 'pred_score')
        if told:
            sample.set_field('; '.join(told), DECIDED, field_type='metainfo')
        if thresholds is not None or topk is not None:
            sample.set_pred_label(select_labels(sample.pred_score, thresholds, topk))
    return samples


def _given(thresholds: Tensor | float | None, topk: int | None) -> str:
    values = set() if thresholds is None else set(as_tensor(thresholds).reshape(-1).tolist())
    rules = [f'threshold {value:g}' for value in values] if len(values) < 2 else ['thresholds of their own']
    return f'labels by {" and ".join(rules + ([] if topk is None else [f"the {topk} best"]))}'
