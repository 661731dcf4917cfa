"""Order-free targets against every order there is, and the multi-order loss against plain loops."""

import math
from itertools import permutations

import pytest
import torch
from torch.nn.functional import cross_entropy

from mmlattn.models.cnn_rnn.alignment import (
    align_mla,
    align_pla,
    align_pla_in_time,
    fuse_steps,
    multi_order_loss,
)
from mmlattn.models.cnn_rnn.paths import IGNORE, emitted_before, path_inputs

NUM_LABELS, STEPS = 7, 6
END = NUM_LABELS


def random_batch(seed=0, steps=STEPS):
    """Images with 0 to 5 = STEPS - 1 labels; a path that has repetitions, END in its midst, and right labels."""
    generator = torch.Generator().manual_seed(seed)
    log_probs = (3 * torch.randn(36, steps, NUM_LABELS + 1, generator=generator)).log_softmax(-1)
    places = torch.rand(36, NUM_LABELS, generator=generator).argsort(1)
    labels = places < torch.arange(36)[:, None] % STEPS
    emitted = torch.randint(NUM_LABELS + 1, (36, steps), generator=generator)
    return log_probs, emitted, labels


def members(row):
    return row.nonzero()[:, 0].tolist()


def check_shape_of_paths(targets, labels):
    """Each label once, END behind, and nothing else."""
    for path, row in zip(targets.tolist(), labels, strict=True):
        count = int(row.sum())
        assert sorted(path[:count]) == members(row)
        assert path[count:] == [END] + [IGNORE] * (len(path) - count - 1)


def cost(log_probs, path):
    return -sum(step[label].item() for step, label in zip(log_probs, path, strict=False))


def test_mla_costs_least_of_all_orders():
    log_probs, _, labels = random_batch()
    targets = align_mla(log_probs, labels)
    check_shape_of_paths(targets, labels)
    for scores, path, row in zip(log_probs, targets.tolist(), labels, strict=True):
        least = min(cost(scores, order) for order in permutations(members(row)))
        assert cost(scores, path[: int(row.sum())]) == pytest.approx(least)
    # The cost is the cross-entropy that is trained, END aside.
    loss = cross_entropy(log_probs.transpose(1, 2), targets, reduction='sum')
    ends = sum(cost(scores[int(row.sum()) :], [END]) for scores, row in zip(log_probs, labels, strict=True))
    total = sum(cost(s, p[: int(row.sum())]) for s, p, row in zip(log_probs, targets, labels, strict=True))
    assert loss.item() == pytest.approx(total + ends, rel=1e-5)


def test_pla_is_the_authors():
    """Values of ``order_the_targets_pla`` (voyazici/orderless-rnn-classification, 51f6f3e), labels ascending.

    First picture: 1 and 4 change places with what is there, 0 and 2 share the rest. Second: 2 and 3 come late, stay
    and leave 4, never emitted, the last place, where ``align_pla_in_time`` lets all three move.
    """
    emitted = torch.tensor([[1, 5, 4, 4, 5, 4, 3, 5], [1, 1, 0, 1, 1, 3, 2, 5], [2, 5, 1, 2, 1, 2, 2, 1]])
    labels = torch.tensor([[1, 1, 1, 0, 1], [0, 1, 1, 1, 1], [1, 0, 1, 0, 1]]).bool()
    log_probs = torch.full((3, 8, 6), 1 / 6).log()
    log_probs[0, 3, 0] = log_probs[1, 1, 4] = log_probs[2, 1, 4] = -0.1
    rest = [IGNORE] * 3
    expected = [[1, 2, 4, 0, 5, *rest], [1, 2, 3, 4, 5, *rest], [2, 4, 0, 5, IGNORE, *rest]]
    assert align_pla(log_probs, emitted, labels).tolist() == expected
    assert align_pla_in_time(log_probs, emitted, labels)[1].tolist()[:2] == [1, 4]


def test_pla_puts_labels_into_their_places_by_exchange_and_assigns_those_never_emitted():
    late = 0
    for seed in range(3):
        log_probs, emitted, labels = random_batch(seed, steps=9)
        targets = align_pla(log_probs, emitted, labels)
        check_shape_of_paths(targets, labels)
        for scores, tokens, path, row in zip(
            log_probs, emitted.tolist(), targets.tolist(), labels, strict=True
        ):
            expected, count = members(row), int(row.sum())
            for step, token in enumerate(tokens[:count]):
                if token in expected and tokens.index(token) == step:
                    there = expected.index(token)
                    expected[there], expected[step] = expected[step], token
            places = [step for step in range(count) if expected[step] not in tokens]
            late += sum(label in tokens[count:] and label not in tokens[:count] for label in expected)
            orders = []
            for order in permutations([expected[step] for step in places]):
                orders.append(list(expected))
                for step, label in zip(places, order, strict=True):
                    orders[-1][step] = label
            assert path[:count] in orders
            assert cost(scores, path[:count]) == pytest.approx(min(cost(scores, order) for order in orders))
    assert late > 50


def first_right_steps(path, row):
    """{step: label} of what was emitted rightly, for the first time and in time."""
    wanted = members(row)
    found = [(path.index(label), label) for label in wanted if label in path[: len(wanted)]]
    return dict(found)


def test_pla_in_time_leaves_right_labels_alone_and_costs_least_otherwise():
    stayed = 0
    for seed in range(3):
        log_probs, emitted, labels = random_batch(seed)
        targets = align_pla_in_time(log_probs, emitted, labels)
        check_shape_of_paths(targets, labels)
        for i, row in enumerate(labels):
            right = first_right_steps(emitted[i].tolist(), row)
            stayed += len(right)
            orders = [
                order
                for order in permutations(members(row))
                if all(order[step] == label for step, label in right.items())
            ]
            path = targets[i, : int(row.sum())].tolist()
            assert tuple(path) in orders
            assert cost(log_probs[i], path) == pytest.approx(min(cost(log_probs[i], o) for o in orders))
    assert stayed > 50


