"""What may follow a path: against every set of labels that could come of it."""

import itertools

import pytest
import reference.label_paths as reference
import torch

from mmlattn.models.cnn_rnn.constraints import LabelConstraints, allowed, implied

COUNT = 5
SETS = [set(s) for n in range(COUNT + 1) for s in itertools.combinations(range(COUNT), n)]


def drawn_rules(seed):
    """Random pairs and needs, the latter closed; some labels need each other, some exclude what they need."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda share: torch.rand(COUNT, COUNT, generator=generator) < share  # noqa: E731
    exclusive, parents = draw(0.1), draw(0.2)
    for _ in range(COUNT):
        parents = parents | (parents.float() @ parents.float() > 0)
    return exclusive | exclusive.T, parents


@pytest.mark.parametrize('knows', [True, False])
@pytest.mark.parametrize('seed', range(12))
def test_a_label_may_come_if_and_only_if_the_path_can_then_be_completed(seed, knows):
    """For every set of labels used and every room, known labels drawn too, or only what goes together."""
    exclusive, parents = drawn_rules(seed)
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, 4, (COUNT,), generator=generator)  # present, absent, or two in four nothing
    kinds = kinds if knows else torch.full_like(kinds, 2)
    known = dict(
        present=(kinds == 0).nonzero().flatten().tolist(), absent=(kinds == 1).nonzero().flatten().tolist()
    )
    needs = {i: parents[i].nonzero().flatten().tolist() for i in range(COUNT)}
    pairs = [(a, b) for a, b in itertools.combinations(range(COUNT), 2) if exclusive[a, b]]
    complete = [s for s in SETS if reference.meets(s, **known, exclusive=pairs, parents=needs)]

    used = torch.tensor([[[i in s for i in range(COUNT)] for s in SETS]])
    constraints = implied(LabelConstraints((kinds == 0)[None], (kinds == 1)[None], exclusive, parents))
    for room in range(COUNT + 1):
        labels, end = allowed(constraints, used, torch.full((1, len(SETS)), room))
        for s, row, may_end in zip(SETS, labels[0].tolist(), end[0].tolist(), strict=True):
            reachable = [t for t in complete if t >= s and len(t - s) <= room]
            assert row == [i not in s and any(i in t for t in reachable) for i in range(COUNT)]
            assert may_end == (s in reachable)


@pytest.mark.parametrize('count', [-1, 3, 4])
def test_what_a_label_needs_must_fit_in_the_room_whatever_the_count(count):
    """Label 0 needs two others. Two labels fit: it cannot come, though a count of three or more leaves them room."""
    none = torch.zeros(1, COUNT, dtype=torch.bool)
    parents = torch.zeros(COUNT, COUNT, dtype=torch.bool)
    parents[0, 1:3] = True
    rules = LabelConstraints(none, none, torch.zeros_like(parents), parents, torch.tensor([count]))
    for room, comes in ((2, False), (3, True)):
        labels, _ = allowed(implied(rules), none[None], room)
        assert labels[0, 0].tolist() == [comes, True, True, True, True]


def test_images_keep_their_own():
    """A batch of different knowledge is each image by itself, and one room serves all beams."""
    exclusive, parents = drawn_rules(3)
    generator = torch.Generator().manual_seed(0)
    present, absent = (torch.rand(6, COUNT, generator=generator) < 0.2 for _ in range(2))
    used = torch.rand(6, 7, COUNT, generator=generator) < 0.3
    room = torch.tensor([[0], [1], [2], [3], [4], [5]])
    labels, end = allowed(implied(LabelConstraints(present, absent, exclusive, parents)), used, room)
    assert labels.any() and end.any()
    for i in range(6):
        own = implied(LabelConstraints(present[i : i + 1], absent[i : i + 1], exclusive, parents))
        one = allowed(own, used[i : i + 1], room[i].expand(1, 7))
        assert torch.equal(one[0][0], labels[i]) and torch.equal(one[1][0], end[i])
