"""check_dataset.py on data with planted faults: each is found, by its code, and what is sound is not."""

import importlib
import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from tiny_run import run_tool

from mmlattn.datasets.checks.findings import SCHEMA

CLASSES = ('cat', 'dog', 'bird')
SPLIT = """
{name}_dataloader = dict(dataset=dict(
    type='MultiLabelDataset', data_root={root!r}, ann_file='{name}.json', data_prefix='', test_mode={test},
    pipeline=[dict(type='LoadImageFromFile', **{loader!r})]))
"""


class Data:
    """Three splits of pictures in a folder, sound until something is planted."""

    def __init__(self, folder, pictures, train=12, val=6):
        self.folder, self.loader, self.classes = folder, {}, {}
        self.splits = {'train': [], 'val': [], 'test': []}
        for number, path in enumerate(pictures):
            name = f'{number}.png'
            shutil.copy(path, folder / name)
            split = 'train' if number < train else 'val' if number < train + val else 'test'
            labels = [number % 3] if number % 4 else sorted({number % 3, (number + 1) % 3})
            self.splits[split].append(dict(img_path=name, gt_label=labels))

    def item(self, split, row):
        return self.splits[split][row]

    def path(self, split, row):
        return self.folder / self.item(split, row)['img_path']

    def picture(self, split, row):
        return Image.open(self.path(split, row)).convert('RGB')

    def add(self, split, name, labels):
        self.splits[split].append(dict(img_path=name, gt_label=labels))
        return self.folder / name

    def check(self, *flags):
        """Run the tool; returns what it ended with, and the json."""
        text = ''
        for name, items in self.splits.items():
            content = dict(metainfo=dict(classes=self.classes.get(name, CLASSES)), data_list=items)
            (self.folder / f'{name}.json').write_text(json.dumps(content))
            text += SPLIT.format(name=name, root=str(self.folder), test=name != 'train', loader=self.loader)
        config, out = self.folder / 'config.py', self.folder / 'out' / 'report.json'
        config.write_text(text)
        done = run_tool('analysis_tools/check_dataset.py', config, '--json', out, *flags, cwd=self.folder)
        assert 'Traceback' not in done.stderr, done.stderr
        return done, json.loads(out.read_text())


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """28 small photographs in colour, real ones where MMLATTN_COCO128 names them, else drawn ones."""
    # The tool is forked from this process, which saves it the imports.
    for name in (
        'mmpretrain.datasets',
        'rich.table',
        'scipy.sparse.csgraph',
        'mmlattn.datasets.checks.duplicates',
    ):
        importlib.import_module(name)
    folder, rng, files = tmp_path_factory.mktemp('photographs'), np.random.default_rng(0), []
    source = os.environ.get('MMLATTN_COCO128')
    found = sorted(Path(source, 'train2017').iterdir()) if source else [None] * 28
    for number, path in enumerate(found):
        if path is None:
            pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
            picture = Image.fromarray(cv2.resize(pixels, (160, 120), interpolation=cv2.INTER_CUBIC))
        else:
            picture = Image.open(path).convert('RGB').resize((160, 120))
        if np.ptp(np.asarray(picture).astype(int), axis=2).any() and len(files) < 28:
            files.append(folder / f'{number}.png')
            picture.save(files[-1])
    return files


@pytest.fixture
def data(pictures, tmp_path):
    """A sound data set."""
    return Data(tmp_path, pictures[:24])


def sound(data):
    pass


def same_file(data):
    shutil.copy(data.path('train', 0), data.folder / 'copy.png')
    data.add('val', 'copy.png', data.item('train', 0)['gt_label'])


def same_pixels(data):
    path = data.add('test', 'lossless.webp', data.item('train', 0)['gt_label'])
    data.picture('train', 0).save(path, lossless=True)


