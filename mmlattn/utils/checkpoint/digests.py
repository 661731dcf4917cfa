"""Whether the weights in a checkpoint are those that were saved.

The checksums in a file (:mod:`.archives`) are those of its bytes. They cannot tell what was changed before these were
written: a file that was opened, changed and saved again, a bit that flipped in memory, a weight that was left out.
For that our checkpoints hold digests of their larger parts.
"""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from ..weights import averaged_weights

#: Where a checkpoint keeps its digests; mmengine and mmpretrain pass by what they do not know.
DIGESTS = 'digests'
_PARTS = ('state_dict', 'ema_state_dict', 'optimizer')


def add_digests(checkpoint: dict) -> None:
    """Note down what the weights, their averages and the optimizer are, before the checkpoint is written."""
    checkpoint[DIGESTS] = {
        part: digest(checkpoint[part]) for part in _PARTS if isinstance(checkpoint.get(part), Mapping)
    }


def changed_part(checkpoint: Any) -> str | None:
    """The first part that is not what its digest says; parts that were taken out are passed over.

    mmpretrain's ``publish_model.py --no-ema`` puts the plain weights, which EMA keeps with the averages, in the place
    of the averaged ones.
    """
    digests = checkpoint.get(DIGESTS) if isinstance(checkpoint, Mapping) else None
    if not isinstance(digests, Mapping):
        return None
    for part in _PARTS:
        names = (part, 'ema_state_dict') if part == 'state_dict' else (part,)
        told = [digests[name] for name in names if digests.get(name) is not None]
        if told and isinstance(checkpoint.get(part), Mapping) and digest(checkpoint[part]) not in told:
            return part
    return None


def digest(part: Mapping) -> str:
    """A checksum over names, shapes, types and content.

    Tensors go in by their CRC-32, which is as fast as reading them and finds every flipped bit; SHA-256 takes as long
    as the whole writing. Where weights are averaged, names begin with ``module.`` and ``steps`` counts.
    """
    averaged = 'steps' in part and all(str(name).startswith('module.') for name in part if name != 'steps')
    if averaged:
        part = averaged_weights(part)
    lines = sorted(f'{name} {_fingerprint(value)}' for name, value in _leaves(part))
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def _leaves(value: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    if isinstance(value, (Mapping, list, tuple)):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _leaves(item, f'{name}/{key}')
    else:
        yield name, value


def _fingerprint(value: Any) -> str:
    if type(value) not in (Tensor, Parameter) or value.layout is not torch.strided:
        # Of other objects, as tensors in shards, the text can differ from run to run.
        return repr(value) if isinstance(value, (bool, int, float, str, type(None))) else type(value).__name__
    content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f'{value.dtype} {tuple(value.shape)} {zlib.crc32(content)}'
