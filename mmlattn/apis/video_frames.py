"""Frames of video files, so many a second, one after the other."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mmlattn.utils.arguments import check_number

VIDEO_EXTENSIONS = ('.avi', '.flv', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.ogv', '.webm', '.wmv')
#: A file with fewer frames than this share of what its header says has been cut off.
_ENOUGH = 0.9


class Frame(NamedTuple):
    """One picture of a video."""

    path: str
    """Of the video."""
    time: float
    """In seconds, by the clock of the video."""
    image: np.ndarray
    """(H, W, 3), uint8, BGR."""


class Unreadable(NamedTuple):
    """What could not be had of a file."""

    path: str
    reason: str


def is_video(path: str | Path) -> bool:
    """Whether a path has the ending of a video file."""
    return Path(path).suffix.lower() in VIDEO_EXTENSIONS


def read_frames(path: str, fps: float = 1.0) -> Iterator[Frame | Unreadable]:
    """The frames shown at 0, 1 / fps, 2 / fps ... seconds after the first; all of them if the video has fewer.

    A video that cannot be opened, or ends long before what its header says, gives an :class:`Unreadable` at that
    place.

    Args:
        path (str): Of the file.
        fps (float): Frames for each second of the video, above 0.
    """
    check_number('fps', fps, least=1e-6)
    video = cv2.VideoCapture(path)
    try:
        said, rate = (video.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
        rate = rate if rate > 0 else 25.0
        first, last, read, given = 0.0, 0.0, 0, 0
        while video.grab():
            time = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # Some files have no clock; then the frames are evenly spread.
            time = time if time > last or read == 0 else last + 1 / rate
            first, last, read = (time if read == 0 else first), time, read + 1
            # Half a frame: 1 / fps is rarely a whole number of frames.
            if time - first + 0.5 / rate < given / fps:
                continue
            there, image = video.retrieve()
            if there:
                yield Frame(path, round(time, 3), image)
            given = int((time - first + 0.5 / rate) * fps) + 1
    finally:
        video.release()
    if read < max(_ENOUGH * said - 1, 1):
        reason = (
            f'the video ends after {read} of {said:.0f} frames' if read else 'no video that is decoded here'
        )
        yield Unreadable(path, f'{reason}: it is damaged or cut off: copy or download it again')


def expected_frames(path: str, fps: float = 1.0) -> int:
    """About how many frames :func:`read_frames` gives, by the header of the file; 1 where that says nothing."""
    video = cv2.VideoCapture(path)
    said, rate = (video.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
    video.release()
    return max(int(said / rate * min(fps, rate)), 1) if said > 0 and rate > 0 else 1
