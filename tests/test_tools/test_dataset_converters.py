"""The composers of the demo data sets."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest, chisquare

from mmlattn.utils import UserError, scenes

CONVERTERS = Path(__file__).resolve().parents[2] / 'tools' / 'dataset_converters'


@pytest.fixture
def modules(monkeypatch):
    """The converters, importable as when they run."""
    monkeypatch.syspath_prepend(str(CONVERTERS))
    import multi_digits
    import stamp_scenes

    return multi_digits, stamp_scenes


@pytest.fixture
def label_sets(modules):
    return modules[0]


@pytest.fixture
def digits():
    """Forty drawn 'digits': label c is a bar c + 3 pixels high; sample i has brightness 100 + i."""
    pictures, labels = np.zeros((40, 28, 28), np.uint8), np.repeat(np.arange(10), 4)
    for i, label in enumerate(labels):
        pictures[i, 5 : 8 + label, 10:14] = 100 + i
    return pictures, labels


TEXTURE = np.zeros((80, 90), np.uint8)


def test_scenes_have_tight_disjoint_boxes_of_held_apart_digits(modules, digits):
    multi_digits, _ = modules
    style = multi_digits.SceneStyle(clutter=0)
    train, val = multi_digits.make_splits(*digits, [TEXTURE], style, dict(train=60, val=60), seed=3)
    inks = {}
    for split in (train, val):
        inks[split.name] = set()
        for scene in map(split.compose, range(split.length)):
            assert 1 <= len(scene.labels) <= 4
            covered = np.zeros(scene.image.shape, int)
            for label, (x, y, width, height) in zip(scene.labels, scene.boxes, strict=True):
                window = scene.image[y : y + height, x : x + width]
                assert window.shape == (height, width)
                assert all(window[edge].any() for edge in [(0,), (-1,), (slice(None), 0), (slice(None), -1)])
                covered[y : y + height, x : x + width] += 1
                brightest = int(window.max())
                assert digits[1][brightest - 100] == label
                inks[split.name].add(brightest)
            assert covered.max() == 1 and not scene.image[covered == 0].any()
    assert len(inks['train']) == 30 and len(inks['val']) == 10  # rounded: 3 of 4 per class to train
    assert not inks['train'] & inks['val']


def test_clutter_has_no_box(modules, digits):
    multi_digits, _ = modules
    style = multi_digits.SceneStyle(clutter=5)
    scene = multi_digits.make_splits(*digits, [TEXTURE], style, dict(train=1, val=1), 0)[0].compose(0)
    outside = scene.image.copy()
    for x, y, width, height in scene.boxes:
        outside[y : y + height, x : x + width] = 0
    assert outside.any()


# Drawn by the first release, on black: later ones must give the same scenes for the same settings.
FIRST_RELEASE = [
    ((8, 4, 0, 0), ((23, 32, 5, 14), (37, 31, 10, 18), (39, 9, 20, 15), (0, 41, 16, 12)), 97976),
    ((1, 3), ((15, 25, 18, 18), (40, 44, 13, 20)), 98041),
    ((4,), ((27, 47, 8, 14),), 48148),
    ((8, 0, 5), ((12, 14, 7, 18), (8, 47, 14, 10), (55, 8, 8, 16)), 78928),
]


def test_scenes_and_recipes_of_the_first_release_stay(modules, digits):
    multi_digits, _ = modules
    style, lengths = multi_digits.SceneStyle(), dict(train=2, val=2)
    splits = multi_digits.make_splits(*digits, [TEXTURE], style, lengths, seed=5)
    scenes = [split.compose(index) for split in splits for index in range(2)]
    assert [(scene.labels, scene.boxes, int(scene.image.sum())) for scene in scenes] == FIRST_RELEASE
    assert list(multi_digits.make_recipe(style, lengths, 5)) == [
        *(
            'data_set',
            'seed',
            'train',
            'val',
            'canvas',
            'max_digits',
            'digit_size',
            'clutter',
            'fragment',
            'dim',
        ),
        *('digits', 'textures'),
    ]


@pytest.mark.parametrize(('number', 'max_size'), [(20, 5), (12, 4), (50, 5), (18, 9)])
def test_no_label_tells_its_set(label_sets, number, max_size):
    table, again = (label_sets.draw_label_sets(np.random.default_rng(1), number, 10, max_size) for _ in 'ab')
    assert table == again != label_sets.draw_label_sets(np.random.default_rng(2), number, 10, max_size)
    assert len(set(table)) == number and all(row == tuple(sorted(set(row))) for row in table)
    sizes = Counter(map(len, table))
    assert set(sizes) == set(range(1, max_size + 1)) and max(sizes.values()) - min(sizes.values()) <= 1
    assert all(sum(label in row for row in table) >= 2 for label in range(10))


@pytest.mark.parametrize(('number', 'max_size'), [(10, 1), (11, 1), (4, 5), (51, 5)])
def test_impossible_tables_are_refused(label_sets, number, max_size):
    """Singles tell their set; there are only ten of them; 10 members can't hold 10 labels twice; 11 singles of 10."""
    with pytest.raises(ValueError, match=f'no {number} different sets of 1 to {max_size} of 10 labels'):
        label_sets.draw_label_sets(np.random.default_rng(0), number, 10, max_size)


