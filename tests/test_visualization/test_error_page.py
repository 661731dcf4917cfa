"""The page of errors, read as a browser reads it: its numbers, its pictures, and names that would do harm."""

import base64
import io
import re
from itertools import groupby

import numpy as np
import pytest
from page_reader import Page
from PIL import Image
from sklearn import metrics

from mmlattn.utils.errors import UserError
from mmlattn.visualization.pages import findings
from mmlattn.visualization.pages.errors import errors_page
from mmlattn.visualization.pages.pictures import page_picture
from mmlattn.visualization.pages.render import write_page
from mmlattn.visualization.pages.sheets import without_gaps
from mmlattn.visualization.pages.tables import Column, heat_class, heat_colors, make_table
from mmlattn.visualization.palette import OUTCOME_COLORS, contrast, legible_on

HOSTILE = [
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    "it's {{ 7 * 7 }}",
    'a\nb & c',
    '',
    '雪\ud800',
]


def multi_label(pictures=80, classes=6, seed=0):
    rng = np.random.default_rng(seed)
    targets = (rng.random((pictures, classes)) < 0.35).astype(np.int8)
    targets[rng.random(targets.shape) < 0.1] = -1
    scores = np.clip(rng.normal(0.3, 0.25, targets.shape) + 0.3 * (targets == 1), 0, 1).astype(np.float32)
    names = [f'folder/{HOSTILE[n % 4]}{n}.jpg' for n in range(pictures)]
    return findings.Tested(names, HOSTILE[:classes], scores, scores >= 0.5, targets)


def single_label(pictures=60, classes=4):
    rng = np.random.default_rng(1)
    scores = rng.dirichlet(np.full(classes, 0.5), size=pictures)
    targets, predicted = (
        np.eye(classes)[i] for i in (rng.integers(classes, size=pictures), scores.argmax(axis=1))
    )
    names = [f'{n}.png' for n in range(pictures)]
    return findings.Tested(names, list('abcd'), scores, predicted > 0, targets.astype(np.int8))


def make(tested, most=30, **options):
    found = findings.find(tested)
    image = np.zeros((9, 16, 3), np.uint8)
    store = {f'p{n}': page_picture(image) for n in found.pictures(most)}
    store |= {f's{n}': page_picture(image) for n in found.looked_at[:3]}
    facts = [('labels are predicted by', 'a score of <b>0.5</b>')]
    page = errors_page(tested, found, store, title='Errors', facts=facts, version='0', **options)
    return found, store, page, Page(page.encode(errors='backslashreplace').decode())


@pytest.fixture(scope='module')
def multi():
    """A test with several labels each, and its page."""
    return multi_label(), *make(multi_label(), notes=['<i>no evidence</i>'])


def test_class_table_has_the_numbers_of_scikit_learn(multi):
    tested, *_, page = multi
    (table,) = [rows for rows in page.tables if rows[0][:2] == ['class', 'TP']]
    assert len(table) == 1 + len(tested.classes)
    for c, row in enumerate(table[1:]):
        known = tested.targets[:, c] >= 0
        true, ours = tested.targets[known, c], tested.predicted[known, c]
        tn, fp, fn, tp = metrics.confusion_matrix(true, ours).ravel()
        assert [int(text) for text in row[1:6]] == [tp, fp, fn, tn, (~known).sum()]
        rates = [f(true, ours) for f in (metrics.precision_score, metrics.recall_score, metrics.f1_score)]
        rates.append(metrics.average_precision_score(true, tested.scores[known, c]))
        assert row[6:] == [f'{100 * rate:.1f}' for rate in rates]
        # The 2 x 2 table of the class by itself.
        small = [rows for rows in page.tables if rows[0] == ['', 'predicted', 'not predicted']][c]
        assert [row[1:] for row in small[1:3]] == [[str(tp), str(fn)], [str(fp), str(tn)]]


