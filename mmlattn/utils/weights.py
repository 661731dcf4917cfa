"""The model inside of wrappers; weights that go into it whole, or the user learns in one line why not."""

import re
from collections.abc import Iterable, Mapping, Sequence

from mmengine.model import BaseTTAModel, PretrainedInit, is_model_wrapper
from torch import Tensor, nn

from .errors import UserError

# What losses count, which nothing but training asks for: another loss may take their place.
OF_LOSSES = '.class_counts.counts'
_SHAPES = re.compile(r'size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\).*?torch\.Size\(\[(.*?)\]\)')


def without_wrapper(model: nn.Module) -> nn.Module:
    """The model that is wrapped for several processes, or the model itself."""
    return model.module if is_model_wrapper(model) else model


def network(model: nn.Module) -> nn.Module:
    """The model inside of every wrapper, for several processes or for test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def averaged_weights(averages: Mapping) -> dict:
    """What mmengine's EMA keeps under ``module.`` and beside a counter, by the names of the model."""
    return {name.removeprefix('module.'): value for name, value in averages.items() if name != 'steps'}


def loads_weights(init_cfg: Mapping | Sequence[Mapping] | None) -> bool:
    """Whether weights of others are among mmengine's initialisers, named by string or by class."""
    initialisers = [init_cfg] if isinstance(init_cfg, Mapping) else init_cfg or []
    return any(initialiser.get('type') in ('Pretrained', PretrainedInit) for initialiser in initialisers)


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
        UserError: If weights are missing, have another shape or kind of numbers, or belong to no layer of the model.
    """
    missing, extra, misfits = _load(model, checkpoint, source)
    children = {name for name, _ in network(model).named_children()}
    problems = {
        'missing are': missing,
        'of another shape or type are': misfits,
        'without a place are': [
            name for name in extra if name.partition('.')[0] in children and not name.endswith(OF_LOSSES)
        ],
    }
    if any(problems.values()):
        found = '; '.join(f'{what} {some_names(names)}' for what, names in problems.items() if names)
        cause = 'it is of another arch or number of classes'
        if all(name.startswith('head.') for names in problems.values() for name in names):
            cause = 'it was trained with another number of classes or another head'
        raise UserError(
            f'{source} holds the weights of another model than the config: {found}. Likely {cause}'
        )


def load_some_weights(model: nn.Module, checkpoint: Mapping, source: str) -> None:
    """As :func:`load_all_weights`, but to start a training from: what is missing or of another shape stays as it is.

    Raises:
        UserError: If not one parameter of the model is in the checkpoint.
    """
    missing, extra, misfits = _load(model, checkpoint, source)
    names = {name for name, _ in network(model).named_parameters()}
    if names and names <= {*missing, *(misfit.partition(' ')[0] for misfit in misfits)}:
        raise UserError(
            f'{source} has no weights for this model: it has {some_names(extra) or some_names(misfits)}, the model '
            f'{some_names(names)}. The weights of a backbone alone go into model.backbone.init_cfg=dict('
            "type='Pretrained', checkpoint=...)"
        )


def _load(model: nn.Module, checkpoint: Mapping, source: str) -> tuple[list[str], list[str], list[str]]:
    """Load what fits; the names of weights that are missing, that are too many, and what does not fit."""
    model = network(model)
    state = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping):
        raise UserError(f'{source} holds no state dict but {type(checkpoint).__name__}')
    keys: list[list[str]] = []
    hook = model.register_load_state_dict_post_hook(lambda _, found: keys.extend(map(list, found)))
    misfits = []
    own = model.state_dict()
    try:
        model.load_state_dict({name.removeprefix('module.'): v for name, v in state.items()}, strict=False)
    except RuntimeError as error:  # torch tells shapes here and nowhere else
        misfits = [
            f'{name} ({_by(there)} in the file, {_by(here)} in the model)'
            for name, there, here in _SHAPES.findall(str(error))
        ]
        if not misfits:
            raise
    finally:
        hook.remove()
    # torch would cut off decimals without a word.
    misfits += [
        f'{name} ({value.dtype} in the file, {own[name].dtype} in the model)'
        for name, value in state.items()
        if name in own
        and isinstance(value, Tensor)
        and value.is_floating_point()
        and not own[name].is_floating_point()
        and (value % 1).any()
    ]
    return *keys, misfits


def some_names(names: Iterable[str]) -> str:
    """The first three, and how many there are."""
    names = list(names)
    return ', '.join(names[:3]) + (f' ... ({len(names)} in all)' if len(names) > 3 else '')


def _by(shape: str) -> str:
    return shape.replace(', ', ' x ') or 'one number'
