"""CSRAHead against mmpretrain's head, real backbones, and compiled."""

import pytest
import torch
from mmpretrain.models.heads import CSRAClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mmlattn.models import CSRAHead
from mmlattn.structures import attention_peaks
from mmlattn.utils.errors import UserError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize('num_heads', [1, 2, 4, 6, 8])
def test_equals_mmpretrain(num_heads):
    """Same arguments, same weights: outputs, loss and every gradient agree."""
    kwargs = dict(num_classes=5, in_channels=16, num_heads=num_heads, lam=0.3, thr=0.6)
    theirs = CSRAClsHead(**kwargs).double()
    ours = CSRAHead(**kwargs).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 16, 4, 5, dtype=torch.float64, requires_grad=True)
    samples = [DataSample().set_gt_label(label) for label in ([0, 2], [], [4])]
    loss_a, loss_b = ours.loss((x,), samples)['loss'], theirs.loss((x,), samples)['loss']
    torch.testing.assert_close(loss_a, loss_b, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours((x,)), theirs((x,)), rtol=0, atol=1e-12)
    grad_x, grad_w = torch.autograd.grad(loss_a, [x, ours.weight])
    grad_x_mm, *grads_mm = torch.autograd.grad(loss_b, [x, *theirs.parameters()])
    torch.testing.assert_close(grad_x, grad_x_mm, rtol=0, atol=1e-12)
    torch.testing.assert_close(grad_w, torch.stack([g.flatten(1) for g in grads_mm]), rtol=0, atol=1e-12)
    for a, b in zip(ours.predict((x,)), theirs.predict((x,)), strict=True):
        assert torch.equal(a.pred_label, b.pred_label)


@pytest.mark.parametrize('size', [(1, 1), (7, 7), (13, 28)])
@pytest.mark.parametrize('num_classes', [1, 3])
def test_equals_mmpretrain_in_the_corners(size, num_classes):
    """One picture, one class, one location, locations that tie for the maximum; a row of zeros is NaN there."""
    kwargs = dict(num_classes=num_classes, in_channels=4, num_heads=4, lam=0.3)
    theirs, ours = CSRAClsHead(**kwargs).double(), CSRAHead(**kwargs).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 4, *size, dtype=torch.float64).sign().requires_grad_()
    torch.testing.assert_close(ours((x,)), theirs((x,)))
    grads = [torch.autograd.grad(head((x,)).sum(), x)[0] for head in (ours, theirs)]
    torch.testing.assert_close(*grads)
    with torch.no_grad():
        theirs.csra_heads[0].head.weight[0] = ours.weight[0, 0] = 0
    assert theirs((x,))[0, 0].isnan() and ours((x,)).isfinite().all()


def test_of_threshold_and_topk_the_threshold_decides_as_in_mmpretrain():
    kwargs = dict(num_classes=5, in_channels=16, num_heads=1, lam=0.3, thr=0.4, topk=1)
    theirs, ours = CSRAClsHead(**kwargs), CSRAHead(**kwargs)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 16, 4, 5)
    labels = [sample.pred_label.tolist() for sample in ours.predict((x,))]
    assert labels == [sample.pred_label.tolist() for sample in theirs.predict((x,))]
    assert max(map(len, labels)) > 1


def test_lam_zero_is_a_normalised_linear_head():
    head = CSRAHead(4, 6, 1, 0.0).double()
    x = torch.randn(2, 6, 3, 3, dtype=torch.float64)
    expected = x.mean((2, 3)) @ torch.nn.functional.normalize(head.weight[0], dim=1).T
    torch.testing.assert_close(head((x,)), expected)


def test_linear_in_the_pooled_features_plus_attention():
    """Logits = (sum_h w_h) . mean_k x_k + lam * att, the identity of the multi-head sum."""
    heads = [CSRAHead(4, 6, 6, lam).double() for lam in (0.0, 0.25, 1.0)]
    for head in heads[1:]:
        head.weight = heads[0].weight
    x = torch.randn(2, 6, 3, 3, dtype=torch.float64)
    at_0, at_quarter, at_1 = (head((x,)) for head in heads)
    rows = torch.nn.functional.normalize(heads[0].weight, dim=-1).sum(0)
    torch.testing.assert_close(at_0, x.mean((2, 3)) @ rows.T)
    torch.testing.assert_close(at_quarter, at_0 + 0.25 * (at_1 - at_0))