def test_pair_tables_have_the_counts_and_pictures_that_show_them(multi):
    tested, found, _, _, page = multi
    p, t = tested.predicted, tested.targets
    wanted = dict(
        added=lambda a, b: p[:, a] & p[:, b] & (np.minimum(t[:, a], t[:, b]) == 0),
        dropped=lambda a, b: (t[:, a] == 1) & (t[:, b] == 1) & ~(p[:, a] & p[:, b]),
        mistaken=lambda a, b: (t[:, a] == 1) & ~p[:, a] & (t[:, b] == 0) & p[:, b],
    )
    first = dict(added='predicted together', dropped='present together', mistaken='pictures')
    for kind, shows in wanted.items():
        pairs = getattr(found, kind)
        (table,) = [rows for rows in page.tables if rows[0][2:3] == [first[kind]]]
        assert len(pairs) > 5 and len(table) == 1 + len(pairs)
        for pair, row in zip(pairs, table[1:], strict=True):
            mask = shows(pair.a, pair.b)
            if kind == 'added':  # unknown labels count in no pair
                mask &= (t[:, pair.a] >= 0) & (t[:, pair.b] >= 0)
            order = [
                name
                for name in ('predicted', 'present', 'wrong', 'only_a', 'only_b', 'neither', 'count')
                if name in pair.counts
            ]
            assert row[2:-1] == [str(pair.counts[name]) for name in order]
            if kind != 'mistaken':
                there = (t == 1) if kind == 'added' else p
                a, b = there[mask, pair.a], there[mask, pair.b]
                split = [(a & ~b).sum(), (~a & b).sum(), (~a & ~b).sum()]
                assert [pair.counts[name] for name in ('only_a', 'only_b', 'neither')] == split
            assert pair.counts.get('wrong', pair.counts.get('count')) == mask.sum()
            assert (
                len(pair.pictures) == min(mask.sum(), findings.EXAMPLES) and mask[list(pair.pictures)].all()
            )
        counts = [pair.counts.get('wrong', pair.counts.get('count')) for pair in pairs]
        assert counts == sorted(counts, reverse=True)


def test_names_are_text_and_nothing_is_loaded(multi):
    _, _, store, text, page = multi
    assert len(page.of('script')) == 1 and not page.of('img') and not page.of('i')
    assert 'alert(1)' not in re.search('(?s)<script>(.*)</script>', text)[1]
    assert '49' not in {t.strip("it's ") for t in page.texts}  # no template within the template
    for name in (
        '<script>alert(1)</script>',
        '"><img src=x onerror=alert(1)>',
        "it's {{ 7 * 7 }}",
        'a b & c',
        'class 4',
    ):
        assert name in page.texts
    assert '<i>no evidence</i>' in page.texts and 'a score of <b>0.5</b>' in page.texts
    for tag, attributes in page.tags:
        assert not any(key.startswith('on') or key in ('src', 'style') for key in attributes), (
            tag,
            attributes,
        )
    # All addresses are places of this page or data.
    ids = {attributes['id'] for _, attributes in page.tags if 'id' in attributes}
    for _, attributes in page.tags:
        if 'href' in attributes:
            href = attributes['href']
            assert href.startswith('data:image/webp;base64,') or (href[0] == '#' and href[1:] in ids)
    assert set(store) <= ids
    (policy,) = [a['content'] for a in page.of('meta') if a.get('http-equiv') == 'Content-Security-Policy']
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy


def test_pictures_are_held_once_and_no_more_than_asked_for(multi):
    tested, found, store, _, page = multi
    assert len([key for key in store if key[0] == 'p']) == 30
    images = page.of('image')
    assert len(images) == len(store)
    picture = Image.open(io.BytesIO(base64.b64decode(images[0]['href'].partition(',')[2])))
    assert picture.format == 'WEBP' and picture.size == (16, 9)
    # Those looked at first, then one of each class before a second of any.
    shown = found.pictures(1000)
    assert found.pictures(30) == shown[:30] and len(set(shown)) == len(shown)
    looked = len(found.looked_at)
    firsts = {group[0] for group in (*found.wrong, *found.missed) if group}
    assert firsts <= {*shown[: looked + len(firsts)]}
    assert max(tested.losses) == tested.losses[found.worst[0]]
    for c in range(6):
        wrong = tested.scores[list(found.wrong[c]), c]
        assert tested.masks['fp'][list(found.wrong[c]), c].all() and (np.diff(wrong) <= 0).all()
        assert wrong[0] == tested.scores[tested.masks['fp'][:, c], c].max()
        missed = tested.scores[list(found.missed[c]), c]
        assert missed[0] == tested.scores[tested.masks['fn'][:, c], c].min() and (np.diff(missed) >= 0).all()


def test_one_label_each_has_a_matrix_of_confusions_and_no_pairs():
    tested = single_label()
    assert tested.exclusive
    found, _, _, page = make(tested)
    truth, answers = tested.targets.argmax(axis=1), tested.predicted.argmax(axis=1)
    (matrix,) = [rows for rows in page.tables if rows[0] == ['', *'abcd']]
    counts = [[int(text) for text in row[1:]] for row in matrix[1:]]
    assert np.array_equal(counts, metrics.confusion_matrix(truth, answers))
    assert not [rows for rows in page.tables if rows[0][:2] == ['A', 'B']]
    assert f'{100 * metrics.accuracy_score(truth, answers):.1f}' in page.texts
    suspect = found.suspects['instead'][0]
    row = tested.scores[suspect.picture]
    says = f'labelled {"abcd"[suspect.label]} ({row[suspect.label]:.2f}): is it {"abcd"[suspect.instead]} '
    assert f'{says}({row[suspect.instead]:.2f})?' in page.texts
    # One picture with two labels, and it is no test of single labels.
    tested.targets[0, :2] = 1
    assert not findings.Tested(
        tested.names, 'abcd', tested.scores, tested.predicted, tested.targets
    ).exclusive


