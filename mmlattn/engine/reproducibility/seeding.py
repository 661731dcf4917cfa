"""Random numbers as a function of (seed, key), where the key says where training is."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# The first number of a key: what the others count. Two purposes never share a stream of random numbers.
ITEM, POSITION, STEP = range(3)


def seed_process(seed: int, *key: int) -> None:
    """Seed ``random``, ``numpy.random`` and torch on every device.

    Different keys give independent streams. Seed and key are whole numbers of 0 or more.
    """
    torch.manual_seed(_seed_host(seed, key))


@contextmanager
def seeded(seed: int, *key: int) -> Iterator[None]:
    """As :func:`seed_process`, for torch on the CPU only, and put all states back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(_seed_host(seed, key))
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])


def _seed_host(seed: int, key: tuple[int, ...]) -> int:
    """Seed ``random`` and ``numpy.random``; return the 64-bit seed for torch."""
    # 128 bits that depend on every bit of seed and key.
    entropy = np.random.SeedSequence(seed, spawn_key=key).generate_state(4)
    random.seed(entropy.tobytes())
    np.random.seed(entropy)
    return int.from_bytes(entropy[:2].tobytes(), 'little')
