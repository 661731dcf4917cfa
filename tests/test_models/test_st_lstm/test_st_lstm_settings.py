"""Weights of ST-LSTM know with which settings and numbers they were trained."""

import math

import pytest
import torch

from mmlattn.models import STLSTM
from mmlattn.models.st_lstm.neck_options import ST_LSTM_SETTINGS

SMALL = dict(in_channels=4, region_size=4, embed_dims=4, hidden_dims=4, out_dims=4)


@pytest.mark.parametrize(
    ('name', 'value'), [(n, v) for n, known in ST_LSTM_SETTINGS.choices.items() for v in known[1:]]
)
def test_weights_of_other_settings_are_refused(name, value):
    # The same shapes, so that nothing but the settings differs.
    base = dict(SMALL, region_pool=None) if name == 'region_pool' else SMALL
    trained = STLSTM(**dict(SMALL, **{name: value}))
    with pytest.raises(ValueError, match=f'trained with {name}={value!r}'):
        STLSTM(**dict(base, **{name: ST_LSTM_SETTINGS.choices[name][0]})).load_state_dict(
            trained.state_dict(), strict=False
        )


def test_codes_stay_as_they_are():
    """They are in people's checkpoints."""
    last = {name: known[-1] for name, known in ST_LSTM_SETTINGS.choices.items()}
    assert ST_LSTM_SETTINGS.encode().tolist() == [0] * 6
    assert ST_LSTM_SETTINGS.encode(**last).tolist() == [2, 2, 1, 2, 1, 2]


NUMBERS = [
    ('residual_anchor', dict(anchor=dict(radius=0.5)), 'anchor_circle'),
    ('residual_anchor', dict(anchor=dict(start_angle=0.0)), 'anchor_circle'),
    ('residual_anchor', dict(anchor=dict(first='center')), 'anchor_circle'),
    ('bounded', dict(scale_range=(0.2, 1.0)), 'scale_range'),
]


@pytest.mark.parametrize(('loc_param', 'other', 'said'), NUMBERS)
def test_regions_do_not_move_by_loading(loc_param, other, said):
    """Where regions depend on anchors or a range of scales, others are refused; elsewhere they are not asked for."""
    state = STLSTM(**SMALL, loc_param=loc_param, **other).state_dict()
    with pytest.raises(ValueError, match=said):
        STLSTM(**SMALL, loc_param=loc_param).load_state_dict(state)
    free = STLSTM(**SMALL, loc_param='direct')
    state = STLSTM(**SMALL, loc_param='direct', **other).state_dict()
    free.load_state_dict(state)
    torch.testing.assert_close(free.anchors[1], torch.full((2,), 0.5))


def test_another_number_of_regions_is_no_other_meaning():
    few, many = (STLSTM(**SMALL, num_steps=k, loc_param='residual_anchor') for k in (3, 7))
    many.load_state_dict(few.state_dict())
    assert len(many((torch.rand(1, 4, 6, 6),)).theta[0]) == 7


def test_older_and_rounded_files_agree():
    neck = STLSTM(**SMALL, loc_param='residual_anchor', anchor=dict(start_angle=math.pi / 3))
    state = {name: v.half() if v.is_floating_point() else v for name, v in neck.state_dict().items()}
    neck.load_state_dict(state)
    assert neck.anchor_circle.dtype == torch.float32
    for name in ('anchor_circle', 'scale_limits', 'st_lstm_settings'):
        del state[name]
    neck.load_state_dict(state)
