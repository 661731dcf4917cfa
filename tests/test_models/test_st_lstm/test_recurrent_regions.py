"""The recurrence: which step sees what, and what it returns."""

import copy
import pickle

import pytest
import torch

from mmlattn.models import STLSTM
from mmlattn.models.st_lstm.neck import STLSTMOutput

# One number per look, state and description.
NARROW = dict(region_embed='gap', region_pool=None, region_size=1, out_dims=1, include_global=True)


class Counter(torch.nn.Module):
    """A cell whose hidden state is 10 h + x: the digits tell the inputs in order."""

    def start(self, x):
        return x.new_zeros(len(x), 1), x.new_zeros(len(x), 1)

    def forward(self, x, state):
        h = 10 * state[0] + x
        return h, state[1]


@pytest.mark.parametrize('num_steps', [1, 2, 4])
def test_order_of_looks_and_states(num_steps, monkeypatch):
    """Look k sees the region found by look k - 1; the last look places no further region."""
    looks, places = [], []

    def look(x, theta, size, align_corners):
        looks.append(theta[0].tolist())
        return torch.full((1, 1), float(len(looks)))

    def locate(raw, anchor, loc_param, scale_range):
        places.append((raw.tolist(), anchor.tolist()))
        return torch.full((1, 4), float(9 + len(places)))

    monkeypatch.setattr('mmlattn.models.st_lstm.neck.mean_of_regions', look)
    monkeypatch.setattr('mmlattn.models.st_lstm.neck.place_region', locate)
    neck = STLSTM(1, num_steps, hidden_dims=1, **NARROW)
    neck.cell = Counter()
    for layer, factor in ((neck.z, 2), (neck.loc, -1)):
        torch.nn.init.constant_(layer.weight, factor)
        torch.nn.init.zeros_(layer.bias)
    steps, theta, *_ = neck(torch.zeros(1, 1, 3, 3))
    states = [int('123456789'[: k + 1]) for k in range(num_steps + 1)]
    assert looks == [[1, 1, 0, 0]] + [[10 + k] * 4 for k in range(num_steps)]
    assert places == [([[-2 * states[k]] * 4], neck.anchors[k].tolist()) for k in range(num_steps)]
    assert steps.shape == (1, num_steps + 1, 1) and steps.flatten().tolist() == [2 * s for s in states]
    assert theta.shape == (1, num_steps, 4) and theta[0].tolist() == looks[1:]


def test_output_is_a_tuple_that_stock_heads_read():
    fields = ('step_feats', 'theta', 'anchors', 'anchor_mask', 'pooled')
    assert STLSTMOutput._fields == fields
    out = STLSTMOutput(*fields)
    assert isinstance(out, tuple) and out[-1] == 'pooled'
    # As mmpretrain's FeatureExtractor makes it anew, as mmengine casts it, and copies of it.
    for again in (
        type(out)(list(fields)),
        type(out)(*out),
        copy.deepcopy(out),
        pickle.loads(pickle.dumps(out)),
    ):
        assert again == out and type(again) is STLSTMOutput
    assert out._replace(theta='other').theta == 'other'


def test_with_the_cell_of_the_paper_step_0_still_counts(monkeypatch):
    """The first look gives no score, but what it saw stays in the state."""
    torch.manual_seed(0)
    neck = STLSTM(1, 2, hidden_dims=2, **(NARROW | dict(out_dims=2))).double()
    neck.z.weight.data.copy_(torch.eye(2))
    # relu hides no part of the state.
    torch.nn.init.ones_(neck.z.bias)

    def run(first_look):
        looks = iter([first_look, 1.0, 1.0])
        monkeypatch.setattr(
            'mmlattn.models.st_lstm.neck.mean_of_regions',
            lambda x, *_: x.new_full((1, 1), next(looks)),
        )
        return neck(torch.zeros(1, 1, 3, 3, dtype=torch.float64)).step_feats

    a, b = run(0.5), run(1.0)
    assert (a - b).abs().amin(-1).gt(1e-4).all()