def test_table_is_described(label_sets):
    said = label_sets.describe_label_sets([(0,), (0, 1), (0, 1, 2), (1, 2)], 'abcd')
    assert said == (
        'label sets: a | a b | a b c | b c\na in 75 %, b in 75 %, c in 50 %, d in 0 %; 3 of 6 pairs occur'
    )


def test_scenes_show_one_of_the_sets_all_equally_often(modules, label_sets, digits):
    multi_digits, _ = modules
    table = label_sets.draw_label_sets(np.random.default_rng(0), 20, 10, 5)
    style = multi_digits.SceneStyle(label_sets=table, clutter=0)
    for split in multi_digits.make_splits(*digits, [TEXTURE], style, dict(train=300, val=300), seed=0):
        shown = Counter(split.compose(index).labels for index in range(300))
        assert set(shown) == set(table)
        assert chisquare([shown[row] for row in table]).pvalue > 1e-3
    tight = multi_digits.SceneStyle(label_sets=[(0, 1, 2, 3, 4)], canvas=30)
    with pytest.raises(ValueError, match='5 digits of 14 to 20 pixels do not fit'):
        multi_digits.make_splits(*digits, [TEXTURE], tight, dict(train=1, val=1), 0)[0].compose(0)


def halves_covered(ink):
    height, width = ink.shape[0] // 2, ink.shape[1] // 2
    for side in (np.s_[:height], np.s_[-height:], np.s_[:, :width], np.s_[:, -width:]):
        hidden = ink.copy()
        hidden[side] = 0
        yield hidden


def test_hidden_digits_are_faint_or_half_covered_and_stay_where_they_are(modules, digits):
    multi_digits, _ = modules

    def scenes(hide):
        style = multi_digits.SceneStyle(label_sets=((0, 1, 2), (1, 3)), clutter=0, hide=hide)
        split = multi_digits.make_splits(*digits, [TEXTURE], style, dict(train=300, val=1), seed=0)[0]
        return [split.compose(index) for index in range(300)]

    found = Counter()
    for plain, hidden in zip(scenes(0), scenes(0.3), strict=True):
        assert (plain.labels, plain.boxes) == (hidden.labels, hidden.boxes)
        for x, y, width, height in plain.boxes:
            before, after = (s.image[y : y + height, x : x + width] for s in (plain, hidden))
            assert after.any()
            if (after == before).all():
                found['plain'] += 1
            elif (after == np.floor(before * 0.4)).all():
                found['faint'] += 1
            else:
                found[[(after == covered).all() for covered in halves_covered(before)].index(True)] += 1
    hard = found.total() - found['plain']
    assert binomtest(hard, found.total(), 0.3).pvalue > 1e-3
    assert binomtest(found['faint'], hard, 0.5).pvalue > 1e-3
    assert chisquare([found[side] for side in range(4)]).pvalue > 1e-3


def write(modules, out, digits, seed=0, length=4):
    multi_digits, _ = modules
    lengths = dict(train=length, val=2)

    def splits():
        return multi_digits.make_splits(*digits, [TEXTURE], multi_digits.SceneStyle(), lengths, seed)

    return scenes.write_dataset(out, dict(seed=seed, **lengths), multi_digits.CLASSES, splits)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}


def test_same_recipe_same_bytes(modules, digits, tmp_path):
    assert write(modules, tmp_path / 'a', digits) and write(modules, tmp_path / 'b', digits)
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')
    write(modules, tmp_path / 'c', digits, seed=1)
    assert contents(tmp_path / 'a') != contents(tmp_path / 'c')


def test_json_is_coco_and_agrees_with_the_pictures(modules, digits, tmp_path):
    write(modules, tmp_path / 'a', digits, length=6)
    content = json.loads((tmp_path / 'a/annotations/instances_train.json').read_text())
    assert [c['name'] for c in content['categories']] == [str(i) for i in range(10)]
    assert len(content['images']) == 6
    ids = {image['id'] for image in content['images']}
    for image in content['images']:
        assert Image.open(tmp_path / 'a/train' / image['file_name']).size == (image['width'], image['height'])
    annotations = content['annotations']
    assert len({a['id'] for a in annotations}) == len(annotations)
    assert all(a['image_id'] in ids and a['area'] == a['bbox'][2] * a['bbox'][3] for a in annotations)


def test_nothing_is_made_twice_or_overwritten(modules, digits, tmp_path):
    out = tmp_path / 'a'
    write(modules, out, digits)
    before = {p: p.stat().st_mtime_ns for p in out.rglob('*')}
    assert not write(modules, out, digits)
    with pytest.raises(ValueError, match=r'other settings .*seed'):
        write(modules, out, digits, seed=1)
    assert {p: p.stat().st_mtime_ns for p in out.rglob('*')} == before
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/notes.txt').write_text('keep')
    with pytest.raises(ValueError, match='no data set of this tool'):
        write(modules, tmp_path / 'mine', digits)
    assert contents(tmp_path / 'mine') == {'notes.txt': b'keep'}


