"""Fusing the scores of several looks against the definitions, loops and autograd."""

import math

import pytest
import torch
from reference.st_lstm import fused
from torch import nn
from torch.nn import functional as F

from mmlattn.models.layers.score_fusion import fuse_scores, fusion_weights, one_hot_peak

HOW = ['max', 'lse', 'mean', 'noisy_or']


@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('steps', [1, 2, 5])
def test_equals_the_loop(how, steps):
    torch.manual_seed(steps)
    scores = torch.randn(3, steps, 4, dtype=torch.float64, requires_grad=True)
    got, expected = fuse_scores(scores, how), fused(scores, how)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    (grad,) = torch.autograd.grad(got.sum(), scores)
    (expected_grad,) = torch.autograd.grad(expected.sum(), scores)
    torch.testing.assert_close(grad, expected_grad, rtol=0, atol=1e-12)
    if steps == 1:
        torch.testing.assert_close(got, scores[:, 0], rtol=0, atol=1e-12)
    weights = fusion_weights(scores, how)
    share = expected_grad / expected_grad.sum(1, keepdim=True)
    torch.testing.assert_close(weights, share, rtol=0, atol=1e-12)


def test_definitions():
    scores = torch.tensor([[[1.0], [-2.0], [0.5]]], dtype=torch.float64)
    p = [1 / (1 + math.exp(-s)) for s in (1.0, -2.0, 0.5)]
    seen = 1 - (1 - p[0]) * (1 - p[1]) * (1 - p[2])
    assert fuse_scores(scores, 'noisy_or').sigmoid().item() == pytest.approx(seen, abs=1e-12)
    smooth = math.log((math.exp(1) + math.exp(-2) + math.exp(0.5)) / 3)
    assert fuse_scores(scores, 'lse').item() == pytest.approx(smooth, abs=1e-12)
    assert fuse_scores(scores, 'mean').item() == pytest.approx(-0.5 / 3, abs=1e-12)
    assert fuse_scores(scores).item() == 1


@pytest.mark.parametrize('how', HOW)
def test_gradients(how):
    torch.manual_seed(0)
    scores = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: fuse_scores(s, how), scores)


@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize(
    'columns', [(1e4, 1e4), (-1e4, -1e4), (1e4, -1e4), (-40.0, -60.0), (-9.0, -10.0), (40.0, 3.0), (0.0, 0.0)]
)
def test_extreme_scores_are_finite(how, columns, dtype):
    """Values exact by the two highest terms; gradients stay finite, and are passed on."""
    scores = torch.tensor(columns, dtype=dtype).view(1, 2, 1).requires_grad_()
    out = fuse_scores(scores, how)
    out.sum().backward()
    high, low = max(columns), min(columns)
    exact = {
        'max': high,
        'mean': (high + low) / 2,
        'lse': high + math.log1p(math.exp(low - high)) - math.log(2),
        'noisy_or': _noisy_or(high, low),
    }[how]
    precision = 1e-5 if dtype == torch.float32 else 1e-12
    assert out.item() == pytest.approx(exact, rel=precision, abs=precision)
    assert scores.grad.isfinite().all() and scores.grad.abs().sum() > 0
    weights = fusion_weights(scores.detach(), how)
    assert weights.isfinite().all() and weights.sum().item() == pytest.approx(1, abs=1e-5)


def _noisy_or(high, low):
    """log(expm1(softplus + softplus)), by its leading terms where exp leaves the range of doubles."""
    if high > 500:
        return max(high, 0) + max(low, 0)
    if high < -500:
        return high + math.log1p(math.exp(low - high))
    total = math.log1p(math.exp(high)) + (math.log1p(math.exp(low)))
    return math.log(math.expm1(total))


def test_the_first_of_equals_decides_a_maximum():
    scores = torch.tensor([[[1.0, 2.0], [3.0, 2.0], [3.0, 2.0]]])
    assert fusion_weights(scores, 'max').tolist() == [[[0, 1], [1, 0], [0, 0]]]


def test_weights_carry_no_gradient_of_their_own_shape():
    """They describe a decision: equal looks share it for the smooth ways."""
    scores = torch.zeros(2, 4, 3)
    for how in ('lse', 'mean', 'noisy_or'):
        torch.testing.assert_close(fusion_weights(scores, how), torch.full((2, 4, 3), 0.25))


@pytest.mark.parametrize('how', HOW)
def test_single_precision_under_autocast(how):
    torch.manual_seed(0)
    scores = torch.randn(2, 3, 4).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        out = fuse_scores(scores, how)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, fuse_scores(scores.float(), how), rtol=1e-6, atol=1e-6)


class Peaks(nn.Module):
    def forward(self, x):
        return fusion_weights(x, 'max'), one_hot_peak(x)


@pytest.mark.export
@pytest.mark.parametrize('dynamo', [False, True])
def test_a_file_marks_the_maximum_of_any_number(tmp_path, dynamo):
    pytest.importorskip('onnxscript')
    path, sizes = str(tmp_path / 'peaks.onnx'), {1: 'looks', 2: 'places'}
    free = dict(dynamic_shapes=dict(x=sizes)) if dynamo else dict(dynamic_axes=dict(x=sizes))
    torch.onnx.export(
        Peaks(), (torch.randn(2, 5, 4),), path, input_names=['x'], dynamo=dynamo, opset_version=18, **free
    )
    session = pytest.importorskip('onnxruntime').InferenceSession(path, providers=['CPUExecutionProvider'])
    for shape in ((2, 5, 4), (2, 9, 7), (2, 2, 3)):
        x = torch.randn(shape)
        got = [torch.from_numpy(out) for out in session.run(None, {'x': x.numpy()})]
        looks, places = (F.one_hot(x.argmax(dim=axis), shape[axis]).float() for axis in (1, 2))
        assert torch.equal(got[0], looks.movedim(-1, 1)) and torch.equal(got[1], places)
