"""Settings that shapes do not show travel with the weights whose meaning they change."""

import json

import torch
from torch import Tensor, nn

from .errors import UserError

BUFFER = 'stored_settings'


def encode_settings(**settings) -> Tensor:
    """Settings as json in bytes, shape (n,) uint8: no conversion to half precision touches it."""
    text = json.dumps(settings, allow_nan=False)
    # On the CPU even under torch.device('meta'), where the bytes would be lost.
    return torch.tensor(list(text.encode()), dtype=torch.uint8, device='cpu')


def decode_settings(code: Tensor) -> dict:
    """The inverse of :func:`encode_settings`; tuples come back as lists.

    Raises:
        UserError: If the bytes are no settings.
    """
    try:
        settings = json.loads(bytes(code.flatten().tolist()))
    except (TypeError, ValueError) as error:
        raise UserError(f'the stored settings of these weights are damaged: {error}') from error
    if not isinstance(settings, dict):
        raise UserError(f'the stored settings of these weights are damaged: {settings!r} is no dict')
    return settings


class StoredSettings(nn.Module):
    """A module that stores its settings in a buffer and refuses weights that were trained with others.

    A buffer, because mmengine's checkpoints hold parameters and buffers and nothing else, and because its check also
    runs when weights are loaded loosely. A state dict without the buffer is taken to agree.
    """

    #: False where the plain state dict is another library's too: what is loaded is checked all the same.
    settings_travel = True

    def store_settings(self, **settings) -> None:
        """Store all settings, anything that json can hold; call again when one changes."""
        code = encode_settings(**settings)
        self._settings = decode_settings(code)
        if hasattr(self, BUFFER):
            code = code.to(getattr(self, BUFFER).device)
        self.register_buffer(BUFFER, code, persistent=self.settings_travel)

    def init_weights(self) -> None:
        """Write the settings anew: a network that was built on the meta device has lost them."""
        super().init_weights()
        self.store_settings(**self._settings)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        key = prefix + BUFFER
        if key in state_dict and not state_dict[key].is_meta:
            # EMA's copy of a network has another 'module.' in front than the file.
            self._check_settings(decode_settings(state_dict[key]), key.removeprefix('module.'))
        if self.settings_travel:
            state_dict[key] = getattr(self, BUFFER)
        else:
            state_dict.pop(key, None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _check_settings(self, stored: dict, key: str) -> None:
        for name, value in stored.items():
            if name not in self._settings:
                here = 'which this network does not have: a newer mmlattn may'
            elif (ours := self._settings[name]) != value:
                here = f'this network has {name}={ours!r}. Set {name} in its config to the stored value'
            else:
                continue
            raise UserError(
                f'these weights were trained with {name}={value!r}, {here}, or delete "{key}" from the state dict to '
                'use the weights otherwise'
            )
