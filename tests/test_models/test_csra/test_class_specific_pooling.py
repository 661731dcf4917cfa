"""The equations of CSRA against hand-made vectors, a naive loop and autograd."""

import math

import pytest
import torch

from mmlattn.models.csra.pooling import (
    MAX_TEMPERATURE,
    PAPER_TEMPERATURES,
    attention_maps,
    class_scores,
    inverse_norms,
    pooled_terms,
    residual_attention,
)

# A vector made with the authors' head in float64: two channels on a 2x2 map, two classes. Heads with an even
# index hold EVEN, the others ODD (rows are classes).
X = torch.tensor([[[[1, 2], [3, 4]], [[0, 1], [0, -1]]]], dtype=torch.float64)
EVEN = torch.tensor([[3, 4], [0, 2]], dtype=torch.float64)
ODD = torch.tensor([[1, 0], [1, -1]], dtype=torch.float64)


def golden_weight(num_heads):
    return torch.stack([EVEN if h % 2 == 0 else ODD for h in range(num_heads)])


def naive_logits(x, weight, temperatures, lam, normalize):
    """The paper's equations, one image, head, class and location at a time."""
    batch, _, height, width = x.shape
    logits = torch.zeros(batch, weight.shape[1], dtype=x.dtype)
    for b in range(batch):
        for h, temperature in enumerate(temperatures):
            for c, row in enumerate(weight[h]):
                norm = row.norm() if normalize else 1.0
                s = [(row @ x[b, :, i, j]).item() / norm for i in range(height) for j in range(width)]
                base = sum(s) / len(s)
                if temperature == MAX_TEMPERATURE:
                    att = max(s)
                else:
                    e = [math.exp(temperature * v) for v in s]
                    att = sum(ei * v for ei, v in zip(e, s, strict=True)) / sum(e)
                logits[b, c] += base + lam * att
    return logits


@pytest.mark.parametrize(
    ('num_heads', 'lam', 'expected'),
    [
        (1, 0.1, [1.6715932025663929, 0.04621171572600097]),
        (2, 0.5, [6.857966012831964, 3.766592484562742]),
        (4, 0.5, [13.727263673536703, 7.735668642538846]),
    ],
)
def test_golden_logits(num_heads, lam, expected):
    weight = golden_weight(num_heads)
    scores = class_scores(X, weight) * inverse_norms(weight)[..., None]
    logits = residual_attention(scores, PAPER_TEMPERATURES[num_heads], lam)
    torch.testing.assert_close(logits, torch.tensor([expected], dtype=torch.float64), rtol=0, atol=1e-12)


def test_golden_scores_attention_and_gradient():
    x = X.clone().requires_grad_()
    scores = class_scores(x, golden_weight(1)) * inverse_norms(golden_weight(1))[..., None]
    expected = torch.tensor([[[[0.6, 2.0, 1.8, 1.6], [0, 1, 0, -1]]]], dtype=torch.float64)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-12)
    for temperature, att in [
        (1, [1.7159320256639294, 0.4621171572600097]),
        (2, [1.8170432605180462, 0.7615941559557647]),
        (4, [1.8937706633557783, 0.9640275800758169]),
    ]:
        got = pooled_terms(scores, [temperature])[1]
        torch.testing.assert_close(got, torch.tensor([att], dtype=torch.float64), rtol=0, atol=1e-12)
    residual_attention(scores, [1], 0.1)[0, 0].backward()
    channel = [0.14937297880366596, 0.17816301115247374, 0.16946653661342675, 0.16299747343043358]
    channel = torch.tensor(channel, dtype=torch.float64).view(2, 2)
    torch.testing.assert_close(x.grad[0], torch.stack([channel, channel * 4 / 3]), rtol=0, atol=1e-12)


TEMPERATURES = [(1,), (99,), (1, 2, 4, 99), (99, 0.5, 99, 3), (math.inf, 7.0)]


