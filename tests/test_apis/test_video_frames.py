"""Frames of videos that the test writes: which ones, when, and what is said of damaged files."""

import cv2
import numpy as np
import pytest

from mmlattn.apis.video_frames import Unreadable, expected_frames, read_frames
from mmlattn.utils.errors import UserError


def write_video(path, frames=50, rate=25, size=(64, 48)):
    """Frame n is as bright as 4 n."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), rate, size)
    for number in range(frames):
        writer.write(np.full((*size[::-1], 3), 4 * number, np.uint8))
    writer.release()
    return str(path)


@pytest.mark.parametrize(
    ('fps', 'numbers'),
    [
        (1, [0, 25]),
        (2, [0, 12, 25, 37]),
        (5, range(0, 50, 5)),
        (25, range(50)),
        (1000, range(50)),
        (0.1, [0]),
    ],
)
def test_frames_at_their_times(tmp_path, fps, numbers):
    video = write_video(tmp_path / 'a.avi')
    frames = list(read_frames(video, fps))
    found = [round(frame.image.mean() / 4) for frame in frames]
    assert found == list(numbers)
    np.testing.assert_allclose([frame.time for frame in frames], np.array(numbers) / 25, atol=1e-3)
    assert {frame.path for frame in frames} == {video}
    assert abs(expected_frames(video, fps) - len(frames)) <= 1


def test_damaged_videos_say_so_in_their_place(tmp_path):
    write_video(tmp_path / 'a.avi')
    content = (tmp_path / 'a.avi').read_bytes()
    for share in (0, 0.02, 0.5):
        (tmp_path / 'b.avi').write_bytes(content[: int(len(content) * share)])
        *frames, last = read_frames(str(tmp_path / 'b.avi'), 5)
        assert isinstance(last, Unreadable) and len(frames) < 8
        assert ('ends after' if frames else 'no video') in last.reason and 'cut off' in last.reason
    assert expected_frames(str(tmp_path / 'none.avi')) == 1


@pytest.mark.parametrize('fps', [0, -1, float('nan'), 'fast'])
def test_a_rate_is_above_0(fps):
    with pytest.raises(UserError, match='fps must be a finite number'):
        next(read_frames('a.avi', fps))
