"""RegionConstraintLoss: the weights of the constraints."""

import pytest
import torch
from reference.st_lstm import constraints

from mmlattn.models import RegionConstraintLoss
from mmlattn.models.st_lstm.regions import region_anchors

GOLDEN = torch.tensor(
    [[1, 1, 0.2, -0.1], [0.5, 0.05, 0.5, 0.5], [-0.2, 0.7, 0, 0], [0.3, 0.3, -0.5, -0.4], [0.6, -0.6, 0.5, -0.5]],
    dtype=torch.float64,
)  # fmt: skip


def test_golden_total():
    terms = RegionConstraintLoss()(GOLDEN[None], *region_anchors(5))
    assert set(terms) == {'scale', 'anchor', 'positive'}
    assert terms['scale'].item() == pytest.approx(0.56, abs=1e-6)
    assert terms['anchor'].item() == pytest.approx(0.01 * 0.255, abs=1e-6)
    assert terms['positive'].item() == pytest.approx(0.1 * 1.05, abs=1e-6)
    assert sum(terms.values()).item() == pytest.approx(0.66755, abs=1e-6)


@pytest.mark.parametrize(('count', 'first'), [(1, 'none'), (1, 'center'), (4, 'none'), (4, 'center')])
def test_equals_the_loop(count, first):
    """Summed over all K regions; averaged over pictures."""
    torch.manual_seed(count)
    theta = torch.randn(3, count, 4, dtype=torch.float64, requires_grad=True)
    weights = dict(scale=1.5, anchor=0.2, positive=0.3, overlap=0.9)
    loss = RegionConstraintLoss(0.4, 0.2, **{f'lambda_{name}': w for name, w in weights.items()})
    terms = loss(theta, *region_anchors(count, 0.5**0.5, 0.3, first))
    looped = [constraints(image, 0.4, 0.2, first, start_angle=0.3) for image in theta]
    assert terms.keys() == weights.keys()
    for name, weight in weights.items():
        expected = weight * sum(sum(image[name]) for image in looped) / len(theta)
        assert terms[name].shape == ()
        torch.testing.assert_close(terms[name], expected, rtol=0, atol=1e-6)
    assert torch.autograd.gradcheck(
        lambda t: tuple(loss(t, *region_anchors(count, first=first)).values()),
        theta.detach().requires_grad_(),
    )


def test_terms_without_weight_are_left_out():
    loss = RegionConstraintLoss(lambda_scale=0, lambda_anchor=0, lambda_overlap=2.0)
    assert set(loss(GOLDEN[None], *region_anchors(5))) == {'positive', 'overlap'}


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(alpha=float('nan')), 'alpha.*nan'),
        (dict(alpha=-0.5), 'alpha.*-0.5'),
        (dict(beta='a'), "beta.*'a'"),
        (dict(alpha=0.1, beta=0.5), 'beta=0.5 is above alpha=0.1'),
        (dict(lambda_scale=-1), 'lambda_scale.*-1'),
        (dict(lambda_anchor=float('inf')), 'lambda_anchor.*inf'),
        (dict(lambda_positive=None), 'lambda_positive.*None'),
        (dict(lambda_overlap=-0.1), 'lambda_overlap.*-0.1'),
    ],
)
def test_impossible_arguments_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        RegionConstraintLoss(**options)