def near_duplicate(data):
    picture = ImageEnhance.Contrast(data.picture('train', 0)).enhance(1.05)
    picture = picture.resize((picture.width * 2 // 3, picture.height * 2 // 3))
    picture.save(data.add('val', 'anew.jpg', data.item('train', 0)['gt_label']), quality=40)


def contradiction(data):
    same_file(data)
    data.splits['val'][-1]['gt_label'] = [c for c in range(3) if c not in data.item('train', 0)['gt_label']]


def unknown_is_no_contradiction(data):
    same_file(data)
    present = data.item('train', 0)['gt_label']
    data.splits['val'][-1].update(gt_label=present[1:], gt_label_ignore=present[:1])


def shared_picture(data):
    data.splits['val'].append(dict(data.item('train', 0)))


def shared_by_link(data):
    (data.folder / 'link.png').symlink_to(data.path('train', 0))
    data.add('val', 'link.png', data.item('train', 0)['gt_label'])


def shared_group(data):
    for split, video in (('train', 'a'), ('val', 'a'), ('test', 'b')):
        data.item(split, 0)['group'] = video


def listed_twice(data):
    data.splits['train'].append(dict(data.item('train', 0)))


def without_example(data):
    for number, item in enumerate(data.splits['val']):
        item['gt_label'] = [number % 2]


def nearly_always(data):
    for item in data.splits['train']:
        item['gt_label'] = sorted({0, *item['gt_label']})


def rare(data):
    seen = 0
    for item in data.splits['train']:
        seen += 1 in item['gt_label']
        if 1 in item['gt_label'] and seen > 1:
            item['gt_label'] = [0]


def no_label(data):
    for item in data.splits['test']:
        item['gt_label'] = []


def out_of_range(data):
    data.item('train', 0)['gt_label'] = [3]


def other_order(data):
    data.classes['val'] = CLASSES[::-1]


def wrong_size(data):
    data.item('train', 0).update(width=7, height=7)


FAULTS = [
    # What is planted; the codes that must be found with their severity, and no others; words of a message.
    (sound, {}, ''),
    (same_file, {'same-file': 'warning'}, 'in train and .*copy.png in val are the same file: scores of val say noth'),
    (same_pixels, {'same-pixels': 'warning'}, 'in train and .*lossless.webp in test have the same pixels'),
    (near_duplicate, {'near-duplicate': 'warning'}, 'in train and .*anew.jpg in val are nearly the same picture'),
    (contradiction, {'same-file': 'warning', 'contradicting-labels': 'warning'}, 'one of the label sets is wrong'),
    (unknown_is_no_contradiction, {'same-file': 'warning'}, 'are the same file'),
    (shared_picture, {'shared-picture': 'warning'}, '1 pictures of train are in val too, first .*0.png: scores'),
    (shared_by_link, {'shared-picture': 'warning'}, '1 pictures of train are in val too'),
    (shared_group, {'shared-group': 'warning'}, '1 groups have pictures in train and in val, first a with .*0.png'),
    (listed_twice, {'picture-listed-twice': 'warning'}, '1 pictures are listed more than once, first .*0.png'),
    (without_example, {'class-without-example': 'warning'}, 'val: 1 of 3 classes have no positive: bird: their'),
    (nearly_always, {'class-nearly-always': 'warning'}, 'train: 1 of 3 classes are in more than 95% .*: cat: always'),
    (rare, {'class-rare': 'warning'}, r'train: \d of 3 classes have fewer than 5 positives: dog \(1\)'),
    (no_label, {'no-labels': 'error'}, 'test: no picture has a label'),
    (out_of_range, {'label-out-of-range': 'error'}, r'1 pictures have labels outside of 0 to 2, first .*: \[3\]'),
    (other_order, {'class-names': 'error'}, 'train and val differ: class 0 is cat in train and bird in val'),
    (wrong_size, {'wrong-size': 'error'}, r'0.png: is \d+ x \d+ .* but the annotation file says 7 x 7'),
]  # fmt: skip
# Of splits so small.
USUAL = {'class-rare'}
FROM_FILES = (
    sound,
    same_file,
    same_pixels,
    near_duplicate,
    contradiction,
    unknown_is_no_contradiction,
    wrong_size,
)
WITHOUT_FILES = {'class-without-example', 'class-nearly-always', 'class-rare', 'class-names', 'no-labels'}


@pytest.mark.parametrize(('plant', 'codes', 'words'), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_finds_what_is_planted(data, plant, codes, words):
    plant(data)
    done, report = data.check(*(['--images'] if plant in FROM_FILES else []))
    found = {finding['code']: finding['severity'] for finding in report['findings']}
    assert {code: found[code] for code in found.keys() - USUAL | codes.keys() & found.keys()} == codes, (
        done.stderr
    )
    assert re.search(words, done.stderr), done.stderr
    assert done.returncode == ('error' in codes.values())
    assert report['schema'] == SCHEMA
    for finding in report['findings']:
        assert finding.keys() == {'severity', 'code', 'split', 'message', 'files', 'classes'}
        assert all(Path(file).exists() for file in finding['files'])
        assert finding['files'] or finding['code'] in WITHOUT_FILES


# Each makes a file of a picture, with the ending given; what is found of it, and words of the message.
def deep(picture, path, factor=257, mode='RGB'):
    pixels = np.asarray(picture.convert(mode)).astype(np.uint16) * factor
    cv2.imwrite(str(path), pixels[..., ::-1].copy() if mode == 'RGB' else pixels)


def faded(picture):
    picture.putalpha(Image.linear_gradient('L').resize(picture.size))
    return picture


def turned(picture, path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)


def cut(picture, path):
    picture.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def palette(picture, path):
    picture = picture.quantize(16)
    picture.save(path, transparency=int(np.asarray(picture)[0, 0]))


KINDS = {
    'gray.jpg': (lambda p, f: p.convert('L').save(f), {'grayscale': 'note'}, '3 channels, the colours equal'),
    'gray_in_colour.png': (lambda p, f: p.convert('L').convert('RGB').save(f), {'grayscale': 'note'}, 'equal'),
    'cmyk.jpg': (lambda p, f: p.convert('CMYK').save(f), {'cmyk': 'note'}, 'for print: 1 of .* as they are shown'),
    'deep.png': (deep, {'16-bit': 'note'}, '16 bits a channel: .* loaded with 8 bits, the upper ones'),
    'deep.tif': (deep, {'16-bit': 'note'}, 'loaded with 8 bits, the upper ones'),
    'dark.png': (lambda p, f: deep(p, f, 4, 'L'), {'16-bit': 'warning', 'grayscale': 'note'}, 'nearly black: save'),
    'clear.png': (lambda p, f: faded(p).save(f), {'transparent': 'note'}, 'whatever colours the clear places hide'),
    'palette.png': (palette, {'transparent': 'note'}, 'transparent in places'),
    'opaque.png': (lambda p, f: p.convert('RGBA').save(f), {}, ''),
    'upright.jpg': (lambda p, f: turned(p, f, 1), {}, ''),
    **{
        f'exif{n}.jpg': (lambda p, f, n=n: turned(p, f, n), {'exif-rotated': 'note'}, 'in EXIF: .* loaded upright')
        for n in (2, 3, 5, 6, 7, 8)
    },
    'exif.png': (lambda p, f: turned(p, f, 6), {'exif-rotated': 'note'}, 'loaded upright'),
    'moves.gif': (
        lambda p, f: p.save(f, save_all=True, append_images=[p.rotate(90)]), {'several-frames': 'note'}, 'only the',
    ),
    'still.gif': (lambda p, f: p.save(f), {}, ''),
    'lossy.webp': (lambda p, f: p.save(f), {}, ''),
    'tiny.png': (lambda p, f: p.resize((40, 20)).save(f), {'tiny': 'note'}, 'a side below 32 pixels: 1 of'),
    'long.png': (lambda p, f: p.resize((410, 100)).save(f), {'extreme-aspect': 'note'}, 'more than 4 times'),
    'blank.png': (lambda p, f: Image.new('RGB', p.size, 'teal').save(f), {'one-colour': 'warning'}, 'nothing is in'),
    'cut_off.jpg': (cut, {'unreadable-picture': 'error'}, 'it is damaged or cut off'),
    'page.jpg': (lambda p, f: f.write_text('<html>no</html>'), {'unreadable-picture': 'error'}, 'it is a web page'),
    'empty.jpg': (lambda p, f: f.write_bytes(b''), {'unreadable-picture': 'error'}, r'it is empty \(0 bytes\)'),
}  # fmt: skip
# Another loader makes other things of them.
OF_OTHERS = [
    (dict(imdecode_backend='pillow'), 'deep.tif', lambda p, f: deep(p, f, 257, 'L'), {'16-bit': 'warning'},
     'loaded cut off at 255, so that brighter parts are lost'),
    (dict(imdecode_backend='pillow'), 'la.png', lambda p, f: faded(p.convert('LA')).save(f), {'transparent': 'note'},
     'loaded on a ground of one colour'),
    (dict(color_type='color_ignore_orientation'), '3.jpg', lambda p, f: turned(p, f, 3), {'exif-rotated': 'warning'},
     'loaded as they are stored, not as they are shown'),
    (dict(color_type='unchanged'), 'clear.png', lambda p, f: faded(p).save(f), {'mixed-channels': 'error'},
     "set color_type='color' of LoadImageFromFile"),
    (dict(color_type='unchanged', imdecode_backend='pillow'), 'c.jpg', lambda p, f: p.convert('CMYK').save(f),
     {'cmyk': 'warning'}, 'loaded in other colours than they are shown'),
    (dict(color_type='grayscale'), 'g.png', lambda p, f: p.convert('L').save(f), {'grayscale': 'note'},
     'loaded as one channel'),
]  # fmt: skip


def test_says_what_is_special_about_a_picture(pictures, tmp_path):
    data = Data(tmp_path, pictures, train=len(KINDS), val=0)
    for row, (name, (make, _, _)) in enumerate(KINDS.items()):
        picture = data.picture('train', row)
        data.item('train', row)['img_path'] = name
        make(picture, tmp_path / name)
    done, report = data.check('--images')
    codes = {name: {} for name in KINDS}
    for finding in report['findings']:
        for file in finding['files']:
            codes[Path(file).name][finding['code']] = finding['severity']
    assert codes == {name: expected for name, (_, expected, _) in KINDS.items()}, done.stderr
    for _, expected, words in KINDS.values():
        assert not expected or any(re.search(words, finding['message']) for finding in report['findings']), (
            words
        )
    assert report['checked'] == ['labels', 'pictures'] and done.returncode == 1


@pytest.mark.parametrize(
    ('loader', 'name', 'make', 'codes', 'words'), OF_OTHERS, ids=[case[1] for case in OF_OTHERS]
)
def test_says_what_the_loader_at_hand_makes_of_a_picture(
    pictures, tmp_path, loader, name, make, codes, words
):
    data = Data(tmp_path, pictures[:5], train=3, val=1)
    data.loader = loader
    make(data.picture('train', 0), tmp_path / name)
    data.item('train', 0)['img_path'] = name
    done, report = data.check('--images')
    found = {finding['code']: finding for finding in report['findings']}
    for code, severity in codes.items():
        assert found[code]['severity'] == severity and re.search(words, found[code]['message']), done.stderr
        assert str(tmp_path / name) in found[code]['files']


def test_draws_names_and_writes_nothing_over(pictures, tmp_path):
    data = Data(tmp_path, pictures[:24])
    drawn = tmp_path / 'drawn'
    done, report = data.check('--draw', drawn)
    names = {
        'class_frequencies.png',
        'co_occurrence_train.png',
        'co_occurrence_val.png',
        'co_occurrence_test.png',
    }
    assert {file.name for file in drawn.iterdir()} == names and done.returncode == 0
    assert all(Image.open(file).size > (300, 300) for file in drawn.iterdir())
    assert report['checked'] == ['labels'] and report['summary']['errors'] == 0
    train = report['splits']['train']
    counts = [sum(c in item['gt_label'] for item in data.splits['train']) for c in range(3)]
    assert [entry['present'] for entry in train['classes']] == counts
    assert [entry['absent'] for entry in train['classes']] == [12 - count for count in counts]
    for flag, path in (('--json', tmp_path / 'out' / 'report.json'), ('--draw', drawn)):
        done = run_tool('analysis_tools/check_dataset.py', tmp_path / 'config.py', flag, path, cwd=tmp_path)
        assert done.returncode == 1 and f'exists already; choose another {flag}' in done.stderr
