"""Losses that weigh classes by how frequent they are: against loops, closed forms and the sampling they answer to."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from mmlattn.engine.samplers.class_aware import draw_by_class
from mmlattn.models import DistributionBalancedLoss, MaskedBCELoss
from mmlattn.models.losses.class_counts import ClassCounts, balanced_pos_weight
from mmlattn.models.losses.distribution_balanced import (
    class_bias,
    negative_tolerant_bce,
    rebalancing_weights,
)
from mmlattn.utils.errors import UserError

PRESENT, KNOWN = torch.tensor([40, 3, 11, 1]), torch.tensor([60, 50, 60, 10])
COUNTS = torch.stack([PRESENT, KNOWN])


def counted(loss):
    loss.class_counts.set_counts(COUNTS)
    return loss


def slow_loss(scores, target, alpha, beta, mu, scale, kappa, gamma):
    """Sum over known labels, by the paper's formulas, one number at a time."""
    total = 0.0
    for z_row, y_row in zip(scores.tolist(), target.tolist(), strict=True):
        p_instance = sum(max(y, 0) / n for y, n in zip(y_row, PRESENT.tolist(), strict=True))
        for z, y, n, known in zip(z_row, y_row, PRESENT.tolist(), KNOWN.tolist(), strict=True):
            if y < 0:
                continue
            r = (1 / n) / p_instance if p_instance else math.inf
            weight = alpha + 1 / (1 + math.exp(-beta * (r - mu)))
            z_shifted = z - kappa * math.log(known / n - 1)
            p, q = 1 / (1 + math.exp(-z_shifted)), 1 / (1 + math.exp(scale * z_shifted))
            present, absent = -((1 - p) ** gamma) * math.log(p), -((1 - q) ** gamma) * math.log(q)
            total += weight * (y * present + (1 - y) / scale * absent)
    return total


# Several labels, one, none, unknown ones, soft ones.
TARGET = torch.tensor(
    [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [1, -1, 0, -1], [0, 1, -1, 1], [0.3, 0, 0.7, 0]]
)


@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(alpha=0.3, beta=4.0, mu=0.5, neg_scale=5.0, kappa=0.1, gamma=2.0),
        dict(neg_scale=0.5, kappa=0.0, gamma=0.5, mu=-0.1),
    ],
)
def test_is_the_papers_formula(settings):
    scores = torch.randn(TARGET.shape, generator=torch.Generator().manual_seed(0)) * 3
    loss = counted(DistributionBalancedLoss(**settings))
    named = dict(alpha=0.1, beta=10.0, mu=0.2, neg_scale=2.0, kappa=0.05, gamma=0.0) | settings
    named['scale'] = named.pop('neg_scale')
    expected = slow_loss(scores, TARGET, **named)
    assert loss(scores, TARGET, avg_factor=len(scores)).item() == pytest.approx(expected / 6, rel=1e-5)
    assert loss(scores, TARGET, reduction_override='sum').item() == pytest.approx(expected, rel=1e-5)


def test_without_regularisation_and_slope_it_is_cross_entropy():
    scores, target = torch.randn(5, 4), (torch.rand(5, 4) < 0.5).float()
    loss = counted(DistributionBalancedLoss(alpha=0.5, beta=0.0, neg_scale=1.0, kappa=0.0))
    assert torch.allclose(loss(scores, target), binary_cross_entropy_with_logits(scores, target))


def test_weights_undo_how_often_class_aware_sampling_shows_a_picture():
    """Pictures come in proportion to P_I, and r makes each class's pictures count alike."""
    labels = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 1, 1]])
    counts = labels.sum(dim=0)
    pictures = [row.nonzero().flatten().numpy() for row in labels.T]
    drawn = draw_by_class(pictures, 60_000, np.random.default_rng(0))
    frequency = torch.tensor(np.bincount(drawn, minlength=7) / 60_000)
    p_instance = (labels / counts).sum(dim=1) / 3
    assert torch.allclose(frequency, p_instance.double(), atol=1e-3)
    # With this beta the smoothed weight is r but for its offset, so differences of weights are those of r.
    slope = 1e-3
    weights = rebalancing_weights(labels, counts, alpha=-0.5, beta=slope, mu=0.0) * 4 / slope
    expected = (1 / counts / 3)[None].expand_as(labels)
    assert torch.allclose(weights.double() * frequency[:, None], expected.double(), atol=2e-3)


def test_bias_is_the_prior_and_finite_for_all_and_none():
    bias = class_bias(PRESENT, KNOWN, kappa=1.0)
    assert torch.allclose(torch.sigmoid(-bias), PRESENT / KNOWN)
    none, everyone, nothing_known = class_bias(torch.tensor([0, 9, 0]), torch.tensor([9, 9, 0]), kappa=1.0)
    assert none == pytest.approx(math.log(17)) and everyone == -none and nothing_known.item() == 0


