"""The recurrence: which step sees what, and what it returns."""

import pytest
import torch

from mmlattn.models.layers.lstm_cell import LSTMCell
from mmlattn.models.st_lstm.recurrence import STLSTMOutput, discover_regions

WHOLE = torch.tensor([[1.0, 1.0, 0.0, 0.0]])


class Counter(torch.nn.Module):
    """A cell whose hidden state is 10 h + x: the digits tell the inputs in order."""

    def start(self, x):
        return torch.zeros_like(x), torch.zeros_like(x)

    def forward(self, x, state):
        h = 10 * state[0] + x
        return h, state[1]


@pytest.mark.parametrize('num_steps', [1, 2, 4])
def test_order_of_looks_and_states(num_steps):
    """Look k sees the region found by look k - 1; the last look places no further region."""
    looks, places = [], []

    def look(theta):
        looks.append(theta[0].tolist())
        return torch.full((1, 1), float(len(looks)))

    def locate(z, k):
        places.append((z.item(), k))
        return torch.full((1, 4), float(10 + k))

    steps, theta = discover_regions(WHOLE, num_steps, look, lambda f: f, Counter(), lambda h: -h, locate)
    states = [int('123456789'[: k + 1]) for k in range(num_steps + 1)]
    assert looks == [[1, 1, 0, 0]] + [[10 + k] * 4 for k in range(num_steps)]
    assert places == [(-states[k], k) for k in range(num_steps)]
    assert steps.shape == (1, num_steps + 1, 1) and steps.flatten().tolist() == [-s for s in states]
    assert theta.shape == (1, num_steps, 4) and theta[0].tolist() == looks[1:]


def test_output_is_a_tuple_that_stock_heads_read():
    fields = ('step_feats', 'theta', 'anchors', 'anchor_mask', 'pooled')
    assert STLSTMOutput._fields == fields
    out = STLSTMOutput(*fields)
    assert isinstance(out, tuple) and out[-1] == 'pooled'


def test_with_the_cell_of_the_paper_step_0_still_counts():
    """The first look gives no score, but what it saw stays in the state."""
    torch.manual_seed(0)
    cell = LSTMCell(1, 2).double()
    whole = WHOLE.double()

    def run(first_look):
        looks = iter([first_look, 1.0, 1.0])
        look = lambda theta: torch.full((1, 1), next(looks), dtype=torch.float64)  # noqa: E731
        return discover_regions(whole, 2, look, lambda f: f, cell, lambda h: h, lambda z, k: whole)[0]

    a, b = run(0.5), run(1.0)
    assert (a - b).abs().amin(-1).gt(1e-4).all()
