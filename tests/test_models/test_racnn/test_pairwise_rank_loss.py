"""PairwiseRankLoss: reductions and weight, against the loop."""

import pytest
import reference.racnn as reference
import torch

from mmlattn.models import PairwiseRankLoss


@pytest.mark.parametrize('detach', [True, False])
@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_equals_the_loop(reduction, detach):
    torch.manual_seed(0)
    probs = torch.rand(7, 3, dtype=torch.float64, requires_grad=True)
    loss = PairwiseRankLoss(0.2, detach, reduction, loss_weight=1.5)(probs)
    loss.backward()
    pairs = [reference.rank_hinges(row, 0.2, detach) for row in probs.tolist()]
    factor = 1.5 / (7 if reduction == 'mean' else 1)
    assert loss.item() == pytest.approx(factor * sum(sum(values) for values, _ in pairs))
    torch.testing.assert_close(probs.grad, factor * probs.new_tensor([gradient for _, gradient in pairs]))


def test_defaults():
    """Margin 0.05, mean over pictures of the sum over pairs, coarser scales constant."""
    probs = torch.tensor([[0.5, 0.5, 0.4], [0.1, 0.2, 0.9]], requires_grad=True)
    loss = PairwiseRankLoss()(probs)
    torch.testing.assert_close(loss, torch.tensor((0.05 + 0.15) / 2))
    loss.backward()
    torch.testing.assert_close(probs.grad, torch.tensor([[0.0, -0.5, -0.5], [0.0, 0.0, 0.0]]))


@pytest.mark.parametrize(
    'wrong', [dict(reduction='none'), dict(margin='wide'), dict(loss_weight=-1.0)], ids=str
)
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PairwiseRankLoss(**wrong)