@pytest.mark.parametrize('temperatures', TEMPERATURES, ids=str)
@pytest.mark.parametrize(('lam', 'normalize'), [(0.0, True), (0.3, True), (-1.2, False)])
def test_equals_the_naive_loop(temperatures, lam, normalize):
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    weight = torch.randn(len(temperatures), 3, 5, dtype=torch.float64, requires_grad=True)
    sentinel = [MAX_TEMPERATURE if t == math.inf else t for t in temperatures]
    expected = naive_logits(x, weight.detach(), sentinel, lam, normalize)
    scores = class_scores(x, weight)
    scale = inverse_norms(weight) if normalize else None
    for s in (scores, scores.detach()):
        logits = residual_attention(s, temperatures, lam, scale)
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('scaled', [False, True])
@pytest.mark.parametrize('temperatures', TEMPERATURES, ids=str)
def test_gradients(temperatures, scaled):
    heads = len(temperatures)
    scores = torch.randn(2, heads, 3, 6, dtype=torch.float64, requires_grad=True)
    scale = torch.rand(heads, 3, dtype=torch.float64, requires_grad=True) if scaled else None

    def pool(scores, scale):
        return residual_attention(scores, temperatures, 0.7, scale)

    assert torch.autograd.gradcheck(pool, (scores, scale))
    assert torch.autograd.gradgradcheck(pool, (scores, scale))


def test_gradients_through_the_norm():
    x = torch.randn(2, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)

    def head(x, weight):
        return residual_attention(class_scores(x, weight), [2, 99], 0.5, inverse_norms(weight))

    assert torch.autograd.gradcheck(head, (x, weight))


def test_only_the_scores_are_kept_for_backward():
    scores = torch.randn(2, 4, 3, 9, requires_grad=True)
    scale = torch.rand(4, 3, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        residual_attention(scores, [1, 2, 4, 99], 0.5, scale)
    assert kept == [scores.data_ptr(), scale.data_ptr()]


def test_maximum_is_not_a_sharp_softmax():
    """99 is a sentinel: softmax(99 s) still mixes scores that lie closer than 1/99."""
    scores = torch.tensor([0.0, 1.0, 1.005], dtype=torch.float64).view(1, 1, 1, 3)
    assert pooled_terms(scores, [99])[1].item() == 1.005
    e = math.exp(-99 * 0.005)
    mixed = (1.005 + e * 1.0) / (1 + e)  # the third is e^-99 away
    assert pooled_terms(scores, [98.9999999])[1].item() == pytest.approx(mixed, abs=1e-6)
    assert mixed < 1.004


def test_tied_maxima_pass_the_gradient_to_one_location():
    scores = torch.zeros(1, 1, 1, 4, requires_grad=True)
    residual_attention(scores, [99], 1.0).backward()
    torch.testing.assert_close(scores.grad.flatten(), torch.tensor([1.25, 0.25, 0.25, 0.25]))


def test_zero_row_scores_zero_and_spares_the_other_classes():
    weight = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]], requires_grad=True)
    logits = residual_attention(class_scores(X.float(), weight), [1], 0.5, inverse_norms(weight))
    logits.sum().backward()
    assert logits[0, 0] == 0 and logits[0, 1] > 0
    assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize('scaled', [False, True])
def test_attention_maps_are_the_mean_of_the_heads(scaled):
    scores = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    scale = 0.2 + 3 * torch.rand(3, 4, dtype=torch.float64) if scaled else None
    maps = attention_maps(scores, [1, 99, 5], scale)
    s = scores * scale[..., None] if scaled else scores
    peak = torch.nn.functional.one_hot(scores[:, 1].argmax(-1), 6)
    expected = (s[:, 0].softmax(-1) + peak + (5 * s[:, 2]).softmax(-1)) / 3
    torch.testing.assert_close(maps, expected)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 4, dtype=torch.float64))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision_scores_are_reduced_in_float32(dtype):
    scores = torch.randn(2, 2, 3, 400, dtype=torch.float64).to(dtype).requires_grad_()
    logits = residual_attention(scores, [3, 99], 0.5)
    exact = residual_attention(scores.detach().double(), [3, 99], 0.5)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), exact, rtol=1e-5, atol=1e-5)
    logits.sum().backward()
    assert scores.grad.dtype == dtype
