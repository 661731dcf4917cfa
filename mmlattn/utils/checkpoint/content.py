"""What a checkpoint must be like, whoever made it: looked at once, when it is opened.

Only what a file has is looked at; what a resumed run needs of it, ``engine/hooks/checkpoint_checks.py`` asks for.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Number
from typing import Any, NoReturn

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import Tensor

from ..errors import UserError
from .digests import DIGESTS, changed_part

#: Tensors and arrays count as one each.
_MOST_VALUES = 10**6
_DAMAGED = 'the file is damaged, or not from where it seems to be: take another checkpoint'
_DIVERGED = 'the training had diverged, or the file is damaged: take an earlier checkpoint'


def check_content(checkpoint: Any, name: str) -> None:
    """Check structure, types, ranges, finiteness and digests of what a file holds.

    Args:
        checkpoint (Any): As the reader gives it: a state dict, or a dict with one as ``state_dict``.
        name (str): What the message calls the file.

    Raises:
        UserError: In one line; at the first thing that is wrong.
    """
    with _naming(name):
        _check_size(checkpoint)
        _be(checkpoint, Mapping, 'the checkpoint', 'a dict')
        _check_weights(_weights_of(checkpoint), 'state_dict')
        of_runner = 'state_dict' in checkpoint and 'message_hub' in checkpoint
        for part, check in (_CHECKS | _CHECKS_OF_RUNNER if of_runner else _CHECKS).items():
            # What is None says that there is none.
            if 'state_dict' in checkpoint and checkpoint.get(part) is not None:
                check(checkpoint[part], part)
        _check_position(checkpoint)
    changed = changed_part(checkpoint)
    if changed:
        raise UserError(
            f'{name}: its {changed} is not what was saved: it is damaged, or was changed since. If you changed it '
            f'on purpose, save it without its {DIGESTS!r}; else take another copy'
        )


class _WrongError(Exception):
    """What is wrong with the content, and what follows from that."""


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except _WrongError as error:
        said, advice = error.args
        raise UserError(f'{name}: {said}: {advice}') from error


def _wrong(said: str, advice: str = _DAMAGED) -> NoReturn:
    raise _WrongError(said, advice)


def _be(value: Any, kind: type | tuple[type, ...], where: str, expected: str) -> None:
    if not isinstance(value, kind):
        _wrong(f'{where} is a {type(value).__name__}, not {expected}')


def _check_size(checkpoint: Any) -> None:
    """A few bytes can say that a list holds ten times another one, which holds ten times another one."""
    count, waiting = 0, [checkpoint]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (Mapping, list, tuple, set, frozenset)):
            count += len(value)
            if count > _MOST_VALUES:
                _wrong(f'it holds more than {_MOST_VALUES} values')
            waiting.extend(value.values() if isinstance(value, Mapping) else value)


def _weights_of(checkpoint: Mapping) -> Any:
    if 'state_dict' in checkpoint:
        return checkpoint['state_dict']
    if any(isinstance(value, Tensor) for value in checkpoint.values()):
        return checkpoint
    names = ', '.join(repr(str(key)) for key in list(checkpoint)[:5]) or 'nothing'
    _wrong(
        f'no weights are in it but {names}',
        'expected a state dict, or one under the key state_dict; take it out of what else is there',
    )


def _check_weights(weights: Any, where: str) -> None:
    _be(weights, Mapping, where, 'a dict of tensors by name')
    for name, value in weights.items():
        if not isinstance(name, str):
            _wrong(f'{where} has the name {name!r}, which is no text')
        if name.endswith('_extra_state'):
            # What torch's modules may store beside tensors.
            continue
        _be(value, Tensor, f'{where}[{name!r}]', 'a tensor')
        _check_tensor(value, f'{where}[{name!r}]')


def _check_tensor(value: Tensor, where: str) -> None:
    if value.is_meta or value.layout is not torch.strided or value.is_quantized:
        _wrong(f'{where} is no ordinary tensor')
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        _wrong(f'{where} claims {value.numel()} numbers, more than the file holds')
    if value.is_complex():
        _wrong(f'{where} holds complex numbers, which a network of real ones would cut in half')
    if value.is_floating_point() and value.numel():
        problem = not_finite(value)
        if problem:
            _wrong(f'{where} holds {problem}', _DIVERGED)


def not_finite(value: Tensor) -> str | None:
    """What of a floating tensor is no finite number; None also for a mask of 0 and -inf."""
    # One pass without a copy, in which NaN wins; narrow types know neither.
    value = value.detach().float() if value.element_size() < 2 else value.detach()
    low, high = torch.aminmax(value)
    if torch.isfinite(low) and torch.isfinite(high):
        return None
    if torch.isnan(low):
        return 'NaN'
    # Attention masks are buffers of 0 and -inf.
    finite = value[torch.isfinite(value)]
    return None if finite.numel() and not finite.any() else 'inf among other numbers'


def _check_meta(meta: Any, where: str) -> None:
    _be(meta, Mapping, where, 'a dict')
    for name in ('epoch', 'iter'):
        if meta.get(name) is not None:
            _check_whole(meta[name], f'{where}[{name!r}]')
    if meta.get('seed') is not None:
        # numpy's range.
        _check_whole(meta['seed'], f"{where}['seed']", below=2**32)
    names = {f"{where}['CLASSES']": meta.get('CLASSES')}  # of mmcls
    if meta.get('dataset_meta') is not None:
        _be(meta['dataset_meta'], Mapping, f"{where}['dataset_meta']", 'a dict')
        names[f"{where}['dataset_meta']['classes']"] = meta['dataset_meta'].get('classes')
    for place, classes in names.items():
        if classes is not None:
            _be(classes, (list, tuple), place, 'a list of names')
            for index, one in enumerate(classes):
                _be(one, str, f'{place}[{index}]', 'a name')


def _check_whole(value: Any, where: str, below: int = 2**63) -> None:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        _wrong(f'{where} is {_shown(value)}, not a whole number')
    if not 0 <= value < below:
        _wrong(f'{where} is {value}, expected 0 or more and less than {below}')


def _check_optimizer(optimizer: Any, where: str) -> None:
    _be(optimizer, Mapping, where, 'a dict')
    if not {'state', 'param_groups'} & optimizer.keys():
        # Several, by name.
        for name, one in optimizer.items():
            _be(one, Mapping, f'{where}[{name!r}]', 'the state of an optimizer')
            _check_one_optimizer(one, f'{where}[{name!r}]')
    else:
        _check_one_optimizer(optimizer, where)


def _check_one_optimizer(optimizer: Mapping, where: str) -> None:
    groups, state = (f'{where}[{name!r}]' for name in ('param_groups', 'state'))
    _be(optimizer.get('param_groups'), list, groups, 'a list')
    for index, group in enumerate(optimizer['param_groups']):
        place = f'{groups}[{index}]'
        _be(group, Mapping, place, 'a dict')
        _be(group.get('params'), list, f"{place}['params']", 'a list of numbers')
        for number in group['params']:
            _be(number, (int, str), f"{place}['params']", 'a number or name')
        _be(group.get('lr'), (int, float, Tensor), f"{place}['lr']", 'a number')
        _check_numbers(group, place, finite=True)
        if group['lr'] < 0:
            _wrong(f"{place}['lr'] is {_shown(group['lr'])}, expected 0 or more")
    _be(optimizer.get('state'), Mapping, state, 'a dict')
    for number, entry in optimizer['state'].items():
        _be(number, (int, str), f'a key of {state}', 'a number or name')
        _be(entry, Mapping, f'{state}[{number}]', 'a dict')
    _check_numbers(optimizer, where)


def _check_schedulers(schedulers: Any, where: str) -> None:
    _be(schedulers, (list, Mapping), where, 'a list')
    lists = schedulers.items() if isinstance(schedulers, Mapping) else [(None, schedulers)]
    for name, states in lists:
        place = where if name is None else f'{where}[{name!r}]'
        _be(states, list, place, 'a list')
        for index, state in enumerate(states):
            _be(state, Mapping, f'{place}[{index}]', 'a dict')
            for key in state.keys() & {'begin', 'last_step', '_global_step'}:
                _be(state[key], int, f'{place}[{index}][{key!r}]', 'a whole number')
    _check_numbers(schedulers, where)


def _check_message_hub(hub: Any, where: str) -> None:
    if isinstance(hub, MessageHub):
        # In trusted files of older versions.
        return
    _be(hub, Mapping, where, 'a dict')
    for part in ('log_scalars', 'runtime_info', 'resumed_keys'):
        _be(hub.get(part), Mapping, f'{where}[{part!r}]', 'a dict')
        for name in hub[part]:
            _be(name, str, f'a key of {where}[{part!r}]', 'a text')
    for name, history in hub['log_scalars'].items():
        if isinstance(history, HistoryBuffer):
            _check_history(history, f"{where}['log_scalars'][{name!r}]")
    for name, value in hub['resumed_keys'].items():
        _be(value, bool, f"{where}['resumed_keys'][{name!r}]", 'True or False')
    info = f"{where}['runtime_info']"
    for name, value in hub['runtime_info'].items():
        if name in ('epoch', 'iter', 'max_epochs', 'max_iters'):
            _check_whole(value, f'{info}[{name!r}]')
        if name.startswith('best_score'):
            _be(value, (Number, Tensor), f'{info}[{name!r}]', 'a number')
            _check_numbers(value, f'{info}[{name!r}]')
        if name == 'keep_ckpt_ids':
            _be(value, list, f'{info}[{name!r}]', 'a list')


def _check_history(history: HistoryBuffer, where: str) -> None:
    values = [vars(history).get(name) for name in ('_log_history', '_count_history')]
    sound = all(isinstance(value, np.ndarray) and value.dtype.kind in 'biuf' for value in values)
    if not sound or values[0].ndim != 1 or values[0].shape != values[1].shape:
        _wrong(f'{where} is no history of numbers')
    _check_whole(vars(history).get('max_length'), f'{where}.max_length')


def _check_numbers(value: Any, where: str, finite: bool = False) -> None:
    """No NaN, however deep, and with ``finite`` no infinity; tensors have to be sound as weights are."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_numbers(item, f'{where}[{key!r}]', finite)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_numbers(item, f'{where}[{index}]', finite)
    elif isinstance(value, Tensor):
        _check_tensor(value, where)
    elif isinstance(value, complex):
        _wrong(f'{where} is {value}, not a real number')
    elif isinstance(value, (float, np.floating)) and (math.isnan(value) or (finite and math.isinf(value))):
        _wrong(f'{where} is {value}', _DIVERGED)


