"""NUS-WIDE's lists and labels against what was written, its protocols, and how bad files are refused."""

import logging
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
from mmengine.dataset import ClassBalancedDataset
from mmengine.logging import MMLogger
from nus_wide_fixtures import CONCEPTS, write_lines, write_nus_wide

from mmlattn.datasets import NUSWide, nus_wide_layout
from mmlattn.utils.errors import UserError

SPLITS = ('train', 'test')


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Root of a drawn set, and what it holds."""
    return write_nus_wide(tmp_path_factory.mktemp('nus'))


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def found(dataset):
    """What a data set holds, as the fixture says it."""
    return {item['img_id']: item['gt_label'] for item in map(dataset.get_data_info, range(len(dataset)))}


@pytest.mark.parametrize('split', SPLITS)
def test_pictures_and_labels_are_those_written(drawn, split):
    root, pictures = drawn
    expected = {name: labels for name, (of, labels) in pictures.items() if of == split}
    dataset = NUSWide(str(root), split)
    assert list(found(dataset).items()) == list(expected.items())
    assert dataset.metainfo['classes'] == CONCEPTS
    columns = {
        c: pd.read_csv(root / f'Groundtruth/AllLabels/Labels_{c}.txt', header=None)[0] for c in CONCEPTS
    }
    for index, item in enumerate(dataset):
        assert item.keys() == {'img_path', 'img_id', 'gt_label', 'sample_idx'}
        assert item['img_path'] == str(root / 'Flickr' / item['img_id'])
        assert dataset.get_cat_ids(index) == item['gt_label']
        row = list(pictures).index(item['img_id'])
        assert [columns[c][row] for c in CONCEPTS] == [
            int(c in item['gt_label']) for c in range(len(CONCEPTS))
        ]
    labelled = NUSWide(str(root), split, 'official_labeled')
    assert found(labelled) == {name: labels for name, labels in expected.items() if labels}
    assert 0 < len(labelled) < len(dataset)


def test_pipeline_and_wrappers(drawn):
    root, _ = drawn
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    dataset = NUSWide(str(root), pipeline=pipeline, protocol='official_labeled')
    packed = dataset[0]
    assert packed['inputs'].shape == (3, 6, 8)
    assert packed['data_samples'].gt_label.tolist() == dataset.get_cat_ids(0)
    assert len(ClassBalancedDataset(dataset, oversample_thr=1.0)) >= len(dataset)
    assert found(pickle.loads(pickle.dumps(dataset))) == found(dataset)
    assert 'Protocol: \tofficial_labeled' in repr(dataset) and 'Split: \ttrain' in repr(dataset)


@pytest.mark.parametrize('end', ['\n', ' \r\n'])
def test_other_copies_of_the_archive(drawn, tmp_path, end):
    """Line ends of Unix, blanks before them, and the concepts beside the folders."""
    expected = found(NUSWide(str(drawn[0])))
    root, _ = write_nus_wide(tmp_path, end=end)
    shutil.move(root / 'ConceptsList/Concepts81.txt', root / 'Concepts81.txt')
    assert found(NUSWide(str(root))) == expected


def test_missing_pictures(drawn, tmp_path, log, monkeypatch):
    root = shutil.copytree(drawn[0], tmp_path / 'NUS-WIDE')
    monkeypatch.setitem(nus_wide_layout.COUNTS, 'official', dict(train=12, test=8))
    whole = found(NUSWide(str(root)))
    assert log.records[-1].levelno == logging.INFO and '12 pictures, 0 of the 12' in log.text
    gone = list(whole)[1:9:2]
    for name in gone:
        (root / 'Flickr' / name).unlink()
    with pytest.raises(
        UserError, match=r"4 of 12 pictures .*'train', are missing: .*, \.\.\.: .*'skip'"
    ) as error:
        NUSWide(str(root))
    assert [name in str(error.value) for name in gone] == [True, True, True, False]
    left = found(NUSWide(str(root), missing='skip'))
    assert left == {name: labels for name, labels in whole.items() if name not in gone}
    assert log.records[-2].levelno == logging.WARNING
    assert '8 pictures, 4 of the 12 listed are missing; the complete split has 12' in log.messages[-2]
    assert '3 of the 10 classes never occur as a label: clouds, water, grass' in log.messages[-1]
    shutil.rmtree(root / 'Flickr')
    with pytest.raises(UserError, match='12 of 12 pictures of'):
        NUSWide(str(root), missing='skip')


@pytest.mark.parametrize('protocol', ['150k', 'srn'])
def test_own_lists(drawn, tmp_path, protocol):
    root, pictures = drawn
    mine = list(pictures)[::-4]
    (tmp_path / 'mine.txt').write_text('\n'.join([mine[0].replace('/', '\\'), *mine[1:]]))
    dataset = NUSWide(str(root), 'test', protocol, list_file=str(tmp_path / 'mine.txt'))
    assert found(dataset) == {name: pictures[name][1] for name in mine} and list(found(dataset)) == mine
    with pytest.raises(UserError, match=r'mine\.txt: no such file'):
        NUSWide(str(root), protocol=protocol, list_file='mine.txt')  # a relative path is below data_root
    (tmp_path / 'mine.txt').write_text(f'{mine[0]}\nactor/9999_1.jpg\n')
    with pytest.raises(UserError, match=r'mine\.txt: line 2: actor/9999_1\.jpg is not among the 20 pictures'):
        NUSWide(str(root), 'test', protocol, list_file=str(tmp_path / 'mine.txt'))


def test_our_draw_of_150k(drawn, tmp_path, monkeypatch):
    """It parts the labelled pictures the same way every time, whatever is missing, and evenly."""
    full = {split: nus_wide_layout.draw_150k(np.arange(209_347), split) for split in SPLITS}
    assert len(full['train']) == 150_000
    np.testing.assert_array_equal(np.sort(np.concatenate(list(full.values()))), np.arange(209_347))
    assert abs(full['test'].mean() / 209_346 - 0.5) < 5 / np.sqrt(12 * 59_347)  # five standard errors
    with pytest.raises(
        UserError, match='have 150000 with a label, none would be left for test: give list_file'
    ):
        nus_wide_layout.draw_150k(np.arange(150_000), 'train')

    monkeypatch.setitem(nus_wide_layout.COUNTS, '150k', dict(train=8, test=5))
    root, pictures = shutil.copytree(drawn[0], tmp_path / 'NUS-WIDE'), drawn[1]
    train, test = (found(NUSWide(str(root), split, '150k')) for split in SPLITS)
    assert len(train) == 8 and not train.keys() & test.keys()
    assert train | test == {name: labels for name, (_, labels) in pictures.items() if labels}
    gone = list(train)[3]
    (root / 'Flickr' / gone).unlink()
    for split, before in zip(SPLITS, (train, test), strict=True):
        after = found(NUSWide(str(root), split, '150k', missing='skip'))
        assert after == {name: labels for name, labels in before.items() if name != gone}


LISTS, LABELS = 'ImageList', 'Groundtruth/AllLabels'


def rewrite(file, change):
    """Change the lines of a file."""

    def apply(root):
        lines = (root / file).read_text().splitlines()
        change(lines)
        write_lines(root / file, lines)

    return apply


BAD = {
    'no list': (
        lambda root: (root / LISTS / 'Imagelist.txt').unlink(),
        r'Imagelist\.txt: no such file: set data_root',
    ),
    'no split': (
        lambda root: (root / LISTS / 'TrainImagelist.txt').unlink(),
        r'TrainImagelist\.txt: no such',
    ),
    'empty list': (lambda root: write_lines(root / LISTS / 'Imagelist.txt', []), r'Imagelist\.txt: is empty'),
    'bytes': (
        lambda root: (root / LISTS / 'Imagelist.txt').write_bytes(b'\xff\xfe\x00'),
        r'Imagelist\.txt: not text in UTF-8',
    ),
    'twice': (
        rewrite(f'{LISTS}/Imagelist.txt', lambda lines: lines.__setitem__(6, lines[2].replace('\\', '/'))),
        r'Imagelist\.txt: line 7: zoo/.*\.jpg is already in line 3',
    ),
    'blank': (
        rewrite(f'{LISTS}/Imagelist.txt', lambda lines: lines.insert(4, '')),
        r'Imagelist\.txt: line 5: is blank',
    ),
    'twice in split': (
        rewrite(f'{LISTS}/TrainImagelist.txt', lambda lines: lines.append(lines[0])),
        r'TrainImagelist\.txt: line 13: .*\.jpg is already in line 1',
    ),
    'stranger': (
        rewrite(f'{LISTS}/TrainImagelist.txt', lambda lines: lines.append('zoo\\1.jpg')),
        r'TrainImagelist\.txt: line 13: zoo/1\.jpg is not among the 20 pictures of Imagelist\.txt',
    ),
    'no concepts': (
        lambda root: shutil.rmtree(root / 'ConceptsList'),
        r'ConceptsList/Concepts81\.txt: no such file, nor is .*NUS-WIDE/Concepts81\.txt: set data_root',
    ),
    'concept twice': (
        rewrite('ConceptsList/Concepts81.txt', lambda lines: lines.append('lake')),
        r'Concepts81\.txt: classes named twice: lake',
    ),
    'no labels': (
        lambda root: (root / LABELS / 'Labels_lake.txt').unlink(),
        r'Labels_lake\.txt: no such file',
    ),
    'short': (
        rewrite(f'{LABELS}/Labels_lake.txt', lambda lines: lines.pop()),
        r'Labels_lake\.txt: has 19 lines but Imagelist\.txt has 20',
    ),
    'long': (
        rewrite(f'{LABELS}/Labels_boats.txt', lambda lines: lines.append('0')),
        r'Labels_boats\.txt: has 21 lines but Imagelist\.txt has 20',
    ),
    'other value': (
        rewrite(f'{LABELS}/Labels_grass.txt', lambda lines: lines.__setitem__(4, '-1')),
        r"Labels_grass\.txt: line 5: expected 0 or 1, got '-1'",
    ),
    'one line': (
        lambda root: (root / LABELS / 'Labels_sky.txt').write_text('0 1 ' * 10),
        r"Labels_sky\.txt: line 1: expected 0 or 1, got '0 1 0.*\.\.\.",
    ),
    'blank label': (
        rewrite(f'{LABELS}/Labels_sky.txt', lambda lines: lines.__setitem__(2, '')),
        r"Labels_sky\.txt: line 3: expected 0 or 1, got ''",
    ),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_files_are_named(drawn, name, tmp_path):
    change, words = BAD[name]
    root = shutil.copytree(drawn[0], tmp_path / 'NUS-WIDE')
    change(root)
    with pytest.raises(UserError, match=words) as error:
        NUSWide(str(root), protocol='official_labeled')
    assert '\n' not in str(error.value) and str(root) in str(error.value)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(split='val'), "split must be one of 'train', 'test', got 'val'"),
        (dict(protocol='150K'), "protocol must be one of .*'150k', 'srn', got '150K'"),
        (dict(missing='ignore'), "missing must be one of 'error', 'skip', got 'ignore'"),
        (dict(protocol='srn', split='test'), r"'srn' needs list_file: .*'test' .*\(80283 are published\)"),
        (
            dict(list_file='a.txt'),
            "list_file goes with protocol='150k' or 'srn'; 'official' has lists of its own",
        ),
        (dict(protocol='150k'), "protocol='150k' draws 150000 pictures .* have 13 with a label"),
        (dict(classes=['sky', 'lake']), r'Imagelist\.txt: concepts: its classes .* not reordered'),
    ],
)
def test_other_arguments_are_refused(drawn, options, words):
    with pytest.raises(ValueError, match=words):
        NUSWide(str(drawn[0]), **options)
