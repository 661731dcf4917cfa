"""The linear head over a map: scores pooled by mean, maximum and log-sum-exp, by hand; weights are mmpretrain's."""

import math

import pytest
import torch
from mmpretrain.models.heads import MultiLabelLinearClsHead
from torch import nn

from mmlattn.models import LinearMultiLabelHead, MLDecoderHead, Query2LabelHead
from mmlattn.models.linear.pooling import pool_scores, score_maps
from mmlattn.utils.errors import UserError

C, D = 4, 6
POOLINGS = dict(
    avg=lambda s: sum(s) / len(s),
    max=max,
    lse=lambda s: math.log(sum(math.exp(5 * x) for x in s) / len(s)) / 5,
)


def head(**settings):
    torch.manual_seed(0)
    return LinearMultiLabelHead(C, D, **settings)


@pytest.mark.parametrize('pool', POOLINGS)
def test_pools_the_scores_of_all_locations(pool):
    ours, x = head(pool=pool).double(), torch.randn(2, D, 3, 4, dtype=torch.double)
    found = ours.predict_tensors((x,), with_evidence=True)
    for row in range(2):
        for c in range(C):
            scores = [
                float(ours.fc.weight[c] @ x[row, :, i, j] + ours.fc.bias[c])
                for i in range(3)
                for j in range(4)
            ]
            assert float(found['logits'][row, c]) == pytest.approx(POOLINGS[pool](scores))
            low = min(scores)
            expected = torch.tensor([(s - low) / sum(t - low for t in scores) for s in scores])
            torch.testing.assert_close(found['attention_maps'][row, c].flatten().float(), expected)
    torch.testing.assert_close(ours(x.permute(0, 2, 3, 1)), found['logits'])


def test_log_sum_exp_lies_between_mean_and_maximum():
    scores = 4 * torch.randn(3, 10, C, dtype=torch.double)
    mean, most = (pool_scores(scores, pool, 1) for pool in ('avg', 'max'))
    for sharpness, close in ((1e-4, mean), (1e4, most)):
        torch.testing.assert_close(pool_scores(scores, 'lse', sharpness), close, rtol=0, atol=2e-3)
    between = pool_scores(scores, 'lse', 1.0)
    assert (between > mean).all() and (between < most).all()
    scores.requires_grad_(True)
    pool_scores(scores, 'lse', 3.0).sum().backward()
    torch.testing.assert_close(scores.grad, (3 * scores).softmax(dim=1).detach())
    huge = torch.full((1, 9, C), 3e4, dtype=torch.float16)
    torch.testing.assert_close(pool_scores(huge, 'lse', 5.0), torch.full((1, C), 3e4).half().float())


def test_maps_of_equal_scores_are_flat():
    maps = score_maps(torch.full((2, 8, C), -3.0))
    assert torch.equal(maps, torch.full((2, C, 8), 1 / 8))
    one = torch.zeros(1, 8, C)
    one[0, 5] = 2
    assert torch.equal(score_maps(one)[0].argmax(dim=-1), torch.full((C,), 5)) and score_maps(one).max() == 1


def test_averaged_scores_are_those_of_averaged_features():
    ours, x = head(), torch.randn(2, D, 3, 4)
    torch.testing.assert_close(ours((x,)), ours((x.mean(dim=(2, 3)),)))
    stock = MultiLabelLinearClsHead(C, D, dict(type='mmpretrain.CrossEntropyLoss', use_sigmoid=True))
    for _ in range(2):
        stock.load_state_dict(ours.state_dict())
        assert torch.equal(ours((x.mean(dim=(2, 3)),)), stock((x.mean(dim=(2, 3)),)))
        ours.load_state_dict(stock.state_dict())


def test_weights_know_how_they_were_pooled():
    plain, sharp = head(), head(pool='lse', sharpness=8)
    assert set(plain.state_dict()) == {'fc.weight', 'fc.bias'}
    sharp.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(sharp.fc.weight, plain.fc.weight), 'a linear classifier is where the others may start'
    assert not any(head(pool='lse', sharpness=8).load_state_dict(sharp.state_dict()))
    with pytest.raises(UserError, match="pool='lse', this network has pool='max'"):
        head(pool='max').load_state_dict(sharp.state_dict())
    with pytest.raises(UserError, match="pool='lse', this network has pool='avg'"):
        plain.load_state_dict(sharp.state_dict())
    with pytest.raises(UserError, match=r'sharpness=8.0, this network has sharpness=5.0'):
        head(pool='lse').load_state_dict(sharp.state_dict())