def test_options_bias_and_mean_loss():
    head = CSRAHead(3, 8, 4, 0.5, bias=True, loss_reduction='mean')
    torch.nn.init.normal_(head.bias)
    plain = CSRAHead(3, 8, 4, 0.5)
    plain.weight = head.weight
    x = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(head((x,)), plain((x,)) + head.bias)
    target = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(head((x,)), target)
    loss = head.loss((x,), [DataSample().set_gt_label([0, 2]), DataSample().set_gt_label([])])['loss']
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_terms_with_other_temperatures():
    head = CSRAHead(3, 8, 2, 0.3, bias=True).double()
    torch.nn.init.normal_(head.bias)
    x = torch.randn(2, 8, 3, 3, dtype=torch.float64)
    base, att = head.pooled_terms((x,))
    torch.testing.assert_close(base + 0.3 * att, head((x,)))
    other = CSRAHead(3, 8, temperatures=[5, 2], lam=0.3, bias=True).double()
    other.weight, other.bias = head.weight, head.bias
    base, att = head.pooled_terms((x,), [5, 2])
    torch.testing.assert_close(base + 0.3 * att, other((x,)))
    with pytest.raises(ValueError, match='num_heads=2 but 1'):
        head.pooled_terms((x,), [5])


def test_infinity_is_the_spatial_maximum():
    """Also in the settings that travel with the weights, which hold no infinity."""
    ours, paper = CSRAHead(3, 8, temperatures=[1, float('inf')]), CSRAHead(3, 8, 2)
    paper.load_state_dict(ours.state_dict())
    x = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(ours((x,)), paper((x,)))
    _, att = ours.pooled_terms((x,), [float('inf')] * 2)
    rows = torch.nn.functional.normalize(ours.weight, dim=-1)
    torch.testing.assert_close(att, torch.einsum('gcd,bdhw->bgchw', rows, x).amax((3, 4)).sum(1))


def test_works_with_functional_transforms():
    head = CSRAHead(3, 8, 4, 0.3).double()
    x = torch.randn(2, 8, 3, 3, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(head((x,)).sum(), x)[0]
    torch.testing.assert_close(torch.func.grad(lambda x: head((x,)).sum())(x), expected)


def test_init_cfg_reaches_the_rows():
    head = CSRAHead(3, 8, 1, 0.3, init_cfg=dict(type='Constant', layer='CSRAHead', val=2.0))
    head.init_weights()
    assert (head.weight == 2).all()


def test_evidence_on_request_only():
    head = CSRAHead(3, 4, 2, 1.0, topk=1)
    head.weight.data.copy_(torch.eye(4)[:3].expand(2, -1, -1))
    x = torch.zeros(2, 4, 5, 6)
    x[0, 1, 3, 2] = 9.0  # class 1 at row 3, column 2
    x[1, 0, 0, 5] = 9.0
    assert 'attention_maps' not in head.predict((x,))[0]
    samples = head.predict((x,), with_evidence=True)
    assert samples[0].attention_maps.shape == (3, 5, 6)
    torch.testing.assert_close(samples[0].attention_maps.sum((1, 2)), torch.ones(3))
    assert [s.pred_label.tolist() for s in samples] == [[1], [0]]
    torch.testing.assert_close(
        attention_peaks(samples[0].attention_maps)[1], torch.tensor([2.5 / 6, 3.5 / 5])
    )
    torch.testing.assert_close(
        attention_peaks(samples[1].attention_maps)[0], torch.tensor([5.5 / 6, 0.5 / 5])
    )


@pytest.mark.parametrize('normalize', [True, False])
def test_attention_is_that_of_the_scores_in_the_logits(normalize):
    """softmax(T s) with s = w . x_k / |w|: the length of a row means nothing, unless rows are taken as they are."""
    head = CSRAHead(3, 4, lam=1.0, temperatures=[2], normalize=normalize).double()
    head.weight.data.mul_(torch.tensor([0.3, 1.0, 7.0], dtype=torch.float64)[:, None])
    x = torch.randn(2, 4, 2, 3, dtype=torch.float64)
    rows = head.weight[0] / head.weight[0].norm(dim=1, keepdim=True) if normalize else head.weight[0]
    s = torch.einsum('cd,bdhw->bchw', rows, x).flatten(2)
    expected = (2 * s).softmax(-1).view(2, 3, 2, 3)
    samples = head.predict((x,), with_evidence=True)
    torch.testing.assert_close(torch.stack([s.attention_maps for s in samples]), expected.float())


BACKBONES = {
    'resnet': (dict(type='ResNet', depth=18, out_indices=(3,)), 512, {}),
    'convnext': (dict(type='ConvNeXt', arch='atto', gap_before_final_norm=False), 320, {}),
    'swin': (dict(type='SwinTransformer', arch='tiny', img_size=224), 768, {}),
    'vit featmap': (dict(type='VisionTransformer', arch='deit-tiny', img_size=64, out_type='featmap'), 192, {}),
    'vit raw': (
        dict(type='VisionTransformer', arch='deit-tiny', img_size=64, out_type='raw'), 192,
        dict(num_extra_tokens=1),
    ),
    'dinov2': (
        dict(type='VisionTransformer', arch='dinov2-small', img_size=56, patch_size=14,
             layer_scale_init_value=1e-5, out_type='featmap'), 384, {},
    ),
    'timm': (dict(type='TIMMBackbone', model_name='resnet18', features_only=True, pretrained=False), 512, {}),
}  # fmt: skip


@pytest.mark.parametrize('name', BACKBONES)
def test_drops_onto_backbones_of_mmpretrain(name):
    backbone, channels, options = BACKBONES[name]
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=backbone,
            neck=None,
            head=dict(
                type='mmlattn.CSRAHead', num_classes=7, in_channels=channels, num_heads=2, lam=0.2, **options
            ),
        )
    )
    size = backbone.get('img_size', 64)
    images = torch.randn(2, 3, size, size)
    loss = model.loss(images, [DataSample().set_gt_label([1]), DataSample().set_gt_label([])])['loss']
    loss.backward()
    assert loss.isfinite() and model.head.weight.grad.abs().sum() > 0
    maps = model.eval().predict(images, with_evidence=True)[0].attention_maps
    assert maps.shape[0] == 7 and maps.shape[1] == maps.shape[2]