def test_a_data_set_that_lost_pictures_is_not_taken_for_whole(modules, digits, tmp_path):
    out = tmp_path / 'a'
    write(modules, out, digits)
    (out / 'train/000001.png').unlink()
    with pytest.raises(ValueError, match=r'lacks 1 of its files, first .*train/000001\.png: delete it'):
        write(modules, out, digits)


def test_two_at_once_write_one_whole_data_set(modules, digits, tmp_path):
    out = tmp_path / 'a'

    def while_another_one_runs(index):
        out.exists() or write(modules, out, digits)
        return scenes.Scene(TEXTURE[:64, :64], (0,), ((0, 0, 4, 4),))

    recipe = dict(seed=0, train=4, val=2)
    assert not scenes.write_dataset(
        out,
        recipe,
        ['x'],
        lambda: [scenes.Split(name, recipe[name], while_another_one_runs) for name in scenes.SPLITS],
    )
    write(modules, tmp_path / 'b', digits)
    assert contents(out) == contents(tmp_path / 'b')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a', 'b']


def test_interrupted_writing_leaves_no_data_set(tmp_path):

    def fail(index):
        raise RuntimeError('power cut')

    with pytest.raises(RuntimeError):
        scenes.write_dataset(tmp_path / 'a', {}, ['x'], lambda: [scenes.Split('train', 1, fail)])
    assert list(tmp_path.iterdir()) == []


def test_stamps_overlap_little_and_boxes_are_tight(modules):
    _, stamp_scenes = modules
    stamps, labels = [], np.repeat(np.arange(12), 4)
    for i in range(48):
        rgba = np.zeros((60, 80, 4), np.uint8)
        rgba[10:50, 5:70] = (i * 5, 255, 0, 255)
        stamps.append(stamp_scenes.crop_to_opaque(Image.fromarray(rgba)))
    assert stamps[0].size == (65, 40)
    style = stamp_scenes.SceneStyle()
    texture = np.zeros((300, 300), np.uint8)
    splits = stamp_scenes.make_splits(stamps, labels, [texture], style, dict(train=12, val=4), 0)
    for scene in map(splits[0].compose, range(12)):
        assert scene.image.shape == (224, 224, 3)
        for i, box in enumerate(scene.boxes):
            x, y, width, height = box
            assert x >= 0 and y >= 0 and x + width <= 224 and y + height <= 224
            assert max(width, height) <= 0.5 * 224 + 1
            assert all(scenes.overlap(box, other) <= 0.15 for other in scene.boxes[:i])
        if len(scene.boxes) == 1:
            x, y, width, height = scene.boxes[0]
            assert scenes.tight_box(scene.image[..., 1] > 128)[2:] == pytest.approx((width, height), abs=2)


def test_says_what_the_photo_tier_needs(modules, tmp_path, monkeypatch):
    _, stamp_scenes = modules
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UserError, match='Debian or Ubuntu with apt-get and dpkg-deb'):
        stamp_scenes.fetch_stamps(tmp_path / 'cache')


@pytest.mark.parametrize(
    'wrong', [dict(digit_size=(30, 20)), dict(digit_size=(20, 80)), dict(clutter=-1), dict(hide=1.1)]
)
def test_impossible_styles_are_refused(modules, wrong):
    with pytest.raises(ValueError, match='got'):
        modules[0].SceneStyle(**wrong)


@pytest.mark.slow
def test_real_digits(tmp_path):
    """Downloads the two wheels, as a user's first run does."""
    command = [sys.executable, CONVERTERS / 'multi_digits.py', '--cache', tmp_path / 'cache']
    command += ['--train', '20', '--val', '10', '--out-dir', tmp_path / 'digits']
    for said in ('written', 'are there already'):
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert said in result.stdout
    assert len(list((tmp_path / 'digits/train').iterdir())) == 20
    refused = subprocess.run([*command, '--seed', '1'], capture_output=True, text=True)
    assert refused.returncode == 1 and 'other settings (seed)' in refused.stderr
    by_rule = [
        '--label-sets',
        '20',
        '--max-digits',
        '5',
        '--hide',
        '0.3',
        '--out-dir',
        tmp_path / 'digit-sets',
    ]
    result = subprocess.run([*command, *by_rule], capture_output=True, text=True)
    assert result.returncode == 0 and 'of 45 pairs occur' in result.stdout, result.stderr
    recipe = json.loads((tmp_path / 'digit-sets/recipe.json').read_text())
    shown = {}
    content = json.loads((tmp_path / 'digit-sets/annotations/instances_train.json').read_text())
    for annotation in content['annotations']:
        shown.setdefault(annotation['image_id'], []).append(annotation['category_id'] - 1)
    assert len(shown) == 20 and all(row in recipe['label_sets'] for row in shown.values())
    again = subprocess.run([*command, *by_rule], capture_output=True, text=True)
    assert 'are there already' in again.stdout
    refused = subprocess.run([*command, '--label-sets', '-1'], capture_output=True, text=True)
    assert refused.returncode == 1 and 'must not be negative, got -1' in refused.stderr
