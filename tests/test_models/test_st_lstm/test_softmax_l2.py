"""The softmax-L2 loss of each image as a pure function."""

import pytest
import torch
from reference.st_lstm import softmax_l2 as reference

from mmlattn.models.st_lstm.losses import softmax_l2


def test_golden():
    scores = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64)
    p = torch.tensor([0.643914, 0.236883, 0.087144, 0.032059], dtype=torch.float64)
    torch.testing.assert_close(scores.softmax(1)[0], p, rtol=0, atol=1e-6)
    loss = softmax_l2(scores, torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64))
    assert loss.shape == (1,) and loss.item() == pytest.approx(0.098564, abs=1e-6)


def test_equals_the_loop_row_by_row():
    torch.manual_seed(0)
    scores = torch.randn(6, 5, dtype=torch.float64)
    target = (torch.rand(6, 5) > 0.5).double()
    target[2] = 0
    target[4] = torch.tensor([0.5, 0, 2, 0.25, 0])
    got = softmax_l2(scores, target)
    expected = [reference(s[None], y[None]) for s, y in zip(scores, target, strict=True)]
    torch.testing.assert_close(got, torch.stack(expected), rtol=0, atol=1e-12)
    assert got[2] == 0


def test_gradients():
    scores = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0.2, 0.0, 0.7]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: softmax_l2(s, target), scores)
    grad = torch.autograd.grad(softmax_l2(scores, target).sum(), scores)[0]
    assert (grad[1] == 0).all() and (grad[[0, 2, 3]] != 0).any(1).all()


@pytest.mark.parametrize('target', [[[1, 0, 0]], [[0, 1, 1]], [[0, 0, 0]]], ids=str)
def test_extreme_scores_are_finite(target):
    scores = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = softmax_l2(scores, torch.tensor(target).float())
    loss.sum().backward()
    assert loss.isfinite().all() and scores.grad.isfinite().all()
    # All mass is on the first class.
    assert loss.item() == {(1, 0, 0): 0, (0, 1, 1): 1.5, (0, 0, 0): 0}[tuple(target[0])]


def test_computes_in_single_precision_under_autocast():
    torch.manual_seed(0)
    scores, target = torch.randn(2, 4), torch.eye(4)[:2]
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(softmax_l2(scores, target), softmax_l2(scores, target))
        low = softmax_l2(scores.bfloat16(), target)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, softmax_l2(scores.bfloat16().float(), target))
