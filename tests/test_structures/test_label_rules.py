"""Rules about labels: read by name, checked against all sets of labels there are, matched to pictures."""

import itertools
import json
import random

import pytest
import torch
from mmpretrain.structures import DataSample

from mmlattn.structures import (
    LabelRules,
    check_label_rules,
    read_known_labels,
    read_label_rules,
    set_known_labels,
)
from mmlattn.structures.label_rules import label_mask
from mmlattn.utils.errors import UserError

CLASSES = ('person', 'cat', 'dog', 'dining table', 'fork', 'spoon')


def keeps(labels, rules):
    """Whether a set of labels keeps the rules, one sentence after the other."""
    return (
        set(rules.present) <= labels
        and not labels & set(rules.absent)
        and all(len(labels & set(group)) <= 1 for group in rules.exclusive)
        and all(set(needed) <= labels for child, needed in rules.parents.items() if child in labels)
        and (rules.count is None or len(labels) == rules.count)
    )


def kept_by(rules, num_classes):
    """All sets that keep the rules."""
    sets = itertools.chain.from_iterable(
        itertools.combinations(range(num_classes), n) for n in range(num_classes + 1)
    )
    return [set(labels) for labels in sets if keeps(set(labels), rules)]


def drawn_rules(seed, num_classes=5, with_count=False):
    """Rules of a few labels, many of them contradictory."""
    rng = random.Random(seed)

    def some(most, least=0):
        return tuple(sorted(rng.sample(range(num_classes), rng.randint(least, most))))

    return LabelRules(
        present=some(2),
        absent=some(2),
        exclusive=tuple(some(3, 2) for _ in range(rng.randint(0, 2))),
        parents={rng.randrange(num_classes): some(2, 1) for _ in range(rng.randint(0, 3))},
        count=rng.randint(0, num_classes) if with_count else None,
    )


@pytest.mark.parametrize('with_count', [False, True])
def test_what_is_refused_cannot_be(with_count):
    """And what passes can be, but for a count, which groups may leave no room for."""
    refused = 0
    for seed in range(600):
        rules = drawn_rules(seed, with_count=with_count)
        try:
            check_label_rules(rules, 5)
        except UserError as error:
            refused += 1
            message = str(error)
            if 'could never be there' in message or 'circle' in message:
                general = LabelRules(exclusive=rules.exclusive, parents=rules.parents)
                circle = 'circle' in message
                impossible = [c for c in range(5) if not any(c in labels for labels in kept_by(general, 5))]
                assert circle or impossible
            else:
                assert not kept_by(rules, 5), (rules, message)
        else:
            assert with_count or kept_by(rules, 5), rules
            assert rules.count is not None or rules.owed() in kept_by(rules, 5), 'what is owed is enough'
    assert 150 < refused < 550


def test_tensors_say_what_the_rules_say():
    """Parents against repeated products of the matrix of direct ones; pairs against the groups."""
    rules = LabelRules(
        present=(0,), absent=(5, 1), exclusive=((1, 2), (2, 3, 5)), parents={4: (3,), 3: (0,), 5: (4,)}
    )
    exclusive, parents = rules.tensors(6)
    present, absent = label_mask(rules.present, 6), label_mask(rules.absent, 6)
    assert present.tolist() == [i in (0,) for i in range(6)] and absent.tolist() == [
        i in (1, 5) for i in range(6)
    ]
    direct = torch.zeros(6, 6)
    for child, needed in rules.parents.items():
        direct[child, list(needed)] = 1
    assert torch.equal(parents, sum(torch.linalg.matrix_power(direct, n) for n in range(1, 6)) > 0)
    pairs = {(1, 2), (2, 3), (2, 5), (3, 5)}
    assert exclusive.nonzero().tolist() == sorted([list(p) for p in pairs] + [[b, a] for a, b in pairs])
    assert not any(part.any() for part in LabelRules().tensors(6))


