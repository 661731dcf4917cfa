"""ActivationLocalizer: the highest response, with nothing to learn."""

import pytest
import reference.racnn as reference
import torch

from mmlattn.models import ActivationLocalizer


@pytest.mark.parametrize('side', [0.5, 0.4])
def test_finds_the_highest_response(side):
    torch.manual_seed(0)
    maps = torch.randn(5, 6, 7, 10)
    localizer = ActivationLocalizer(side)
    expected = [reference.highest_response_square(each.double().numpy(), side) for each in maps]
    torch.testing.assert_close(localizer(maps), torch.tensor(expected, dtype=torch.float32))
    assert not list(localizer.parameters()) and not localizer.state_dict()


def test_default_is_the_papers_half():
    maps = torch.zeros(1, 2, 8, 8)
    maps[..., 4:, :4] = 1.0
    torch.testing.assert_close(ActivationLocalizer()(maps), torch.tensor([[0.25, 0.75, 0.25]]))


@pytest.mark.parametrize('side', [0, 1.5, -0.5, 'half'])
def test_wrong_side(side):
    with pytest.raises(ValueError, match='side'):
        ActivationLocalizer(side)
