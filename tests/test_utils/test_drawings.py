"""Names of drawings."""

import re

import pytest

from mmlattn.utils.drawings import check_drawings, drawing_names, free_file
from mmlattn.utils.errors import UserError


@pytest.mark.parametrize(
    ('pictures', 'names'),
    [
        (['x/a.jpg', 'x/b.JPG'], ['a.png', 'b.png']),
        (['a/0.jpg', 'b/0.jpg'], ['a/0.png', 'b/0.png']),
        (['d/x.jpg', 'd/x.png', 'd/y.png'], ['x.jpg.png', 'x.png.png', 'y.png']),
        (['d/x.1.png', 'd/x.2.png'], ['x.1.png', 'x.2.png']),
        (['d/x.png', 'd/X.png', 'd/x.png'], ['x.png.png', 'X.png_2.png', 'x.png_3.png']),
        (['d/../../../up.jpg', '/etc/abs.jpg'], None),
        ([0, 'x/0.jpg', 2], ['0.png', '0.jpg.png', '2.png']),
        (['https://host/../a/0.jpg?size=1', 'https://host/b/%2e%2e/0.jpg'], None),
        (['s3://bucket/a/0.jpg', 's3://bucket/b/0.jpg'], ['a/0.png', 'b/0.png']),
        (['/data/a/0.jpg', '/data/a/b/0.jpg'], ['0.png', 'b/0.png']),
        (['x' * 255], None),
        (['d/caf\udce9.png'], ['caf\\udce9.png']),  # a name in latin-1
        ([], []),
    ],
)
def test_each_picture_has_a_name_of_its_own_inside_the_folder(pictures, names, tmp_path):
    found = drawing_names(pictures)
    assert names is None or [str(name) for name in found] == names
    assert len({str(name).lower() for name in found}) == len(pictures)
    for file in check_drawings(found, tmp_path):
        assert file.resolve().is_relative_to(tmp_path.resolve()) and '..' not in file.parts
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_what_is_there_stays(tmp_path):
    (tmp_path / 'a.png').touch()
    names = drawing_names(['a.jpg', 'b.jpg'])
    with pytest.raises(
        UserError, match=re.escape(f'{tmp_path}/a.png exists already; choose another --out-dir')
    ):
        check_drawings(names, tmp_path)
    (tmp_path / 'c.png').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(UserError, match=r'c\.png exists already'):
        check_drawings(drawing_names(['c.jpg']), tmp_path)
    (tmp_path / 'f').touch()
    for folder in (tmp_path / 'f', tmp_path / 'f' / 'g'):
        with pytest.raises(UserError, match='f is a file'):
            check_drawings(names, folder)
    with pytest.raises(UserError, match='f is a file'):
        check_drawings(drawing_names(['f/a.jpg', 'g/a.jpg']), tmp_path)
    with pytest.raises(UserError, match='must be the path of a folder'):
        check_drawings(names, '')
    assert free_file(tmp_path / 'a.png').name == 'a_2.png' and free_file(tmp_path / 'z.png').name == 'z.png'
