"""SoftmaxL2Loss as a head calls it: empty rows, its own divisor, weights and reductions."""

import pytest
import torch
from reference.st_lstm import softmax_l2

from mmlattn.models import SoftmaxL2Loss

GOLDEN_SCORES = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64)
GOLDEN_TARGET = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)


def batch():
    """Six rows: multi-hot, two of them empty, one soft."""
    torch.manual_seed(0)
    scores = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    target = torch.tensor(
        [[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0.2, 0, 0.7, 0]]
    ).double()
    return scores, target


@pytest.mark.parametrize('avg_factor', [None, 1, 6, 100.0])
def test_mean_over_labelled_rows_whatever_avg_factor_says(avg_factor):
    golden = SoftmaxL2Loss()(GOLDEN_SCORES, GOLDEN_TARGET, avg_factor=avg_factor)
    assert golden.shape == () and golden.item() == pytest.approx(0.098564, abs=1e-6)
    scores, target = batch()
    loss = SoftmaxL2Loss(loss_weight=3.0)(scores, target, avg_factor=avg_factor)
    expected = 3 * softmax_l2(scores, target)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    grad, expected_grad = (torch.autograd.grad(x, scores)[0] for x in (loss, expected))
    torch.testing.assert_close(grad, expected_grad, rtol=0, atol=1e-12)
    assert grad[[1, 4]].eq(0).all() and grad[[0, 2, 3, 5]].ne(0).any(1).all()


def test_empty_rows_change_nothing():
    scores, target = batch()
    kept = target.sum(1) > 0
    loss = SoftmaxL2Loss()
    torch.testing.assert_close(loss(scores, target), loss(scores[kept], target[kept]))


def test_batch_without_labels_is_0_and_goes_backward():
    scores, target = batch()
    loss = SoftmaxL2Loss()(scores, target * 0, avg_factor=6)
    loss.backward()
    assert loss.item() == 0 and scores.grad.eq(0).all()


def test_reductions_and_weights():
    scores, target = batch()
    rows = torch.stack([softmax_l2(s[None], y[None]) for s, y in zip(scores, target, strict=True)])
    loss = SoftmaxL2Loss(loss_weight=0.5)
    torch.testing.assert_close(loss(scores, target, reduction_override='none'), rows / 2)
    torch.testing.assert_close(loss(scores, target, reduction_override='sum'), rows.sum() / 2)
    torch.testing.assert_close(loss(scores, target, reduction_override='mean'), rows.sum() / 4 / 2)
    torch.testing.assert_close(SoftmaxL2Loss('sum')(scores, target), rows.sum())
    torch.testing.assert_close(SoftmaxL2Loss('none')(scores, target), rows)
    weight = torch.tensor([1, 2, 0, 0.5, 3, 1.5]).double()
    torch.testing.assert_close(loss(scores, target, weight, reduction_override='none'), rows * weight / 2)
    torch.testing.assert_close(
        loss(scores, target, weight, reduction_override='sum'), (rows * weight).sum() / 2
    )


def test_gradients():
    scores, target = batch()
    assert torch.autograd.gradcheck(lambda s: SoftmaxL2Loss()(s, target), scores)


def test_integer_and_low_precision_input():
    scores, target = batch()
    low = scores.detach().bfloat16()
    expected = SoftmaxL2Loss()(low.float(), target.float())
    with torch.autocast('cpu', torch.bfloat16):
        loss = SoftmaxL2Loss()(low, target.float())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)
    whole = (target > 0).long()
    torch.testing.assert_close(SoftmaxL2Loss()(scores, whole), softmax_l2(scores, whole.double()))


@pytest.mark.parametrize(
    ('function', 'said'),
    [
        (lambda: SoftmaxL2Loss('average'), "'average'"),
        (lambda: SoftmaxL2Loss(loss_weight=float('nan')), 'loss_weight.*nan'),
        (lambda: SoftmaxL2Loss()(torch.zeros(2, 3), torch.zeros(2, 4)), r'\(2, 3\).*\(2, 4\)'),
        (lambda: SoftmaxL2Loss()(torch.zeros(2, 3), torch.zeros(2).long()), r'\(2,\)'),
        (lambda: SoftmaxL2Loss()(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3)), r'\(3,\)'),
        (lambda: SoftmaxL2Loss()(torch.zeros(2, 3), torch.zeros(2, 3), reduction_override='max'), "'max'"),
    ],
)
def test_wrong_input_is_named(function, said):
    with pytest.raises(ValueError, match=said):
        function()
