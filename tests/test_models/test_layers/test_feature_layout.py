import pytest
import torch

from mmlattn.models.layers.feature_layout import to_feature_map

MAP = torch.arange(2 * 5 * 3 * 4.0).view(2, 5, 3, 4)
TOKENS = MAP.flatten(2).transpose(1, 2)


@pytest.mark.parametrize(
    ('x', 'options'),
    [
        (MAP, {}),
        (MAP.permute(0, 2, 3, 1), {}),
        (TOKENS, dict(token_grid=(3, 4))),
        (
            torch.cat([torch.full((2, 2, 5), -1.0), TOKENS], dim=1),
            dict(token_grid=(3, 4), num_extra_tokens=2),
        ),
    ],
    ids=['BDHW', 'BHWD', 'BND', 'BND with extra tokens'],
)
def test_every_layout_gives_the_same_map(x, options):
    out = to_feature_map(x, 5, **options)
    torch.testing.assert_close(out, MAP)
    assert out.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def test_axis_one_wins_when_both_fit():
    x = torch.randn(1, 4, 3, 4)
    assert to_feature_map(x, 4).shape == (1, 4, 3, 4)


def test_square_token_grid_is_found():
    assert to_feature_map(torch.randn(2, 50, 8), 8, num_extra_tokens=1).shape == (2, 8, 7, 7)


@pytest.mark.parametrize(
    ('shape', 'options', 'message'),
    [
        ((2, 5), {}, 'neck=None.*featmap.*gap_before_final_norm=False.*features_only=True'),
        ((2, 6, 3, 4), {}, r'\(2, 6, 3, 4\).*in_channels=5'),
        ((2, 12, 6), {}, r'\(2, 12, 6\).*in_channels=5'),
        ((2, 10, 5), {}, '10 patches.*num_extra_tokens'),
        ((2, 12, 5), dict(token_grid=(3, 5)), '3 x 5'),
        ((2, 1, 5), dict(num_extra_tokens=1), '0 patches'),
        ((5,), {}, 'expected'),
    ],
)
def test_unreadable_shapes_say_what_to_change(shape, options, message):
    with pytest.raises(ValueError, match=message):
        to_feature_map(torch.zeros(shape), 5, **options)
