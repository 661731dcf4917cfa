"""Losses over known labels: mmpretrain's and torchvision's numbers, nothing of what is unknown, finite in half."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpretrain.models.losses import AsymmetricLoss, CrossEntropyLoss, FocalLoss, LabelSmoothLoss
from torchvision.ops import sigmoid_focal_loss

from mmlattn.models import MaskedAsymmetricLoss, MaskedBCELoss, MaskedFocalLoss, SoftmaxL2Loss
from mmlattn.models.losses.binary import asymmetric_loss, binary_cross_entropy, focal_loss
from mmlattn.models.losses.masking import loss_of_known, reduce_known, split_unknown
from mmlattn.utils.errors import UserError

B, C = 5, 7
ROOTS = dict(gamma_pos=0.5, gamma_neg=0.5)
PAIRS = {
    'bce': (MaskedBCELoss(), CrossEntropyLoss(use_sigmoid=True)),
    'bce, weighed': (
        MaskedBCELoss(pos_weight=[1.0, 2, 3, 4, 5, 6, 0.5], loss_weight=0.3),
        CrossEntropyLoss(use_sigmoid=True, pos_weight=[1.0, 2, 3, 4, 5, 6, 0.5], loss_weight=0.3),
    ),
    'asl': (MaskedAsymmetricLoss(), AsymmetricLoss()),
    'asl of both': (
        MaskedAsymmetricLoss(gamma_pos=1.0, gamma_neg=2.0, clip=0.0),
        AsymmetricLoss(gamma_pos=1.0, gamma_neg=2.0, clip=0.0),
    ),
    'focal': (MaskedFocalLoss(), FocalLoss()),
    'focal of another shape': (MaskedFocalLoss(gamma=1.5, alpha=0.6), FocalLoss(gamma=1.5, alpha=0.6)),
}
OURS = {name: ours for name, (ours, _) in PAIRS.items()} | {
    'asl with roots': MaskedAsymmetricLoss(**ROOTS),
    'asl with roots, no margin': MaskedAsymmetricLoss(**ROOTS, clip=0.0),
    'asl of its authors': MaskedAsymmetricLoss(constant_focus=True),
    'focal without balance': MaskedFocalLoss(alpha=None),
}


def batch(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(B, C, generator=generator, dtype=dtype)
    target = (torch.rand(B, C, generator=generator) < 0.4).to(dtype)
    return scores.requires_grad_(), target


def with_unknown(target, seed=1):
    mask = torch.rand(target.shape, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[1] = False
    return torch.where(mask, target, -1), mask


def gradient(loss, scores):
    return torch.autograd.grad(loss.sum(), scores)[0]


@pytest.mark.parametrize(
    'call',
    [
        dict(),
        dict(avg_factor=B),
        dict(avg_factor=3.0, weight=torch.arange(B).double()),
        dict(reduction_override='sum'),
        dict(reduction_override='none', weight=torch.arange(B).double()),
    ],
    ids=['mean', 'pictures', 'weighed pictures', 'sum', 'none'],
)
@pytest.mark.parametrize('name', PAIRS)
def test_all_known_is_mmpretrains(name, call):
    ours, theirs = PAIRS[name]
    scores, target = batch()
    losses = [loss(scores, target, **call) for loss in (ours, theirs)]
    # Mmpretrain's cross-entropy is float32 whatever the scores are.
    torch.testing.assert_close(*losses, check_dtype=False, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*(gradient(loss, scores) for loss in losses), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('gamma', 'alpha'), [(2.0, 0.25), (0.0, 0.5), (3.0, None)])
def test_focal_is_torchvisions(gamma, alpha):
    scores, target = batch()
    theirs = sigmoid_focal_loss(scores, target, -1 if alpha is None else alpha, gamma)
    torch.testing.assert_close(focal_loss(scores, target, gamma, alpha), theirs)


def test_soft_labels_are_torchs_and_mix_the_two_answers():
    scores, target = batch()
    soft = (target + 0.3) / 1.6
    weight = torch.arange(1, C + 1).double()
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(
        scores, soft, reduction='none', pos_weight=weight
    )
    torch.testing.assert_close(binary_cross_entropy(scores, soft, weight), theirs)
    for loss in (asymmetric_loss, focal_loss):
        mixed = soft * loss(scores, torch.ones_like(soft)) + (1 - soft) * loss(scores, torch.zeros_like(soft))
        torch.testing.assert_close(loss(scores, soft), mixed)


def test_asymmetric_loss_by_hand_and_by_finite_differences():
    p, margin = 0.3, 0.05
    z = torch.tensor([math.log(p / (1 - p))], dtype=torch.float64)
    value = asymmetric_loss(z, torch.zeros(1), gamma_neg=4.0, clip=margin)
    assert value.item() == pytest.approx(-((p - margin) ** 4) * math.log(1 - p + margin))
    value = asymmetric_loss(z, torch.ones(1), gamma_pos=2.0)
    assert value.item() == pytest.approx(-((1 - p) ** 2) * math.log(p))
    scores, target = batch()
    for gammas in ((1.0, 4.0, 0.05), (0.5, 0.5, 0.05), (2.0, 1.0, 0.0)):
        assert torch.autograd.gradcheck(lambda z, g=gammas: asymmetric_loss(z, target, *g), (scores,))
    easy = torch.tensor([-5.0], requires_grad=True)  # p below the margin
    assert asymmetric_loss(easy, torch.zeros(1)).item() == 0
    assert gradient(asymmetric_loss(easy, torch.zeros(1), 0.5, 0.5), easy).item() == 0


def test_constant_focus_is_the_weight_times_the_gradient_of_the_cross_entropy():
    scores, target = batch()
    focus = torch.where(target == 1, 1, (scores.sigmoid() - 0.05).clamp(min=0) ** 4).detach()
    shifted = torch.where(target == 1, scores.sigmoid(), (1 - scores.sigmoid() + 0.05).clamp(max=1))
    expected = -focus * shifted.log()
    ours = asymmetric_loss(scores, target, constant_focus=True)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(gradient(ours, scores), gradient(expected, scores))


@pytest.mark.parametrize('wild', [0.0, 1e4, math.inf, math.nan])
@pytest.mark.parametrize('name', OURS)
def test_unknown_labels_say_nothing_whatever_their_scores(name, wild):
    loss = OURS[name]
    scores, target = batch()
    target, mask = with_unknown(target)
    scores = torch.where(mask, scores, wild).detach().requires_grad_()
    for call, factor in ((dict(), mask.sum()), (dict(avg_factor=B), B)):
        total = loss(scores, target, **call)
        # The known labels of each class alone, as if there were no others.
        parts = []
        for c in range(C):
            rows = mask[:, c]
            full_scores = scores[rows].where(torch.arange(C) == c, 0)
            full_target = target[rows].where(torch.arange(C) == c, -1)
            parts.append(loss(full_scores, full_target, reduction_override='sum'))
        torch.testing.assert_close(total, sum(parts) / factor)
        grads = gradient(total, scores)
        assert grads[~mask].eq(0).all() and grads.isfinite().all() and grads[mask].any()
    nothing = loss(scores, torch.full_like(target, -1))
    assert nothing == 0 and gradient(nothing, scores).eq(0).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([1.0, 0.0, 0.4, -1.0]), min_size=6, max_size=6), st.integers(0, 99))
def test_known_subset_in_any_pattern(labels, seed):
    target = torch.tensor(labels, dtype=torch.float64)[None]
    scores = torch.randn(1, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    known = target[0] >= 0
    for loss in (
        MaskedBCELoss(),
        MaskedAsymmetricLoss(),
        MaskedFocalLoss(),
        CrossEntropyLoss(use_sigmoid=True),
    ):
        whole = loss_of_known(loss, scores, target, 1)
        part = loss_of_known(loss, scores[:, known], target[:, known], 1)
        torch.testing.assert_close(whole, part if known.any() else torch.zeros_like(whole))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', OURS)
def test_half_precision_is_finite_at_extreme_scores(name, dtype):
    loss, far = OURS[name], torch.finfo(torch.float16).max
    row = torch.tensor([far, 50.0, 5.0, 0.0, -5.0, -50.0, -far])
    scores = torch.stack([row, row, row]).to(dtype).requires_grad_()
    target = torch.tensor([1.0, 0.0, -1.0])[:, None].expand(3, C)
    total = loss(scores, target, avg_factor=3)
    assert total.dtype == torch.float32
    wide = scores.detach().double().requires_grad_()
    expected = loss(wide, target.double(), avg_factor=3)
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    grads = gradient(total, scores)
    assert grads.dtype == dtype and grads.isfinite().all()
    torch.testing.assert_close(grads.double(), gradient(expected, wide), rtol=2**-7, atol=1e-6)


def test_losses_of_mmpretrain_are_masked_from_outside():
    scores, target = batch()
    unknown, mask = with_unknown(target)
    smooth = LabelSmoothLoss(0.1, num_classes=C, mode='multi_label')
    for loss in (CrossEntropyLoss(use_sigmoid=True), AsymmetricLoss(), FocalLoss(), smooth):
        assert torch.equal(loss_of_known(loss, scores, target, B), loss(scores, target, avg_factor=B)), (
            'with all labels known it is the stock loss to the last bit'
        )
        expected = (loss(scores, target, reduction_override='none') * mask).sum() / B
        total = loss_of_known(loss, scores, unknown, B)
        torch.testing.assert_close(total, expected)
        assert gradient(total, scores)[~mask].eq(0).all()
    for loss in (CrossEntropyLoss(use_soft=True), lambda cls_score, label, avg_factor: cls_score.sum()):
        loss_of_known(loss, scores, target, B)
        with pytest.raises(UserError, match=r"does not judge each class by itself.*unknown='negative'"):
            loss_of_known(loss, scores, unknown, B)


def test_softmax_regression_is_over_the_known_classes():
    scores, target = batch()
    unknown, mask = with_unknown(target)
    loss = SoftmaxL2Loss(reduction='none')
    for row in range(B):
        known = mask[row]
        expected = loss(scores[row : row + 1, known], target[row : row + 1, known])
        torch.testing.assert_close(loss(scores[row : row + 1], unknown[row : row + 1]), expected)
    total = SoftmaxL2Loss()(scores, unknown)
    assert gradient(total, scores)[~mask].eq(0).all()
    labelled = ((unknown > 0) & mask).any(dim=1)
    torch.testing.assert_close(total, loss(scores, unknown).sum() / labelled.sum())


def test_what_is_refused():
    scores, target = batch()
    with pytest.raises(UserError, match=r'MaskedBCELoss needs scores and targets of one shape'):
        MaskedBCELoss()(scores, target[:, :3])
    with pytest.raises(UserError, match='pos_weight has 2 numbers for 7 classes'):
        MaskedBCELoss(pos_weight=[1.0, 2.0])(scores, target)
    with pytest.raises(UserError, match='clip is a margin of probability'):
        MaskedAsymmetricLoss(clip=1.0)
    with pytest.raises(UserError, match=r'alpha must lie in \[0, 1\]'):
        MaskedFocalLoss(alpha=2)
    known = split_unknown(scores, target)
    with pytest.raises(UserError, match='weight must be of shape'):
        reduce_known(known.scores, known.mask, weight=torch.ones(C))
    with pytest.raises(UserError, match="avg_factor belongs to reduction='mean'"):
        reduce_known(known.scores, known.mask, 'sum', avg_factor=2)
    with pytest.raises(UserError, match='reduction must be one of mean, sum, none'):
        reduce_known(known.scores, known.mask, 'average')
