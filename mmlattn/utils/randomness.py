"""Random numbers as a pure function of (seed, where we are)."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ['ITEM', 'POSITION', 'STEP', 'seed_process', 'seeded']

# What a key counts. Two purposes never share a stream, even where their numbers coincide.
ITEM, POSITION, STEP = range(3)


def _entropy(seed: int, key: tuple[int, ...]) -> np.ndarray:
    """128 bits that depend on every bit of ``seed`` and ``key``; shape (4,) uint32."""
    return np.random.SeedSequence(seed, spawn_key=key).generate_state(4)


def _seed_host(entropy: np.ndarray) -> int:
    """Seed ``random`` and ``numpy.random``; return the 64-bit seed meant for torch."""
    random.seed(entropy.tobytes())
    np.random.seed(entropy)
    return int.from_bytes(entropy[:2].tobytes(), 'little')


def seed_process(seed: int, *key: int) -> None:
    """Seed ``random``, ``numpy.random`` and torch on every device.

    Args:
        seed (int): The seed of the run, >= 0.
        *key (int): Where we are, all >= 0; different keys give independent streams.
    """
    torch.manual_seed(_seed_host(_entropy(seed, key)))


@contextmanager
def seeded(seed: int, *key: int) -> Iterator[None]:
    """Seed ``random``, ``numpy.random`` and torch's CPU generator inside, and put their states back after.

    Args:
        seed (int): The seed of the run, >= 0.
        *key (int): Where we are, all >= 0; different keys give independent streams.
    """
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(_seed_host(_entropy(seed, key)))
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])
