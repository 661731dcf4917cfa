"""A checkpoint must fit the run that starts from it."""

from collections.abc import Iterator, Mapping, Sequence
from numbers import Number
from typing import NoReturn

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import BaseOptimWrapper, OptimWrapperDict
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from mmlattn.registry import HOOKS
from mmlattn.utils.errors import UserError
from mmlattn.utils.weights import averaged_weights, load_all_weights, load_some_weights, network, some_names

# State that torch's optimizers keep for each element of a parameter.
_ELEMENTWISE = (
    'momentum_buffer',
    'exp_avg',
    'exp_avg_sq',
    'max_exp_avg_sq',
    'square_avg',
    'acc_delta',
    'grad_avg',
)


@HOOKS.register_module()
class CheckpointChecksHook(Hook):
    """Refuses to go on from a checkpoint with what this run does not continue, or to start from one without a use.

    mmengine takes what fits and goes on without the rest. A resumed run needs all weights, their averages if it has
    some, the state of the same optimizer and schedulers, and an end that lies ahead. ``load_from`` needs one weight;
    mmengine lists those that do not fit, and averages that do not are left out. ``tools/train.py`` adds this hook.
    """

    # What is wrong must be said before another hook stumbles over it.
    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare, and load weights strictly, before mmengine does so loosely."""
        name = runner._load_from or 'the checkpoint'
        if 'state_dict' not in checkpoint:
            # mmengine's own hooks expect it.
            weights = dict(checkpoint)
            checkpoint.clear()
            checkpoint['state_dict'] = weights
        # In shards, as of FSDP, weights have no shapes of their own to compare.
        whole = isinstance(runner.model, DistributedDataParallel) or not is_model_wrapper(runner.model)
        if not runner._resume:
            if whole:
                load_some_weights(runner.model, checkpoint, name)
                _leave_out_misfits(runner, checkpoint)
            return
        try:
            _check_parts(checkpoint)
            _check_position(runner, checkpoint['meta'])
            if whole:
                load_all_weights(runner.model, checkpoint, 'it')
                _check_optimizers(runner.optim_wrapper, checkpoint['optimizer'])
            _check_averages(checkpoint)
            _check_schedulers(runner.param_schedulers, checkpoint)
        except UserError as error:
            raise UserError(
                f'{name} cannot be resumed: {error}. To start anew from its weights, leave out --resume and set '
                '--cfg-options load_from=FILE'
            ) from error


def _leave_out_misfits(runner, checkpoint: dict) -> None:
    """Averages of other shapes, as with another number of classes, at which mmpretrain's EMAHook would end.

    It then begins with the ``state_dict``, which holds the averaged weights.
    """
    averages = checkpoint.get('ema_state_dict')
    if not isinstance(averages, Mapping):
        return
    own = network(runner.model).state_dict()
    plain = averaged_weights(averages)
    odd = [name for name in plain.keys() & own.keys() if _shape(plain[name]) != _shape(own[name])]
    if odd:
        del checkpoint['ema_state_dict']
        runner.logger.info(f'ema_state_dict is left out, which does not fit in {some_names(sorted(odd))}')


def _check_parts(checkpoint: Mapping) -> None:
    for part in ('meta', 'message_hub', 'optimizer'):
        if checkpoint.get(part) is None:
            raise UserError(f'it has no {part}, as when it was made for publication')
    for part in ('epoch', 'iter'):
        if checkpoint['meta'].get(part) is None:
            raise UserError(f'its meta has no {part}')


def _check_position(runner, meta: Mapping) -> None:
    loop = runner.cfg.get('train_cfg') or {}
    for unit, limit in (('epoch', 'max_epochs'), ('iter', 'max_iters')):
        planned = loop.get(limit)
        if planned is not None and meta[unit] > getattr(runner, limit):
            raise UserError(
                f'it was saved at {unit} {meta[unit]}, but this run ends at train_cfg.{limit}={planned}'
            )


def _check_averages(checkpoint: Mapping) -> None:
    """EMA keeps the plain weights beside the averaged ones; it exchanges the two by name."""
    weights, averages = checkpoint['state_dict'], checkpoint.get('ema_state_dict')
    if averages is None:
        return
    plain = averaged_weights(averages)
    odd = [n for n in plain.keys() | weights.keys() if _shape(plain.get(n)) != _shape(weights.get(n))]
    if odd:
        raise UserError(f'its ema_state_dict does not fit its state_dict in {some_names(sorted(odd))}')


def _shape(value: Tensor | None) -> tuple | None:
    return None if value is None else tuple(value.shape)


def _check_optimizers(wrapper: BaseOptimWrapper, state: Mapping) -> None:
    for place, optimizer, one in _by_name(wrapper, state):
        _check_groups(optimizer, one['param_groups'], place)
        _check_state(optimizer, one['state'], place)


def _by_name(wrapper: BaseOptimWrapper, state: Mapping) -> Iterator[tuple[str, Optimizer, Mapping]]:
    wrappers = dict(wrapper.items()) if isinstance(wrapper, OptimWrapperDict) else {'': wrapper}
    states = {'': state} if 'param_groups' in state else state
    if wrappers.keys() != states.keys():
        raise UserError(f'its optimizers are {_listed(states)}, those of this run {_listed(wrappers)}')
    for name, one in wrappers.items():
        if isinstance(getattr(one, 'optimizer', None), Optimizer):
            yield f'optimizer {name}'.strip(), one.optimizer, states[name]


def _listed(names: Mapping) -> str:
    return ', '.join(map(str, names)).strip() or 'one without a name'


def _check_groups(optimizer: Optimizer, groups: Sequence[Mapping], place: str) -> None:
    own = optimizer.state_dict()['param_groups']
    sizes, own_sizes = ([len(group['params']) for group in some] for some in (groups, own))
    if sizes != own_sizes:
        _differ(place, f'{_count(sizes)}', f'{_count(own_sizes)}')
    for group, ours in zip(groups, own, strict=True):
        if group['params'] != ours['params']:
            _differ(place, 'other numbers of parameters', 'those in order')
        if _settings(group) != _settings(ours) or not _decay_alike(group, ours):
            kind = type(optimizer).__name__
            _differ(
                place,
                f'the settings {", ".join(_settings(group))}',
                f'{kind} with {", ".join(_settings(ours))}',
            )


def _count(sizes: Sequence[int]) -> str:
    return f'{sum(sizes)} parameters in {len(sizes)} groups'


def _settings(group: Mapping) -> list[str]:
    """What tells optimizers apart; flags come and go with versions of torch."""
    return sorted(
        name
        for name, value in group.items()
        if isinstance(value, (Number, Tensor, tuple))
        and not isinstance(value, bool)
        # Of schedulers, which are compared by themselves.
        and not name.startswith('initial_')
    )


def _decay_alike(group: Mapping, own: Mapping) -> bool:
    """Whether both or neither decays as AdamW does; torch 2.6 did not note it down."""
    flag = 'decoupled_weight_decay'
    return flag not in group or group[flag] == own.get(flag, group[flag])


def _check_state(optimizer: Optimizer, state: Mapping, place: str) -> None:
    weights = [weight for group in optimizer.param_groups for weight in group['params']]
    for number, entry in state.items():
        if not isinstance(number, int) or not 0 <= number < len(weights):
            _differ(place, f'state of a parameter {number}', f'{len(weights)} parameters')
        shape = tuple(weights[number].shape)
        for key in _ELEMENTWISE:
            value = entry.get(key)
            if value is not None and not (isinstance(value, Tensor) and tuple(value.shape) == shape):
                found = _shape(value) if isinstance(value, Tensor) else type(value).__name__
                _differ(place, f'a {key} of {found} for parameter {number}', f'one of {shape}')


def _differ(place: str, found: str, own: str) -> NoReturn:
    raise UserError(f'its {place} has {found}, this run {own}: it is of another optimizer or model')


def _check_schedulers(own: Mapping | Sequence | None, checkpoint: Mapping) -> None:
    if own is None:
        return
    states = checkpoint.get('param_schedulers')
    if isinstance(own, Mapping) != isinstance(states, Mapping) or states is None:
        raise UserError('its param_schedulers are none, or of another kind of optimizer')
    pairs = [(own, states)]
    if isinstance(own, Mapping):
        pairs = [(own.get(name, ()), states.get(name, ())) for name in own.keys() | states.keys()]
    for schedulers, found in pairs:
        if len(schedulers) != len(found):
            raise UserError(f'it has {len(found)} param_schedulers, this run {len(schedulers)}')
        for scheduler, state in zip(schedulers, found, strict=True):
            _check_scheduler(
                type(scheduler).__name__, scheduler.state_dict(), state, checkpoint['meta']['iter']
            )


def _check_scheduler(kind: str, own: Mapping, state: Mapping, done: int) -> None:
    if own.keys() != state.keys():
        odd = some_names(sorted(map(str, own.keys() ^ state.keys())))
        raise UserError(
            f'of its param_schedulers and those of this run only one has {odd}: {kind} is another one'
        )
    for key, value in own.items():
        if _kind(value) != _kind(state[key]) and None not in (value, state[key]):
            raise UserError(
                f'{key} of its {kind} is a {type(state[key]).__name__}, not a {type(value).__name__}'
            )
    for key in {'last_step', '_global_step'} & own.keys():
        if not -1 <= state[key] <= done + 1:
            raise UserError(f'{key} of its {kind} is {state[key]}, after {done} iterations')


def _kind(value: object) -> type:
    kinds = (bool, Number, (list, tuple), Mapping)
    return next((kind for kind in kinds if isinstance(value, kind)), type(value))
