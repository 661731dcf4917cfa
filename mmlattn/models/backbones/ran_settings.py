"""Settings of residual attention that shapes don't show, kept with the weights whose meaning they change."""

import torch
from torch import Tensor, nn

from mmlattn.utils.errors import UserError

__all__ = ['SETTINGS', 'SETTINGS_KEY', 'StoresSettings', 'decode_settings', 'encode_settings']

SETTINGS = dict(
    learning=('arl', 'nal'),
    attention=('mixed', 'channel', 'spatial'),
    mask_skip=('official', 'port'),
    pool_style=('torch', 'caffe'),
    align_corners=(True, False),
)
"""Choices of each, in the order of their codes; new ones go to the end, the first is what is meant by none."""

SETTINGS_KEY = 'ran_settings'


def encode_settings(**settings) -> Tensor:
    """One code for each of :data:`SETTINGS`, shape (5,), uint8; those not given get the first choice."""
    codes = [known.index(settings.get(name, known[0])) for name, known in SETTINGS.items()]
    return torch.tensor(codes, dtype=torch.uint8, device='cpu')  # on the meta device they would be lost


def decode_settings(codes: Tensor) -> dict:
    """The inverse of :func:`encode_settings`; codes of an older version, which had fewer, mean the first choices.

    Raises:
        UserError: For codes that are not known here.
    """
    numbers = codes.flatten().tolist()
    known = list(SETTINGS.values())
    if len(numbers) > len(known) or any(n >= len(names) for n, names in zip(numbers, known, strict=False)):
        raise UserError(
            f'{SETTINGS_KEY}={numbers} of these weights is not known here: they were written by a newer version of '
            'mmlattn, which can read them'
        )
    numbers += [0] * (len(known) - len(numbers))
    return {name: names[int(n)] for (name, names), n in zip(SETTINGS.items(), numbers, strict=True)}


class StoresSettings(nn.Module):
    """A network that keeps its settings in a buffer and refuses weights that were trained with others.

    A buffer, because mmengine's checkpoints hold parameters and buffers and nothing else, and because a check of a
    buffer holds for loose loading too. A state dict without it is taken to agree.
    """

    def store_settings(self, **settings) -> None:
        """Call once, with those of :data:`SETTINGS` that the network has."""
        codes = encode_settings(**settings)
        self.register_buffer(SETTINGS_KEY, codes)
        self._settings = decode_settings(codes)

    def init_weights(self) -> None:
        """Write the settings anew: a network that was built on the meta device has lost them."""
        super().init_weights()
        getattr(self, SETTINGS_KEY).copy_(encode_settings(**self._settings))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        key = prefix + SETTINGS_KEY
        stored = self._settings
        if key in state_dict and not state_dict[key].is_meta:
            stored = decode_settings(state_dict[key])
        for name, value in self._settings.items():
            if stored[name] != value:
                raise UserError(
                    f'these weights were trained with {name}={stored[name]!r}, this network has {name}={value!r}. '
                    f'Set {name} in its config to the stored value, or delete "{key}" from the state dict to use '
                    'the weights otherwise'
                )
        state_dict[key] = encode_settings(**self._settings)
        super()._load_from_state_dict(state_dict, prefix, *args)