def test_pla_in_time_by_hand():
    """1 was emitted twice and stays where it was first; 2 came too late, so it and 0 go where they cost least."""
    uniform = torch.full((1, 6, 5), 0.2).log()
    uniform[0, 0, 2], uniform[0, 2, 0] = -0.1, -0.2
    emitted, labels = torch.tensor([[3, 1, 1, 2, 4, 4]]), torch.tensor([[True, True, True, False]])
    assert align_pla_in_time(uniform, emitted, labels).tolist() == [[2, 1, 0, 4, IGNORE, IGNORE]]
    uniform[0, 0, 1] = -0.01
    assert align_pla_in_time(uniform, emitted, labels).tolist() == [[2, 1, 0, 4, IGNORE, IGNORE]]
    assert align_mla(uniform, labels).tolist()[0][0] == 1


@pytest.mark.parametrize('steps', [1, 3])
def test_where_steps_are_too_few_the_cheapest_labels_get_them(steps):
    log_probs, emitted, labels = random_batch(steps=steps)
    mla, pla = align_mla(log_probs, labels), align_pla_in_time(log_probs, emitted, labels)
    for i, row in enumerate(labels):
        if row.sum() < steps:
            continue
        choices = list(permutations(members(row), steps))
        right = first_right_steps(emitted[i, : int(row.sum())].tolist(), row).items()
        for path, allowed in (
            (mla[i], choices),
            (pla[i], [order for order in choices if right <= dict(enumerate(order)).items()]),
        ):
            assert tuple(path.tolist()) in allowed
            least = min(cost(log_probs[i], order) for order in allowed)
            assert cost(log_probs[i], path) == pytest.approx(least)


@pytest.mark.parametrize('align', ['mla', 'pla in time'])
def test_masked_labels_are_never_targets(align):
    """The decoder does not emit a label twice, so behind its step it is dead: the loss must not meet it there."""
    generator = torch.Generator().manual_seed(1)
    _, _, labels = random_batch(1)
    # The path of a decoder that emits its own best token, each label once.
    logits = 2 * torch.randn(36, STEPS, NUM_LABELS + 1, generator=generator)
    used, emitted = torch.zeros(36, NUM_LABELS + 1, dtype=torch.bool), []
    for step in range(STEPS):
        logits[:, step] = logits[:, step].masked_fill(used, -1e9)
        emitted.append(logits[:, step].argmax(1))
        used[torch.arange(36), emitted[-1]] = emitted[-1] != END
    emitted, log_probs = torch.stack(emitted, 1), logits.log_softmax(-1)
    targets = (
        align_mla(log_probs, labels) if align == 'mla' else align_pla_in_time(log_probs, emitted, labels)
    )
    check_shape_of_paths(targets, labels)
    assert cross_entropy(log_probs.transpose(1, 2), targets, reduction='none').max() < 100


def test_scores_that_overflowed_do_not_stop_the_training():
    log_probs, emitted, labels = random_batch()
    log_probs[::2] = float('nan')
    for targets in (align_mla(log_probs, labels), align_pla_in_time(log_probs, emitted, labels)):
        check_shape_of_paths(targets, labels)
    assert not align_mla(log_probs.requires_grad_(), labels).requires_grad


@pytest.mark.parametrize('every_step', [False, True])
def test_multi_order_loss_is_that_of_the_loop(every_step):
    log_probs, emitted, labels = random_batch()
    logits = log_probs[..., :-1].clone().requires_grad_()
    before = emitted_before(path_inputs(emitted, NUM_LABELS), NUM_LABELS)
    loss = multi_order_loss(logits, labels, before, every_step)
    total = 0.0
    for scores, path, row in zip(logits.tolist(), emitted.tolist(), labels, strict=True):
        for step in range(STEPS if every_step else int(row.sum())):
            for label, score in enumerate(scores[step]):
                wanted = bool(row[label]) and label not in path[:step]
                total += math.log1p(math.exp(-score if wanted else score))
    assert loss.item() == pytest.approx(total / len(labels), rel=1e-5)
    loss.backward()
    counted = torch.arange(STEPS) < labels.sum(1, keepdim=True)
    assert ((logits.grad != 0).all(-1) == (counted | every_step)).all()
    half = multi_order_loss(logits.bfloat16(), labels, before, every_step)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(loss.item(), rel=1e-2)


def test_fused_steps():
    logits = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    expected = [[max(row[step][c] for step in range(3)) for c in range(5)] for row in logits.tolist()]
    assert fuse_steps(logits).tolist() == expected


def test_multi_order_loss_is_the_authors():
    """A value of ``CaptionGenerator.build_model`` (ayushidutta/multi-order-rnn, 900dedd)."""
    logits = torch.tensor(
        [
            [[-11, -12, -3, -4, 8], [7, -3, -21, 3, -13], [3, 3, 1, 12, 11], [-2, -14, -17, 6, 8]],
            [[6, -16, -3, 19, 8], [-6, -2, 2, 14, 16], [9, -8, -6, 0, -5], [2, 4, 1, 6, 4]],
            [[-1, 8, -3, 1, 6], [15, 5, -6, -6, 9], [11, 13, -15, -2, 4], [13, -16, -5, -5, -5]],
        ]
    ) / 10  # fmt: skip
    labels = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 1]]).bool()
    before = emitted_before(path_inputs(logits.argmax(dim=2), 5), 5)
    assert multi_order_loss(logits, labels, before).item() == pytest.approx(8.162974, abs=1e-5)
