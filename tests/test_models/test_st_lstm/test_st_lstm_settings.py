"""Weights of ST-LSTM know with which settings they were trained."""

import math

import pytest
import torch

from mmlattn.models import STLSTM

SMALL = dict(in_channels=4, region_size=4, embed_dims=4, hidden_dims=4, out_dims=4)
SETTINGS = [
    ('region_pool', 'max', 'avg'),
    ('region_pool', 'max', None),
    ('region_embed', 'fc', 'conv'),
    ('region_embed', 'fc', 'gap'),
    ('cell_out', 'identity', 'tanh'),
    ('loc_param', 'direct', 'residual_anchor'),
    ('loc_param', 'direct', 'bounded'),
    ('align_corners', False, True),
]


@pytest.mark.parametrize(('name', 'default', 'value'), SETTINGS)
def test_weights_of_other_settings_are_refused(name, default, value):
    trained = STLSTM(**dict(SMALL, **{name: value}))
    with pytest.raises(ValueError, match=f'trained with {name}={value!r}'):
        STLSTM(**dict(SMALL, **{name: default})).load_state_dict(trained.state_dict(), strict=False)


PLACES = [
    ('residual_anchor', dict(anchor=dict(radius=0.5)), "anchor=.*'radius': 0.5"),
    ('residual_anchor', dict(anchor=dict(start_angle=0.0)), "anchor=.*'start_angle': 0.0"),
    ('residual_anchor', dict(anchor=dict(first='center')), "anchor=.*'first': 'center'"),
    ('bounded', dict(scale_range=(0.2, 1.0)), r'scale_range=\[0.2, 1.0\]'),
]


@pytest.mark.parametrize(('loc_param', 'other', 'said'), PLACES)
def test_regions_do_not_move_by_loading(loc_param, other, said):
    """Where regions depend on anchors or a range of scales, others are refused; elsewhere they are not asked for."""
    state = STLSTM(**SMALL, loc_param=loc_param, **other).state_dict()
    with pytest.raises(ValueError, match=f'trained with {said}'):
        STLSTM(**SMALL, loc_param=loc_param).load_state_dict(state)
    free = STLSTM(**SMALL, loc_param='direct')
    state = STLSTM(**SMALL, loc_param='direct', **other).state_dict()
    free.load_state_dict(state)
    torch.testing.assert_close(free.anchors[1], torch.full((2,), 0.5))


def test_another_number_of_regions_is_no_other_meaning():
    few, many = (STLSTM(**SMALL, num_steps=k, loc_param='residual_anchor') for k in (3, 7))
    many.load_state_dict(few.state_dict())
    assert len(many((torch.rand(1, 4, 6, 6),)).theta[0]) == 7


def test_rounded_files_and_files_without_settings_agree():
    neck = STLSTM(**SMALL, loc_param='residual_anchor', anchor=dict(start_angle=math.pi / 3))
    state = {name: v.half() if v.is_floating_point() else v for name, v in neck.state_dict().items()}
    neck.load_state_dict(state)
    del state['stored_settings']
    neck.load_state_dict(state)
