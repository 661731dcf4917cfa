"""Order-free targets against every order there is, and the multi-order loss against plain loops."""

import math
from itertools import permutations

import pytest
import torch
from torch.nn.functional import cross_entropy

from mmlattn.models.cnn_rnn.alignment import align_mla, align_pla, fuse_steps, multi_order_loss
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


def first_right_steps(path, row):
    """{step: label} of what was emitted rightly, for the first time and in time."""
    wanted = members(row)
    found = [(path.index(label), label) for label in wanted if label in path[: len(wanted)]]
    return dict(found)


def test_pla_leaves_right_labels_alone_and_costs_least_otherwise():
    stayed = 0
    for seed in range(3):
        log_probs, emitted, labels = random_batch(seed)
        targets = align_pla(log_probs, emitted, labels)
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


def test_pla_by_hand():
    """1 was emitted twice and stays where it was first; 2 came too late, so it and 0 go where they cost least."""
    uniform = torch.full((1, 6, 5), 0.2).log()
    uniform[0, 0, 2], uniform[0, 2, 0] = -0.1, -0.2
    emitted, labels = torch.tensor([[3, 1, 1, 2, 4, 4]]), torch.tensor([[True, True, True, False]])
    assert align_pla(uniform, emitted, labels).tolist() == [[2, 1, 0, 4, IGNORE, IGNORE]]
    uniform[0, 0, 1] = -0.01
    assert align_pla(uniform, emitted, labels).tolist() == [[2, 1, 0, 4, IGNORE, IGNORE]]
    assert align_mla(uniform, labels).tolist()[0][0] == 1


@pytest.mark.parametrize('steps', [1, 3])
def test_where_steps_are_too_few_the_cheapest_labels_get_them(steps):
    log_probs, emitted, labels = random_batch(steps=steps)
    mla, pla = align_mla(log_probs, labels), align_pla(log_probs, emitted, labels)
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


@pytest.mark.parametrize('align', ['mla', 'pla'])
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
    targets = align_mla(log_probs, labels) if align == 'mla' else align_pla(log_probs, emitted, labels)
    check_shape_of_paths(targets, labels)
    assert cross_entropy(log_probs.transpose(1, 2), targets, reduction='none').max() < 100


def test_scores_that_overflowed_do_not_stop_the_training():
    log_probs, emitted, labels = random_batch()
    log_probs[::2] = float('nan')
    for targets in (align_mla(log_probs, labels), align_pla(log_probs, emitted, labels)):
        check_shape_of_paths(targets, labels)
    assert not align_mla(log_probs.requires_grad_(), labels).requires_grad


def test_multi_order_loss_is_that_of_the_loop():
    log_probs, emitted, labels = random_batch()
    logits = log_probs[..., :-1].clone().requires_grad_()
    before = emitted_before(path_inputs(emitted, NUM_LABELS), NUM_LABELS)
    loss = multi_order_loss(logits, labels, before)
    total = 0.0
    for scores, path, row in zip(logits.tolist(), emitted.tolist(), labels, strict=True):
        for step in range(STEPS):
            for label, score in enumerate(scores[step]):
                wanted = bool(row[label]) and label not in path[:step]
                total += math.log1p(math.exp(-score if wanted else score))
    assert loss.item() == pytest.approx(total / len(labels), rel=1e-5)
    loss.backward()
    assert (logits.grad != 0).all()
    half = multi_order_loss(logits.bfloat16(), labels, before)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(loss.item(), rel=1e-2)


def test_fused_steps():
    logits = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    expected = [[max(row[step][c] for step in range(3)) for c in range(5)] for row in logits.tolist()]
    assert fuse_steps(logits).tolist() == expected