def test_a_perfect_test_has_a_page():
    targets = np.eye(3, dtype=np.int8)[[0, 1, 2, 0]]
    tested = findings.Tested(list('wxyz'), ['a', 'b', 'c'], targets.astype(float), targets == 1, targets)
    found, store, _, page = make(tested)
    assert (
        not store and not found.worst and not any(found.suspects.values()) and page.texts.count('None.') > 3
    )


def test_what_does_not_fit_is_said():
    tested = single_label()
    fields = dict(vars(tested))
    for name, value, says in [
        ('names', ['a'], '1 names of pictures and 4 of classes do not fit'),
        ('scores', tested.scores * 3, r'lie in \[0, 1\]'),
        ('predicted', tested.predicted[:, :2], 'must both be'),
    ]:
        with pytest.raises(UserError, match=says):
            findings.Tested(
                **{k: fields[k] for k in ('names', 'classes', 'scores', 'predicted', 'targets')}
                | {name: value}
            )


def test_letters_can_be_read_on_every_ground():
    grounds = [*heat_colors().values(), *((color, legible_on(color)) for color in OUTCOME_COLORS.values())]
    assert len(grounds) > 16
    assert min(contrast(ground, letters) for ground, letters in grounds) >= 4.5


def test_grounds_and_values_of_a_table():
    columns = [Column('name'), Column('count', heat='bad'), Column('share', share=True, heat='good')]
    rows = [('a', 1200, 0.5), ('b', 300, float('nan')), ('c', 0, 0.0)]
    table = make_table(columns, rows, [('a',), ('b',), ('c',)])
    cells = [[(cell.text, cell.value, cell.ground) for cell in row.cells] for row in table.rows]
    assert cells == [
        [('a', 'a', ''), ('1,200', 1200, 'bad8'), ('50.0', 0.5, 'good4')],
        [('b', 'b', ''), ('300', 300, 'bad2'), ('–', None, '')],
        [('c', 'c', ''), ('0', 0, ''), ('0.0', 0, '')],
    ]
    assert [heat_class(share, 'bad') for share in (0.001, 0.125, 0.126, 1)] == [
        'bad1',
        'bad1',
        'bad2',
        'bad8',
    ]


def test_gaps_of_a_drawing_are_cut():
    rng = np.random.default_rng(0)
    blank = rng.random(200) < 0.8
    sheet = np.where(blank[:, None, None], 255, rng.integers(0, 255, (200, 7, 3))).astype(np.uint8)
    lengths = [(key, len(list(group))) for key, group in groupby(blank)]
    assert max(length for key, length in lengths if key) > 5
    kept = sum(min(length, 3) if key else length for key, length in lengths)
    assert len(without_gaps(sheet, 3)) == kept
    assert np.array_equal(without_gaps(sheet, 200), sheet)


def test_no_file_is_overwritten(tmp_path):
    (tmp_path / 'a.html').write_text('mine')
    with pytest.raises(UserError, match='exists already'):
        write_page(tmp_path / 'a.html', 'text')
    assert (tmp_path / 'a.html').read_text() == 'mine'
    write_page(tmp_path / 'b.html', 'odd \ud800')
    assert (tmp_path / 'b.html').read_text() == 'odd \\ud800'


def test_suspects_of_both_kinds_are_asked_about(multi):
    tested, found, _, _, page = multi
    for kind, given, says in [
        ('unlisted', 0, 'not labelled {}, score {:.2f}: is it there after all?'),
        ('untrue', 1, 'labelled {}, score {:.2f}: is it there?'),
    ]:
        suspects = found.suspects[kind]
        assert 0 < len(suspects) <= findings.SUSPECTS <= found.num_suspects[kind]
        scores = [tested.scores[suspect.picture, suspect.label] for suspect in suspects]
        assert scores == sorted(scores, reverse=given == 0)
        names = [' '.join(HOSTILE[s.label].split()) or f'class {s.label}' for s in suspects]
        names = [name.encode(errors='backslashreplace').decode() for name in names]
        assert all(tested.targets[suspect.picture, suspect.label] == given for suspect in suspects)
        assert {says.format(n, s) for n, s in zip(names, scores, strict=True)} <= set(page.texts)
