"""Weights go into a model whole, or the user learns in one line why not."""

import re
from collections.abc import Iterable, Mapping

from torch import nn

from .errors import UserError
from .wrappers import network

_SHAPES = re.compile(r'size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\).*?torch\.Size\(\[(.*?)\]\)')


def load_all_weights(model: nn.Module, checkpoint: Mapping, source: str) -> None:
    """Load a checkpoint that has every weight of a model, each in its shape.

    What the file has beside ``backbone``, ``head`` and the other children of the model, such as a teacher or an
    average, is passed over; further weights *of* those children are of another network. Modules may rename or fill in
    weights while they load, as CSRA heads and residual attention networks do for older files.

    Args:
        model (nn.Module): Changed in place, in part even where an error is raised; one wrapped for several processes
            or for test-time augmentation is unwrapped.
        checkpoint (Mapping): State dict, or a dict with one as ``state_dict``; a ``module.`` before names is fine.
        source (str): What the message calls the checkpoint.

    Raises:
        UserError: If weights are missing, have another shape or belong to no layer of the model.
    """
    model = network(model)
    state = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping):
        raise UserError(f'{source} holds no state dict but {type(checkpoint).__name__}')
    missing, extra, misshaped = _load(model, {name.removeprefix('module.'): v for name, v in state.items()})
    children = {name for name, _ in model.named_children()}
    problems = {
        'missing are': [name for name in missing if not name.endswith('num_batches_tracked')],  # unused
        'of another shape are': misshaped,
        'without a place are': [name for name in extra if name.partition('.')[0] in children],
    }
    if any(problems.values()):
        found = '; '.join(f'{what} {_some(names)}' for what, names in problems.items() if names)
        raise UserError(
            f'{source} holds the weights of another model than the config: {found}. '
            f'Likely {_cause(problems.values())}'
        )


def _load(model: nn.Module, state: dict) -> tuple[list[str], list[str], list[str]]:
    """Names missing, names left over, and names with their two shapes."""
    keys = []
    hook = model.register_load_state_dict_post_hook(lambda _, found: keys.extend(map(list, found)))
    misshaped = []
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # torch tells shapes here and nowhere else
        misshaped = [
            f'{name} ({_by(there)} in the file, {_by(here)} in the model)'
            for name, there, here in _SHAPES.findall(str(error))
        ]
        if not misshaped:
            raise
    finally:
        hook.remove()
    missing, extra = keys
    return missing, extra, misshaped


def _by(shape: str) -> str:
    return shape.replace(', ', ' x ') or 'one number'


def _some(names: list[str]) -> str:
    """The first three, and how many there are."""
    return ', '.join(names[:3]) + (f' ... ({len(names)} in all)' if len(names) > 3 else '')


def _cause(problems: Iterable[list[str]]) -> str:
    if all(name.startswith('head.') for names in problems for name in names):
        return 'it was trained with another number of classes or another head'
    return 'it is of another arch or number of classes'