def test_names_and_indices_mean_the_same():
    named = dict(
        present=['fork', 0],
        absent=['dog'],
        exclusive=[['cat', 'dog']],
        parents={'fork': ['dining table'], '5': [3]},
        count=3,
    )
    read = read_label_rules(named, 6, CLASSES)
    assert read == LabelRules((4, 0), (2,), ((1, 2),), {4: (3,), 5: (3,)}, 3)
    numbers = dict(present=[4, 0], absent=[2], exclusive=[[1, 2]], parents={'4': [3], 5: [3]}, count=3)
    assert read_label_rules(numbers, 6) == read
    digits = read_label_rules(dict(present=['3', 3], parents={'5': ['4']}), 6, '543210')
    assert digits == LabelRules(present=(2, 3), parents={0: (1,)}), 'names that look like numbers are names'


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (dict(presnt=['cat']), r"rules has 'presnt' \(did you mean 'present'\?\)"),
        (['cat'], 'rules must be a mapping'),
        (dict(present='cat'), "rules.present must be a list, got 'cat'"),
        (dict(present=['dgo']), r"rules.present: there is no class 'dgo' \(did you mean 'dog'\?\); there are 6"),
        (dict(absent=[6]), 'rules.absent: there is no label 6, of 6 the last is 5'),
        (dict(absent=[-1]), 'there is no label -1'),
        (dict(present=[1.0]), 'rules.present must have names or indices of labels, got 1.0'),
        (dict(present=[True]), 'got True'),
        (dict(exclusive=['cat', 'dog']), r"rules.exclusive\[0\] must be a list, got 'cat'"),
        (dict(parents=[['fork']]), 'rules.parents must give for a label those it needs'),
        (dict(parents={'frok': ['cat']}), r"rules.parents: there is no class 'frok' \(did you mean 'fork'"),
        (dict(parents={'fork': ['talbe']}), r"rules.parents\['fork'\]: there is no class 'talbe'"),
        (dict(present=['cat'], absent=['cat']), "'cat' is both present and absent"),
        (dict(present=['cat', 'dog'], exclusive=[['dog', 'cat']]), "'cat' and 'dog' exclude each other"),
        (
            dict(parents={'fork': ['spoon'], 'spoon': ['cat'], 'cat': ['fork']}),
            "circle: '(fork' needs 'spoon' needs 'cat' needs 'fork"
            "|spoon' needs 'cat' needs 'fork' needs 'spoon|cat' needs 'fork' needs 'spoon' needs 'cat)'",
        ),
        (
            dict(present=['fork'], parents={'fork': ['spoon'], 'spoon': ['cat']}, absent=['cat']),
            "'fork' is present and needs 'cat', which is absent",
        ),
        (
            dict(parents={'fork': ['cat', 'dog']}, exclusive=[['dog', 'cat']]),
            "'fork' needs labels of which 'cat' and 'dog' exclude each other, so it could never be there",
        ),
        (dict(present=['fork'], parents={'fork': ['cat']}, count=1), 'rules: count is 1, but 2 labels are present'),
        (dict(count=7), 'rules: count is 7, but only 6 of 6 labels can be there'),
        (
            dict(present=['dog'], exclusive=[['dog', 'cat']], parents={'fork': ['cat']}, absent=[0], count=4),
            'count is 4, but only 3 of 6',
        ),
        (dict(count=True), 'rules: count must be a whole number of 0 or more, got True'),
        (dict(count=-1), 'got -1'),
    ],
)  # fmt: skip
def test_what_a_person_may_get_wrong(content, said):
    with pytest.raises(UserError, match=said):
        read_label_rules(content, 6, CLASSES)


def test_names_need_names():
    with pytest.raises(UserError, match=r"rules.present has 'cat', but class names are not known here"):
        read_label_rules(dict(present=['cat']), 6)
    with pytest.raises(UserError, match='label 1 is both present and absent'):
        read_label_rules(dict(present=[1], absent=[1]), 6)