def _check_gradients(gradients: Any, where: str) -> None:
    # With mixed precision they may be infinite; then the update is left out.
    _be(gradients, Mapping, where, 'a dict of tensors by name')
    for name, value in gradients.items():
        _be(value, Tensor, f'{where}[{name!r}]', 'a tensor')


def _check_own(value: Any, where: str) -> None:
    # NaN is a loss that is not known yet.
    _be(value, Mapping, where, 'a dict')


def _check_position(checkpoint: Mapping) -> None:
    """Epoch and iteration lie within the run that the log in the file tells of."""
    meta, hub = checkpoint.get('meta'), checkpoint.get('message_hub')
    if not isinstance(meta, Mapping) or not isinstance(hub, Mapping):
        return
    for name, limit in (('epoch', 'max_epochs'), ('iter', 'max_iters')):
        done, planned = meta.get(name) or 0, hub['runtime_info'].get(limit)
        # Iterations may exceed the plan: a run that is resumed with larger batches plans fewer of them.
        begun = hub['runtime_info'].get(name, -1)
        if planned is not None and done > max(planned, begun + 1):
            _wrong(f'meta[{name!r}] is {done}, but its run had {limit}={planned}')


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else f'a {type(value).__name__}'


_CHECKS = {'meta': _check_meta, DIGESTS: _check_own}

# What other frameworks keep under these names is their own matter; mmengine's Runner saves its log with them.
_CHECKS_OF_RUNNER = {
    'message_hub': _check_message_hub,
    'ema_state_dict': _check_weights,
    'optimizer': _check_optimizer,
    'param_schedulers': _check_schedulers,
    # Of our own hooks.
    'gathered_gradients': _check_gradients,
    'validated': _check_whole,
    'racnn_phase': _check_own,
}
