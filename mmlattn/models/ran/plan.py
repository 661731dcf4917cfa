"""The numbers of a residual attention network: preset, what a config changes, and whether they go together."""

from collections.abc import Mapping

from mmlattn.utils.arguments import check_choice, whole_numbers
from mmlattn.utils.errors import UserError

__all__ = ['make_plan']

_LEAST = dict(stem_channels=1, channels=1, strides=1, modules=0, units=0, mask_depths=0)


def make_plan(arch: str | Mapping, presets: Mapping[str, Mapping], defaults: Mapping, **changes) -> dict:
    """All numbers of a network.

    Args:
        arch (str | Mapping): Key of ``presets``, or some of the numbers themselves.
        presets (Mapping[str, Mapping]): What differs from the defaults, by name.
        defaults (Mapping): ``stem_channels`` (int); for each stage ``channels``, ``strides``, ``modules``, ``units``,
            ``mask_depths``; and ``ptr``.
        **changes: Numbers that replace those of ``arch``; None leaves them.

    Returns:
        dict: With the keys of ``defaults``; for each stage a tuple as long as ``channels``. ``modules``, ``units``
        and ``mask_depths`` may be given for the first stages alone and are filled up with 0.

    Raises:
        UserError: For an unknown arch or key, no whole numbers, or lengths that do not agree.
    """
    if isinstance(arch, Mapping):
        if unknown := arch.keys() - defaults.keys():
            raise UserError(f'unknown keys in arch: {sorted(unknown)}, it takes {sorted(defaults)}')
        chosen = arch
    else:
        check_choice('arch', str(arch), presets)
        chosen = presets[str(arch)]
    changes = {key: value for key, value in changes.items() if value is not None}
    plan = {**defaults, **chosen, **changes}
    for key, least in _LEAST.items():
        plan[key] = whole_numbers(key, plan[key], least)
    (plan['stem_channels'],) = plan['stem_channels']
    stages = len(plan['channels'])
    for key in ('modules', 'units', 'mask_depths'):
        plan[key] += (0,) * (stages - len(plan[key]))
    for key in ('strides', 'modules', 'units', 'mask_depths'):
        if len(plan[key]) != stages:
            given = '' if key in {**chosen, **changes} else f', which are the default: give {key} as well'
            raise UserError(
                f'{key} has {len(plan[key])} entries for the {stages} stages of channels={plan["channels"]}: '
                f'{plan[key]}{given}'
            )
    plan['ptr'] = ptr = whole_numbers('ptr', plan['ptr'], 0)
    if len(ptr) != 3 or min(ptr[1:]) < 1:
        raise UserError(f'ptr must be three numbers with p >= 0, t >= 1 and r >= 1, got {ptr}')
    return plan
