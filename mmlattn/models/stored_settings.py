"""Settings that shapes don't show, kept with the weights whose meaning they change."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from mmlattn.utils.errors import UserError

__all__ = ['SettingsCode', 'StoresNumbers', 'StoresSettings']


class SettingsCode:
    """A code for the choices of several settings, one number for each.

    Args:
        key (str): Name of the buffer that keeps the code.
        choices (dict[str, Sequence]): Of each setting, in the order of their numbers; new ones go to the end, of the
            settings as of their choices, and the first choice is what is meant by none.
    """

    def __init__(self, key: str, **choices: Sequence) -> None:
        self.key = key
        self.choices = choices

    def encode(self, **settings) -> Tensor:
        """One number for each setting, uint8; those not given get the first choice."""
        codes = [known.index(settings.get(name, known[0])) for name, known in self.choices.items()]
        return torch.tensor(codes, dtype=torch.uint8, device='cpu')  # on the meta device they would be lost

    def decode(self, codes: Tensor) -> dict:
        """The inverse of ``encode``; codes of an older version, which had fewer, mean the first choices.

        Raises:
            UserError: For codes that are not known here.
        """
        numbers = codes.flatten().tolist()
        known = list(self.choices.values())
        if len(numbers) > len(known) or any(
            n >= len(names) for n, names in zip(numbers, known, strict=False)
        ):
            raise UserError(
                f'{self.key}={numbers} of these weights is not known here: they were written by a newer version of '
                'mmlattn, which can read them'
            )
        numbers += [0] * (len(known) - len(numbers))
        return {name: names[int(n)] for (name, names), n in zip(self.choices.items(), numbers, strict=True)}


class StoresSettings(nn.Module):
    """A network that keeps its settings in a buffer and refuses weights that were trained with others.

    A buffer, because mmengine's checkpoints hold parameters and buffers and nothing else, and because a check of a
    buffer holds for loose loading too. A state dict without it is taken to agree. Subclasses name ``settings_code``.
    """

    settings_code: ClassVar[SettingsCode]

    def store_settings(self, **settings) -> None:
        """Call once, with those settings of the code that the network has."""
        codes = self.settings_code.encode(**settings)
        self.register_buffer(self.settings_code.key, codes)
        self._settings = self.settings_code.decode(codes)

    def init_weights(self) -> None:
        """Write the settings anew: a network that was built on the meta device has lost them."""
        super().init_weights()
        getattr(self, self.settings_code.key).copy_(self.settings_code.encode(**self._settings))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        key = prefix + self.settings_code.key
        name_in_file = key.removeprefix('module.')  # which EMA's copy of the network has in front
        stored = self._settings
        if key in state_dict and not state_dict[key].is_meta:
            stored = self.settings_code.decode(state_dict[key])
        for name, value in self._settings.items():
            if stored[name] != value:
                raise UserError(
                    f'these weights were trained with {name}={stored[name]!r}, this network has {name}={value!r}. '
                    f'Set {name} in its config to the stored value, or delete "{name_in_file}" from the state dict '
                    'to use the weights otherwise'
                )
        state_dict[key] = self.settings_code.encode(**self._settings)
        super()._load_from_state_dict(state_dict, prefix, *args)


class StoresNumbers(nn.Module):
    """As :class:`StoresSettings` for settings that are numbers, in the buffer ``stored_numbers``."""

    def store_numbers(self, **numbers: float) -> None:
        """Call once; the order of the names must stay."""
        self._numbers = numbers
        self.register_buffer('stored_numbers', self._encode())

    def init_weights(self) -> None:
        """Write the numbers anew: a network that was built on the meta device has lost them."""
        super().init_weights()
        self.stored_numbers.copy_(self._encode())

    def _encode(self) -> Tensor:
        return torch.tensor(list(self._numbers.values()), dtype=torch.float32, device='cpu')

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        key = prefix + 'stored_numbers'
        if key in state_dict and not state_dict[key].is_meta:
            tolerance = max(
                2 * torch.finfo(state_dict[key].dtype).eps, 1e-6
            )  # of half precision, if so stored
            for (name, own), stored in zip(self._numbers.items(), state_dict[key].tolist(), strict=True):
                if not math.isclose(own, stored, rel_tol=tolerance):
                    raise UserError(
                        f'these weights were trained with {name}={stored:g}, this network has {name}={own:g}. Set '
                        f'{name} in its config to the stored value, or delete "{key.removeprefix("module.")}" from '
                        'the state dict to use the weights otherwise'
                    )
        state_dict[key] = self._encode()
        super()._load_from_state_dict(state_dict, prefix, *args)
