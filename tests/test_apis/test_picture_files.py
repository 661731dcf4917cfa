"""Which files inputs stand for, in which order, and what they are called."""

import os

import pytest

from mmlattn.apis.picture_files import find_sources, name_of, natural_key, place_of
from mmlattn.apis.video_frames import Frame
from mmlattn.utils.errors import UserError


def tree(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b'')


def test_numbers_in_names_count():
    names = ['b', 'a10', 'a2', 'a2b', 'a', 'a002', 'b/10/x', 'b/9/x', 'B', '1000', '9']
    assert sorted(names, key=natural_key) == [
        '9', '1000', 'B', 'a', 'a002', 'a2', 'a2b', 'a10', 'b', 'b/9/x', 'b/10/x',
    ]  # fmt: skip


def test_folders_are_read_to_their_ends(tmp_path, monkeypatch):
    """Hidden files, other kinds and circles of links left out; a linked folder is read."""
    tree(
        tmp_path,
        'in/10.jpg',
        'in/9.JPG',
        'in/9/1.png',
        'in/clip.mp4',
        'in/.x.jpg',
        'in/.git/a.jpg',
        'in/n.json',
    )
    tree(tmp_path, 'other/z.webp', 'other/deep/er/a.bmp')
    os.symlink(tmp_path / 'other', tmp_path / 'in' / 'linked')
    os.symlink(tmp_path / 'in', tmp_path / 'in' / '9' / 'circle')
    monkeypatch.chdir(tmp_path)
    assert find_sources(['in']) == [
        'in/9/1.png', 'in/9.JPG', 'in/10.jpg', 'in/clip.mp4', 'in/linked/deep/er/a.bmp', 'in/linked/z.webp',
    ]  # fmt: skip


def test_patterns_lists_and_repetitions(tmp_path, monkeypatch):
    tree(tmp_path, 'in/10.jpg', 'in/9.jpg', 'in/a/b/3.png', 'in/notes.json', 'lists/here.jpg')
    lines = [
        'in/10.jpg',
        '',
        '  here.jpg ',
        'missing.jpg',
        'https://a.b/c.jpg',
        'in/**/*.png',
        '../in/a',
        'nothing*.jpg',
    ]
    (tmp_path / 'lists' / 'some.txt').write_text('\n'.join(lines), encoding='utf-8-sig')
    monkeypatch.chdir(tmp_path)
    assert find_sources(['in/[0-9]*']) == ['in/9.jpg', 'in/10.jpg']
    assert find_sources(['in/9.jpg', 'in/**/*.*', 'in']) == ['in/9.jpg', 'in/10.jpg', 'in/a/b/3.png']
    assert find_sources(['./in/9.jpg', os.path.abspath('in/9.jpg'), 'in/10.jpg', 'in']) == [
        './in/9.jpg',
        'in/10.jpg',
        'in/a/b/3.png',
    ]
    assert find_sources(['lists/some.txt']) == [
        'in/10.jpg', 'lists/here.jpg', 'missing.jpg', 'https://a.b/c.jpg', 'in/a/b/3.png', 'lists/../in/a/b/3.png',
        'nothing*.jpg',
    ]  # fmt: skip


def test_what_is_typed_must_be_there(tmp_path):
    tree(tmp_path, 'empty/notes.json', 'none.txt')
    for name, words in {
        'no.jpg': 'no.jpg is not there: give pictures, videos',
        'empty': 'empty has no pictures or videos, at any depth; looked for .jpg',
        'x*.jpg': r'no picture or video fits the pattern .*x\*.jpg',
        'none.txt': 'none.txt is empty',
    }.items():
        with pytest.raises(UserError, match=words):
            find_sources([tmp_path / name])


def test_names():
    assert (name_of('a/b.jpg'), place_of('a/b.jpg')) == ('b.jpg', 'a/b.jpg')
    assert name_of('https://x.y/c/d.png') == 'd.png'
    frame = Frame('a/clip.mp4', 1.5, None)
    assert (name_of(frame), place_of(frame)) == ('clip.mp4#t=1.500', 'a/clip.mp4#t=1.500')
    assert name_of(None) is place_of(None) is None