def test_rules_of_a_picture_join_those_for_all(tmp_path):
    content = dict(
        rules=dict(exclusive=[['cat', 'dog']], parents={'fork': ['dining table']}, absent=['spoon'], count=3),
        images={
            'a.jpg': dict(present=['person'], absent=['dog'], count=2),
            'x/b.jpg': dict(present=['fork']),
        },
    )
    file = tmp_path / 'known.json'
    file.write_text(json.dumps(content))
    base = LabelRules(exclusive=((3, 5),), parents={4: (0,)}, absent=(5,))
    for given in (content, file, str(file)):
        known = read_known_labels(given, 6, CLASSES, base)
        assert known.rules == LabelRules((), (5,), ((3, 5), (1, 2)), {4: (0, 3)}, 3)
        assert known.images['a.jpg'] == LabelRules((0,), (5, 2), ((3, 5), (1, 2)), {4: (0, 3)}, 2)
        assert known.images['x/b.jpg'].count == 3 and known.images['x/b.jpg'].owed() == {0, 3, 4}
    sample = DataSample()
    set_known_labels(sample, known.images['a.jpg'])
    assert (sample.label_present.tolist(), sample.label_absent.tolist(), sample.label_count) == (
        [0],
        [5, 2],
        2,
    )
    set_known_labels(other := DataSample(), LabelRules())
    assert not other.keys()
    assert read_known_labels(dict(present=['cat']), 6, CLASSES).rules == LabelRules(present=(1,))
    assert read_known_labels(dict(images={}), 6) == read_known_labels({}, 6)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (dict(rules={}, present=['cat']), "constraints has 'present'; expected some of rules, images"),
        (dict(images=['a.jpg']), 'constraints: images must give what is known by file name'),
        (
            dict(images={'a.jpg': ['cat']}),
            r"images\['a.jpg'\] must be a mapping with some of present, absent, count",
        ),
        (
            dict(images={'a.jpg': dict(parents={})}),
            r"images\['a.jpg'\] has 'parents' .*expected some of present",
        ),
        (dict(images={'a.jpg': dict(present=['cta'])}), r"images\['a.jpg'\].present: .*did you mean 'cat'"),
        (
            dict(rules=dict(absent=['cat']), images={'a.jpg': dict(present=['cat'])}),
            r"images\['a.jpg'\], with the rules for all: 'cat' is both present and absent",
        ),
        (dict(images={'./x/a.jpg': {}, 'x\\a.jpg': {}}), 'images names x/a.jpg twice'),
        (
            dict(exclusive=[['person', 'cat']]),
            "with those of the config: 'person' and 'cat' exclude each other",
        ),
    ],
)
def test_what_a_file_may_get_wrong(content, said):
    with pytest.raises(UserError, match=said):
        read_known_labels(content, 6, CLASSES, LabelRules(present=(0, 1)) if 'exclusive' in content else None)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (None, 'cannot read the constraints .*known.json: No such file'),
        ('{"rules": ', 'known.json is no json file'),
        (
            '{"images": {"a.jpg": {"present": [0]}, "a.jpg": {"absent": [1]}}}',
            "known.json: 'a.jpg' is there twice",
        ),
        ('[1]', 'known.json must be a mapping'),
    ],
)
def test_files_that_are_none(tmp_path, text, said):
    file = tmp_path / 'known.json'
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=said):
        read_known_labels(file, 6)


def test_pictures_are_found_by_the_end_of_their_path():
    """A repeated picture is one picture; a part of a name is no name."""
    images = {
        'a.jpg': dict(count=1),
        'y/b.jpg': dict(count=2),
        './data/x/c.jpg': dict(count=3),
        'd.jpg': {},
        'jpg': {},
    }
    known = read_known_labels(dict(images=images), 6)
    paths = ['data/x/a.jpg', 'data/x/b.jpg', 'data/y/b.jpg', 'data/x/c.jpg', 'data/x/a.jpg', 'data/x/bad.jpg']
    found, told = known.match(paths)
    assert {path: rules.count for path, rules in found.items()} == {paths[0]: 1, paths[2]: 2, paths[3]: 3}
    assert told == 'constraints: 2 of 5 images fit no picture: d.jpg, jpg'
    assert read_known_labels(dict(images={'a.jpg': {}}), 6).match(['C:\\data\\a.jpg'])[1] == ''
    many = read_known_labels(dict(images={key: {} for key in 'pqrs'}), 6)
    assert many.match([]) == ({}, 'constraints: 4 of 4 images fit no picture: p, q, r ...')
    with pytest.raises(UserError, match=r"'a.jpg' fits x/a.jpg and y/a.jpg; give more of the path"):
        known.match(['x/a.jpg', 'y/a.jpg'])
    with pytest.raises(UserError, match=r"'a.jpg' and 'x/a.jpg' both fit|'x/a.jpg' and 'a.jpg' both fit"):
        read_known_labels(dict(images={'a.jpg': {}, 'x/a.jpg': {}}), 6).match(['x/a.jpg'])


def test_constraints_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / 'known.json').write_bytes(b'\xef\xbb\xbf{"present": ["b"]}')
    assert read_known_labels(tmp_path / 'known.json', 2, ['a', 'b']).rules.present == (1,)