@pytest.mark.parametrize('gamma', [0.0, 2.0])
def test_gradients(gamma):
    scores = torch.randn(3, 4, dtype=torch.double, requires_grad=True)
    target = torch.rand(3, 4, dtype=torch.double)
    assert torch.autograd.gradcheck(
        lambda z: negative_tolerant_bce(z, target, class_bias(PRESENT, KNOWN), 2.0, gamma), scores
    )


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
@pytest.mark.parametrize(
    'loss', [DistributionBalancedLoss(gamma=2.0), DistributionBalancedLoss(), MaskedBCELoss('balanced')]
)
def test_half_precision_is_finite_and_equal(loss, dtype):
    values = torch.tensor([-6e4, -30, -8, 0, 8, 30, 6e4]).to(dtype)
    scores = values[:, None].repeat(1, 4).requires_grad_()
    target = torch.tensor([1.0, 0, 0.5, -1]).expand(7, 4)
    counted(loss)
    value = loss(scores, target)
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite()
    assert value == loss(scores.detach().float(), target)
    assert scores.grad.isfinite().all() and (scores.grad[:, 3] == 0).all()


def test_unknown_labels_change_nothing():
    loss = counted(DistributionBalancedLoss())
    scores = torch.randn(TARGET.shape)
    others = torch.where(TARGET < 0, scores + 100, scores)
    assert loss(scores, TARGET) == loss(others, TARGET)
    known = counted(MaskedBCELoss('balanced'))
    assert known(scores, TARGET) == known(others, TARGET)


def test_balanced_weights_make_both_sides_equal_up_to_the_cap():
    weights = balanced_pos_weight(COUNTS, most=1000)
    assert torch.allclose(weights * PRESENT, (KNOWN - PRESENT).float())
    assert balanced_pos_weight(COUNTS, most=5).tolist() == pytest.approx([0.5, 5, 49 / 11, 5])
    # No example at all, no counterexample, nothing known.
    extremes = torch.tensor([[0, 9, 0], [9, 9, 0]])
    assert balanced_pos_weight(extremes, most=4).tolist() == [4, 0.25, 0.25]


def test_balanced_cross_entropy_is_that_of_the_list():
    scores, target = torch.randn(6, 4), TARGET.clamp(min=0)
    balanced = counted(MaskedBCELoss(pos_weight='balanced', max_pos_weight=5))
    expected = binary_cross_entropy_with_logits(scores, target, pos_weight=balanced_pos_weight(COUNTS, 5))
    assert torch.allclose(balanced(scores, target), expected)
    assert '2 of 4 classes are held at max_pos_weight=5' in balanced.describe_counts()


@pytest.mark.parametrize('make', [DistributionBalancedLoss, lambda: MaskedBCELoss('balanced')])
def test_counts_travel_with_the_weights(make):
    saved = copy.deepcopy(counted(make())).state_dict()
    fresh = make()
    with pytest.raises(UserError, match=r'nobody has counted yet: add custom_hooks=.*LabelFrequencyHook'):
        fresh(torch.zeros(1, 4), torch.zeros(1, 4))
    fresh.load_state_dict(saved)
    scores = torch.randn(TARGET.shape)
    assert fresh(scores, TARGET) == counted(make())(scores, TARGET)
    fresh.load_state_dict({})  # of a plain loss
    assert fresh.class_counts.counted and torch.equal(fresh.class_counts.counts, COUNTS)
    other = make()
    other.class_counts.reserve(7)
    other.load_state_dict(saved)  # of other data: a network that is trained further
    assert not other.class_counts.counted and other.class_counts.counts.shape == (2, 7)
    with pytest.raises(UserError, match='counts of 4 classes, the head scores 5'):
        fresh(torch.zeros(1, 5), torch.zeros(1, 5))
    # Counts that were loaded before the number of classes was known.
    fresh.class_counts.set_counts(torch.tensor([[1, 2, 3, 4, 5], [9] * 5]))
    assert fresh(torch.zeros(1, 5), torch.zeros(1, 5)) > 0


def test_what_is_not_counted_is_not_saved():
    saved = ClassCounts()
    saved.reserve(4)
    fresh = ClassCounts()
    fresh.load_state_dict(saved.state_dict())
    assert not fresh.counted
    assert 'class_counts.counts' not in MaskedBCELoss(2.0).state_dict()


@pytest.mark.parametrize(
    ('cls', 'settings', 'message'),
    [
        (DistributionBalancedLoss, dict(neg_scale=0), 'neg_scale must be above 0'),
        (DistributionBalancedLoss, dict(alpha=-1), 'alpha must be a finite number of 0 or more'),
        (MaskedBCELoss, dict(pos_weight='auto'), "pos_weight must be 'balanced', a number or a list"),
        (MaskedBCELoss, dict(pos_weight='balanced', max_pos_weight=0.5), 'max_pos_weight must be'),
    ],
)
def test_refused_settings(cls, settings, message):
    with pytest.raises(UserError, match=message):
        cls(**settings)