def test_wrong_arguments():
    with pytest.raises(UserError, match="pool must be one of 'avg', 'max', 'lse', got 'gem'"):
        head(pool='gem')
    with pytest.raises(UserError, match='sharpness must be above 0, got 0'):
        head(pool='lse', sharpness=0)
    with pytest.raises(UserError, match='sharpness must be a finite number of 0 or more, got -1'):
        head(pool='lse', sharpness=-1)
    with pytest.raises(UserError, match=r'pooled features .* neck=None'):
        head(pool='max')((torch.randn(2, D),))
    with pytest.raises(UserError, match='pooled features do not tell where they were read'):
        head(with_evidence=True).predict((torch.randn(2, D),))


SMALL = dict(embed_dims=8, feedforward_dims=8)
HEADS = {
    'linear': lambda **k: LinearMultiLabelHead(C, 8, pool='max', **k),
    'ml-decoder': lambda **k: MLDecoderHead(C, 8, **SMALL, **k),
    'query2label': lambda **k: Query2LabelHead(C, 8, **SMALL, **k),
}


@pytest.mark.parametrize('name', HEADS)
def test_edges(name):
    """A map of one cell, a batch of no pictures, and weights in half precision."""
    ours = HEADS[name]().eval()
    (sample,) = ours.predict(torch.randn(1, 8, 1, 1), with_evidence=True)
    torch.testing.assert_close(sample.attention_maps, torch.ones(C, 1, 1))
    assert ours(torch.randn(0, 8, 3, 3)).shape == (0, C) and ours.predict(torch.randn(0, 8, 3, 3)) == []
    x = torch.randn(2, 8, 3, 3)
    expected = ours.predict_tensors(x, with_evidence=True)
    found = ours.bfloat16().predict_tensors(x.bfloat16(), with_evidence=True)
    assert found['logits'].dtype == torch.float32
    torch.testing.assert_close(found['logits'], expected['logits'], rtol=0, atol=0.1)
    maps = found['attention_maps'].float()
    torch.testing.assert_close(maps, expected['attention_maps'], rtol=0, atol=0.02)


@pytest.mark.parametrize('name', HEADS)
def test_reads_what_transformers_give_and_chooses_by_one_rule(name):
    """Tokens with a class token in front, a grid that is no square; equal scores are ranked by number."""
    torch.manual_seed(0)
    ours, x = HEADS[name](num_extra_tokens=1, token_grid=(2, 3), topk=2).eval(), torch.randn(2, 8, 2, 3)
    tokens = torch.cat((torch.randn(2, 1, 8), x.flatten(2).transpose(1, 2)), dim=1)
    torch.testing.assert_close(ours((tokens,)), ours((x,)))
    assert [labels.tolist() for labels in ours.select(torch.full((2, C), 0.5))] == [[0, 1]] * 2
    (sample,) = ours.predict(x[:1])
    assert set(sample.pred_label.tolist()) == set(ours((x[:1],))[0].topk(2).indices.tolist())
    for wrong, says in (
        (dict(thr=2), 'thr must lie'),
        (dict(topk=0), 'topk must be'),
        (dict(unknown='x'), 'unknown'),
        (dict(token_grid=(2, 3, 1)), r'token_grid must be two numbers, \(h, w\), got \(2, 3, 1\)'),
        (dict(token_grid=(2, 0)), 'token_grid takes whole numbers of 1 or more'),
    ):
        with pytest.raises(UserError, match=says):
            HEADS[name](**wrong)


def authors_loss(logits, target, gamma):
    """The asymmetric loss as its authors train with it: focusing weights are constants."""
    p = logits.sigmoid()
    absent = (1 - p + 0.05).clamp(max=1)
    weight = (1 - absent).detach() ** gamma
    return -torch.where(target > 0, p.log(), weight * absent.log())


@pytest.mark.parametrize(('name', 'gamma'), [('ml-decoder', 4), ('query2label', 2)])
def test_default_loss_is_the_asymmetric_one(name, gamma):
    from mmpretrain.structures import DataSample

    torch.manual_seed(0)
    ours, x, target = (
        HEADS[name]().eval(),
        torch.randn(2, 8, 3, 3),
        torch.tensor([[1, 0, 0, 1], [0, 0, 1, 0]]),
    )
    nn.init.normal_(ours.network.classify.bias, std=2)
    samples = [DataSample().set_gt_label(row.nonzero()[:, 0]) for row in target]
    losses = [ours.loss((x,), samples)['loss'], authors_loss(ours((x,)), target, gamma).sum() / 2]
    torch.testing.assert_close(*losses)
    gradients = [
        torch.autograd.grad(loss, list(filter(lambda p: p.requires_grad, ours.parameters())))
        for loss in losses
    ]
    torch.testing.assert_close(*gradients)
