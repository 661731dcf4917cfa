"""The paper's LSTM cell, h = o * c, and the standard one."""

import pytest
import torch
from reference.st_lstm import lstm
from torch import nn

from mmlattn.models.layers.lstm_cell import LSTMCell


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


GOLDEN = {
    'identity': ([0.407031, 0.931556, 1.616149], [0.556770, 1.159666, 1.850365]),
    'tanh': ([0.369606, 0.650535, 0.788766], None),
}


@pytest.mark.parametrize('cell_out', GOLDEN)
def test_golden_scalar(cell_out):
    cell = LSTMCell(1, 1, cell_out)
    for name, parameter in cell.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith('bias') else 1.0)
    h = c = torch.zeros(1, 1)
    golden_h, golden_c = GOLDEN[cell_out]
    for step, expected in enumerate(golden_h):
        h, c = cell(torch.ones(1, 1), (h, c))
        assert h.item() == pytest.approx(expected, abs=1e-6)
        if golden_c:
            assert c.item() == pytest.approx(golden_c[step], abs=1e-6)


def test_parameters_and_default():
    shapes = {name: tuple(p.shape) for name, p in LSTMCell(3, 4).named_parameters()}
    assert shapes == {'input.weight': (16, 3), 'input.bias': (16,), 'hidden.weight': (16, 4)}


def test_tanh_is_the_cell_of_torch():
    ours, theirs = LSTMCell(3, 4, cell_out='tanh').double(), nn.LSTMCell(3, 4).double()
    with torch.no_grad():
        theirs.weight_ih.copy_(ours.input.weight)
        theirs.bias_ih.copy_(ours.input.bias)
        theirs.weight_hh.copy_(ours.hidden.weight)
        theirs.bias_hh.zero_()
    state = twin = (torch.randn(2, 4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64))
    for _ in range(3):
        x = torch.randn(2, 3, dtype=torch.float64)
        state, twin = ours(x, state), theirs(x, twin)
        torch.testing.assert_close(state, twin, rtol=0, atol=1e-12)
    grads = torch.autograd.grad(state[0].square().sum(), list(ours.parameters()))
    expected = torch.autograd.grad(
        twin[0].square().sum(), [theirs.weight_ih, theirs.bias_ih, theirs.weight_hh]
    )
    names = [name for name, _ in ours.named_parameters()]
    by_name = dict(zip(names, grads, strict=True))
    for name, grad in zip(('input.weight', 'input.bias', 'hidden.weight'), expected, strict=True):
        torch.testing.assert_close(by_name[name], grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize('cell_out', ['identity', 'tanh'])
def test_equals_the_equations_and_has_their_gradients(cell_out):
    cell = LSTMCell(3, 4, cell_out).double()
    x, h, c = (torch.randn(2, n, dtype=torch.float64, requires_grad=True) for n in (3, 4, 4))
    weights = dict(cell.named_parameters())
    got = cell(x, (h, c))
    for b in range(2):
        expected = lstm(x[b], h[b], c[b], weights, cell_out == 'tanh')
        torch.testing.assert_close((got[0][b], got[1][b]), expected, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x, h, c, *_: cell(x, (h, c)), (x, h, c, *cell.parameters()))


@pytest.mark.parametrize('value', [1e4, -1e4])
def test_extreme_input_is_finite(value):
    """The state grows by one a step at most, and the identity output with it."""
    cell = LSTMCell(2, 3)
    state = (torch.zeros(1, 3), torch.zeros(1, 3))
    x = torch.full((1, 2), value, requires_grad=True)
    for step in range(1, 5):
        state = cell(x, state)
        assert state[1].abs().max() <= step and state[0].abs().max() <= step
    state[0].sum().backward()
    assert x.grad.isfinite().all()


def test_unknown_outputs_are_named():
    with pytest.raises(ValueError, match="'relu'"):
        LSTMCell(2, 3, 'relu')


def test_state_adds_up_in_single_precision_under_autocast():
    cell, x = LSTMCell(2, 3), torch.randn(2, 2).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        state = cell(x, cell.start(x))
        state = cell(x, state)
    assert [part.dtype for part in state] == [torch.float32] * 2
    assert not torch.equal(state[1], state[1].bfloat16().float())
    expected = cell(x.float(), cell(x.float(), cell.start(x.float())))
    torch.testing.assert_close(state, expected, rtol=0.02, atol=0.02)
