"""Probability of the true class and the hinges between scales: by hand, against loops, and their gradients."""

import pytest
import reference.racnn as reference
import torch

from mmlattn.models import PairwiseRankLoss
from mmlattn.models.racnn.ranking import rank_hinges, true_class_probs


def test_true_class_probs_of_labels_and_mixtures():
    torch.manual_seed(0)
    scores = 5 * torch.randn(6, 4, dtype=torch.float64)
    labels, shares = torch.tensor([0, 3, 1, 1, 2, 0]), torch.rand(6, 4, dtype=torch.float64)
    shares /= shares.sum(1, keepdim=True)
    for target in (labels, shares):
        expected = [
            reference.true_class_probability(z, t.numpy())
            for z, t in zip(scores.tolist(), target, strict=True)
        ]
        torch.testing.assert_close(true_class_probs(scores, target), scores.new_tensor(expected))
    hot = torch.nn.functional.one_hot(labels, 4)
    torch.testing.assert_close(true_class_probs(scores, hot), true_class_probs(scores, labels))
    half = true_class_probs(scores.half(), labels)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, true_class_probs(scores.half().float(), labels))


def test_probabilities_and_no_raw_scores():
    """Scores of 1000 and more, which a hinge on raw scores would add up."""
    scores = torch.tensor([[1000.0, 999.0], [0.0, 1000.0]])
    got = true_class_probs(scores, torch.tensor([0, 0]))
    torch.testing.assert_close(got, torch.tensor([0.7310586, 0.0]))


def test_golden_gradients_with_both_hinges_active():
    probs = torch.tensor([[0.6, 0.5, 0.3]], dtype=torch.float64, requires_grad=True)
    hinges = rank_hinges(probs)
    torch.testing.assert_close(hinges, probs.new_tensor([[0.15, 0.25]]))
    hinges.sum().backward()
    torch.testing.assert_close(probs.grad, probs.new_tensor([[0.0, -1.0, -1.0]]))


def test_a_coarse_scale_that_is_too_sure_cannot_be_outdone():
    """At least p1 - 0.95 remains."""
    probs = torch.tensor([[0.98, 1.0], [0.95, 1.0], [0.4, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(rank_hinges(probs)[:, 0], probs.new_tensor([0.03, 0.0, 0.0]))


@pytest.mark.parametrize('margin', [0.05, 0.3, 0.0])
def test_hinges_and_gradients_are_those_of_the_loop(margin):
    torch.manual_seed(0)
    probs = torch.rand(20, 4, dtype=torch.float64, requires_grad=True)
    hinges = rank_hinges(probs, margin)
    hinges.sum().backward()
    pairs = [reference.rank_hinges(row, margin) for row in probs.tolist()]
    torch.testing.assert_close(hinges, probs.new_tensor([values for values, _ in pairs]))
    torch.testing.assert_close(probs.grad, probs.new_tensor([gradient for _, gradient in pairs]))
    assert rank_hinges(probs[:, :1]).shape == (20, 0)


def test_the_loss_is_the_weighted_mean_of_the_loop():
    torch.manual_seed(0)
    probs = torch.rand(7, 3, dtype=torch.float64, requires_grad=True)
    loss = PairwiseRankLoss(0.2, loss_weight=1.5)(probs)
    loss.backward()
    pairs = [reference.rank_hinges(row, 0.2) for row in probs.tolist()]
    assert loss.item() == pytest.approx(1.5 / 7 * sum(sum(values) for values, _ in pairs))
    torch.testing.assert_close(probs.grad, 1.5 / 7 * probs.new_tensor([gradient for _, gradient in pairs]))


def test_defaults_of_the_loss():
    """Margin 0.05, mean over pictures of the sum over pairs, coarser scales constant."""
    probs = torch.tensor([[0.5, 0.5, 0.4], [0.1, 0.2, 0.9]], requires_grad=True)
    loss = PairwiseRankLoss()(probs)
    torch.testing.assert_close(loss, torch.tensor((0.05 + 0.15) / 2))
    loss.backward()
    torch.testing.assert_close(probs.grad, torch.tensor([[0.0, -0.5, -0.5], [0.0, 0.0, 0.0]]))


@pytest.mark.parametrize('wrong', [dict(margin='wide'), dict(loss_weight=-1.0)], ids=str)
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PairwiseRankLoss(**wrong)