def test_pooled_features_are_refused_in_words():
    with pytest.raises(ValueError, match='neck=None'):
        CSRAHead(3, 8, 1, 0.1)((torch.zeros(2, 8),))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(num_heads=3), 'temperatures='),
        (dict(num_heads=2, temperatures=[1]), 'num_heads=2 but 1'),
        (dict(temperatures=[]), 'non-empty'),
        (dict(temperatures=[-1]), '>= 0'),
        (dict(temperatures=['sharp']), "got \\['sharp'\\]"),
        (dict(temperatures=3), 'non-empty list of numbers >= 0, got 3'),
        (dict(num_heads=1, thr=2), r'thr must lie in \[0, 1\], got 2'),
        (dict(num_heads=1, topk=0), 'topk must be a whole number of 1 or more'),
        (dict(num_heads=1, lam=float('nan')), 'finite'),
        (dict(num_heads=1, loss_reduction='sum'), 'sum_classes'),
        (dict(num_heads=1, num_classes=0), 'num_classes must be a whole number of 1 or more'),
        (dict(num_heads=1, num_extra_tokens=-1), '0 or more'),
    ],
)
def test_impossible_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CSRAHead(**{'num_classes': 3, 'in_channels': 8, **kwargs})


def test_labels_that_do_not_fit_are_refused_in_words():
    head, x = CSRAHead(3, 8, 1), (torch.randn(1, 8, 2, 2),)
    for sample, words in (
        (DataSample().set_gt_label([7]), r'gt_label holds \[7\]'),
        (DataSample(), 'gt_label'),
        (DataSample().set_gt_score(torch.zeros(4)), r'gt_score must be \(3,\)'),
    ):
        with pytest.raises(UserError, match=words):
            head.loss(x, [sample])
    ignored = DataSample(metainfo=dict(gt_label_difficult=[2])).set_gt_label([0])
    assert torch.equal(
        head.loss(x, [ignored])['loss'], head.loss(x, [DataSample().set_gt_label([0])])['loss']
    )


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.parametrize('autocast', [False, True])
def test_compiles_without_graph_breaks(autocast):
    head = CSRAHead(6, 32, 4, 0.5)
    eager = CSRAHead(6, 32, 4, 0.5)
    eager.load_state_dict(head.state_dict())
    # Inductor's linker command breaks where torch itself is installed in a folder with a space.
    backend = 'aot_eager' if ' ' in torch.__file__ else 'inductor'
    compiled = torch.compile(head.forward, fullgraph=True, backend=backend)
    x = torch.randn(2, 32, 7, 7)
    tolerance = dict(rtol=2e-2, atol=2e-2) if autocast else dict(rtol=1e-5, atol=1e-5)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        a, b = compiled((x,)), eager((x,))
    torch.testing.assert_close(a, b, **tolerance)
    a.square().mean().backward()
    b.square().mean().backward()
    torch.testing.assert_close(head.weight.grad, eager.weight.grad, **tolerance)
