"""Times of several pieces of code that take turns, so that what else the machine does meets all of them."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import torch

Key = TypeVar('Key', bound=Hashable)
Time = TypeVar('Time')


def clock(device: str | torch.device = 'cpu') -> float:
    """Now, in seconds, with nothing under way on the device."""
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(piece: Callable[[], object], device: str | torch.device = 'cpu') -> float:
    """Duration of one call."""
    start = clock(device)
    piece()
    return clock(device) - start


def take_turns(
    pieces: Mapping[Key, Callable[[], Time]], repeats: int, warm_up: int = 0
) -> dict[Key, list[Time]]:
    """What each piece returns, its time, in ``repeats`` rounds that follow ``warm_up`` rounds which do not count."""
    times = {key: [] for key in pieces}
    for number in range(warm_up + repeats):
        for key, piece in pieces.items():
            taken = piece()
            if number >= warm_up:
                times[key].append(taken)
    return times
