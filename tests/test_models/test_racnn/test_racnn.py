"""RACNN: what each scale sees, what it says together, what learns when."""

import math
from types import SimpleNamespace

import pytest
import reference.racnn as reference
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from mmpretrain.engine import SwitchRecipeHook
from mmpretrain.models import ImageClassifier, LabelSmoothLoss
from mmpretrain.structures import DataSample
from torch import nn

from mmlattn.models import APN, RACNN
from mmlattn.models.racnn.building import PHASES
from mmlattn.models.racnn.crop import attention_crop
from mmlattn.models.racnn.squares import highest_response_square
from mmlattn.utils.errors import UserError

PARTS = dict(
    backbone=dict(
        type='mmpretrain.ResNet_CIFAR',
        depth=18,
        num_stages=3,
        stem_channels=4,
        base_channels=4,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
    ),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=5,
        in_channels=16,
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
        init_cfg=dict(type='Normal', layer='Linear', std=1.0),
    ),
)
SMALL = dict(localizer=dict(type='mmlattn.APN', form='light', spatial=4), crop=dict(size=32))


def racnn(**changes):
    torch.manual_seed(0)
    model = RACNN(**(PARTS | SMALL | changes))
    model.init_weights()
    return model


class Fixed(nn.Module):
    """Proposes one square whatever it sees."""

    def __init__(self, *square):
        super().__init__()
        self.square = nn.Parameter(torch.tensor(square))

    def forward(self, feature_map):
        return self.square.expand(len(feature_map), 3)


def looking_at(model, *squares):
    model.localizers = nn.ModuleList(Fixed(*square) for square in squares)
    return model.eval()


@pytest.fixture
def images():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def samples():
    return [DataSample().set_gt_label(label) for label in (0, 4, 2)]


@pytest.fixture
def seen():
    """Everything that backbones of a model see, in order."""
    pictures = []

    def watch(model):
        for net in model.nets:
            net.backbone.register_forward_pre_hook(lambda _, args: pictures.append(args[0].detach()))
        return pictures

    return watch


def test_one_scale_is_an_image_classifier(images, samples):
    plain = ImageClassifier(**PARTS, data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'))
    plain.init_weights()
    model = racnn(num_scales=1)
    model.load_state_dict(plain.state_dict())
    losses = model.loss(images, samples)
    assert losses['scale1.loss'] == plain.loss(images, samples)['loss']
    model.eval(), plain.eval()
    with torch.no_grad():
        assert torch.equal(model(images), plain(images))
        for ours, theirs in zip(model.predict(images), plain.predict(images), strict=True):
            assert torch.equal(ours.pred_score, theirs.pred_score)
            assert torch.equal(ours.pred_label, theirs.pred_label)


@pytest.mark.parametrize('shared', [True, False])
def test_weights_of_an_image_classifier_go_to_all_scales(shared):
    plain = ImageClassifier(**PARTS, data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'))
    plain.init_weights()
    model = racnn(shared=shared)
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and {name.split('.')[0] for name in missing} == {'localizers', 'fusion'}
    assert len(model.nets) == (1 if shared else 3)
    for net in model.nets:
        for name, value in plain.state_dict().items():
            assert torch.equal(net.state_dict()[name], value)
    again = racnn(shared=shared)
    again.load_state_dict(model.state_dict())


@pytest.mark.parametrize('resample_from', ['parent', 'image'])
def test_each_scale_sees_the_square_proposed_by_the_one_before(images, seen, resample_from):
    """Squares that cover whole pixels at no magnification, so that crops are slices."""
    model = looking_at(
        racnn(crop=dict(size=16, resample_from=resample_from), scales=[{}, {}, {}]),
        (0.375, 0.5, 0.125),  # 16 of 64 pixels from (16, 24)
        (0.5, 0.5, 0.5),
    )
    pictures = seen(model)
    with torch.no_grad():
        (sample, *_) = model.predict(images, with_evidence=True)
    cut = images[:, :, 24:40, 16:32]
    assert torch.equal(pictures[0], images)
    assert torch.allclose(pictures[1], cut, atol=1e-6) and torch.allclose(pictures[2], cut, atol=1e-6)
    box = [16 / 64, 24 / 64, 32 / 64, 40 / 64]
    assert sample.regions.tolist() == [[0, 0, 1, 1], pytest.approx(box), pytest.approx(box)]


@pytest.mark.parametrize('resample_from', ['parent', 'image'])
def test_regions_are_composed_in_the_frame_of_the_input(images, resample_from):
    model = looking_at(
        racnn(crop=dict(size=32, resample_from=resample_from)), (0.4, 0.6, 0.3), (0.2, 0.9, 0.2)
    )
    with torch.no_grad():
        (sample, *_) = model.predict(images, with_evidence=True)
    x, y = 0.1 + 0.6 * 0.0, 0.3 + 0.6 * 0.7  # the second square is cut at its parent's lower border
    assert sample.regions[2].tolist() == pytest.approx([x, y, 0.1 + 0.6 * 0.4, 0.3 + 0.6 * 1.0])
    assert sample.region_names == ('scale 1', 'scale 2', 'scale 3')


def test_a_glance_is_the_mean_over_pixels_and_crops_keep_what_it_lost(images, seen):
    model = looking_at(
        racnn(glance=16, crop=dict(size=32, resample_from='image'), num_scales=2), (0.25, 0.75, 0.25)
    )
    pictures = seen(model)
    with torch.no_grad():
        model.predict(images)
    assert torch.allclose(pictures[0], F.avg_pool2d(images, 4), atol=1e-6)
    assert torch.allclose(pictures[1], images[:, :, 32:, :32], atol=1e-6)


def test_scores_are_those_of_the_scales_and_of_their_fusion(images):
    model = racnn().eval()
    with torch.no_grad():
        predicted = model.predict(images, with_evidence=True)
        logits = model(images)
        descriptors = model.extract_feat(images)
    together = torch.stack([sample.fused_scores for sample in predicted])
    scores = torch.stack([sample.region_scores for sample in predicted])
    for k in (2, 3):
        unit = torch.cat([10 * x / x.norm(dim=1, keepdim=True) for x in descriptors[:k]], dim=1)
        expected = (unit @ model.fusion[k - 2].fc.weight.T + model.fusion[k - 2].fc.bias).softmax(dim=1)
        assert torch.allclose(together[:, k - 2], expected, atol=1e-6)
    for k, net in enumerate(model.nets):
        expected = (descriptors[k] @ net.head.fc.weight.T + net.head.fc.bias).softmax(dim=1)
        assert torch.allclose(scores[:, k], expected, atol=1e-6)
    final = torch.stack([sample.pred_score for sample in predicted])
    assert torch.equal(final, together[:, 1]) and torch.allclose(logits.softmax(dim=1), final)
    assert [s.pred_label.tolist() for s in predicted] == final.argmax(dim=1, keepdim=True).tolist()
    with torch.no_grad():
        assert not {'regions', 'region_scores', 'fused_scores'} & set(model.predict(images)[0].keys())


def test_without_fusion_heads_probabilities_are_averaged(images):
    model = racnn(fusion=None).eval()
    with torch.no_grad():
        for sample, raw in zip(model.predict(images, with_evidence=True), model(images), strict=True):
            assert torch.allclose(sample.pred_score, sample.region_scores.mean(dim=0), atol=1e-6)
            assert torch.allclose(sample.pred_score, raw.exp(), atol=1e-6)  # they are logarithms of it
            assert torch.allclose(sample.fused_scores[0], sample.region_scores[:2].mean(dim=0), atol=1e-6)


@pytest.mark.parametrize(
    ('output', 'looks', 'read'),
    [('1', 1, lambda s: s.region_scores[0]), ('2', 2, lambda s: s.region_scores[1]),
     ('1+2', 2, lambda s: s.fused_scores[0]), ('1+2+3', 3, lambda s: s.fused_scores[1])],
)  # fmt: skip
def test_output_chooses_who_speaks_and_who_need_not_look(images, output, looks, read):
    model, whole = racnn(output=output).eval(), racnn().eval()
    with torch.no_grad():
        for sample, full in zip(
            model.predict(images, with_evidence=True), whole.predict(images, None, True), strict=True
        ):
            assert len(sample.regions) == looks
            assert torch.equal(sample.pred_score, read(full))


def test_a_sure_answer_ends_the_looking():
    """Each picture alone decides, and gets what a model of so many scales would say."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 3, 64, 64, generator=generator) * torch.linspace(0.1, 4, 40)[:, None, None, None]
    model, whole = racnn(fusion=None).eval(), racnn(fusion=None).eval()
    with torch.no_grad():
        for each in (model, whole):
            each.nets[1].head.fc.weight.mul_(10)  # the second scale is surer of some than the first
        full = whole.predict(images, with_evidence=True)
        sure = torch.stack([torch.stack([s.region_scores[0].max(), s.fused_scores[0].max()]) for s in full])
        model.exit_above, lengths = next(
            (t, lengths)
            for t in sorted(sure.flatten().tolist())
            if set(lengths := [1 if a >= t else 2 if b >= t else 3 for a, b in sure.tolist()]) == {1, 2, 3}
        )
        stopped = model.predict(images, with_evidence=True)
    assert [len(s.regions) for s in stopped] == lengths
    for sample, other, looks in zip(stopped, full, lengths, strict=True):
        expected = other.region_scores[0] if looks == 1 else other.fused_scores[looks - 2]
        assert torch.allclose(sample.pred_score, expected, atol=1e-5)
        assert torch.allclose(sample.regions, other.regions[:looks], atol=1e-6)
        assert ('fused_scores' in sample) == (looks > 1)
        assert len(sample.region_names) == looks


def learnt(model, losses):
    """Names of the parts that get a gradient."""
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    return {name.split('.')[0] for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize('grad', ['boxcar', 'sampler'])
@pytest.mark.parametrize('resample_from', ['parent', 'image'])
@pytest.mark.parametrize(
    ('phase', 'parts'),
    [('joint', {'nets', 'localizers', 'fusion'}), ('cls', {'nets', 'fusion'}), ('pretrain_apn', {'localizers'}),
     ('apn', {'localizers'})],
)  # fmt: skip
def test_what_learns_in_each_phase(images, samples, grad, resample_from, phase, parts):
    model = racnn(crop=dict(size=32, grad=grad, resample_from=resample_from)).train()
    model.set_phase(phase)
    losses = model.loss(images, samples)
    assert learnt(model, losses) == parts
    for name, parameter in model.named_parameters():
        expected = name.split('.')[0] in parts
        assert parameter.requires_grad == expected and (parameter.grad is not None) == expected, name
    assert all(module.training == ('nets' in parts) for module in model.nets.modules())
    assert all(module.training == ('localizers' in parts) for module in model.localizers.modules())
    assert ('rank_loss' in losses) == (phase in ('joint', 'apn')) and ('rank' in losses) == (phase == 'cls')
    model.set_phase('joint')
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())


def test_what_the_config_freezes_stays_frozen_in_every_phase(images, samples):
    """A backbone freezes its stages again by itself; a neck does not."""
    neck = dict(type='mmlattn.VGGFCNeck', in_channels=16, embed_dims=16, frozen=True)
    model = racnn(backbone=dict(PARTS['backbone'], frozen_stages=1), neck=neck).train()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    parts = ('backbone.layer1.', 'backbone.layer2.', 'neck.')
    assert [any(part in name for name in frozen) for part in parts] == [True, False, True]
    for phase in (*PHASES, 'joint'):
        model.set_phase(phase)
        assert not any(p.requires_grad for name, p in model.named_parameters() if name in frozen)
    model.parse_losses(model.loss(images, samples))[0].backward()
    still = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert still == frozen


@pytest.mark.parametrize('resample_from', ['parent', 'image'])
def test_each_square_learns_from_the_scale_it_leads_to(images, samples, resample_from):
    """Where both margins are missed dL/dp is -1 for each finer scale; neither reaches the other's square."""
    model = racnn(
        crop=dict(size=32, grad='sampler', resample_from=resample_from),
        rank_loss=dict(type='mmlattn.PairwiseRankLoss', margin=1.0),
    )
    squares = looking_at(model, (0.45, 0.55, 0.3), (0.5, 0.4, 0.3)).localizers
    model.set_phase('apn')
    model.loss(images, samples)['rank_loss'].backward()
    both = [localizer.square.grad.clone() for localizer in squares]
    labels = torch.cat([sample.gt_label for sample in samples])
    for scale in (1, 2):
        model.zero_grad()
        looks = model._look_closer(images, scale + 1)
        (-looks.logits[scale].softmax(dim=1).gather(1, labels[:, None]).mean()).backward()
        assert torch.allclose(squares[scale - 1].square.grad, both[scale - 1], atol=1e-7)
        assert both[scale - 1].abs().sum() > 0


def test_the_fusion_learns_from_descriptors_that_learn_nothing_from_it(images, samples):
    model = racnn().train()
    losses = model.loss(images, samples)
    assert learnt(model, {name: value for name, value in losses.items() if 'fused' in name}) == {'fusion'}


@pytest.mark.parametrize('grad', ['boxcar', 'sampler'])
def test_networks_learn_nothing_from_where_the_squares_lead(images, samples, grad):
    """The first scale is a constant in the rank loss, and the localizer reads its feature map as one."""
    model = racnn(
        crop=dict(size=32, grad=grad), rank_loss=dict(type='mmlattn.PairwiseRankLoss', margin=1.0)
    ).train()
    assert model.phase == 'joint'
    model.loss(images, samples)['rank_loss'].backward()
    learns = [any(p.grad is not None and p.grad.any() for p in part.parameters()) for part in model.nets]
    assert learns == [False, True, True]
    assert all(p.grad.any() for localizer in model.localizers for p in localizer.parameters())


@pytest.mark.parametrize('resample_from', ['parent', 'image'])
def test_squares_learn_in_pixels_of_the_picture_that_they_lie_in(images, samples, resample_from):
    """For the third scale that is the crop of the second, however large the first picture is."""
    model = racnn(
        crop=dict(size=16, grad='boxcar', resample_from=resample_from),
        rank_loss=dict(type='mmlattn.PairwiseRankLoss', margin=1.0),
    )
    squares, pictures = ((0.45, 0.55, 0.3), (0.5, 0.4, 0.3)), []

    def watch(_, args):
        pictures.append(args[0])
        if args[0].requires_grad:
            args[0].retain_grad()

    localizers = looking_at(model, *squares).localizers
    for net in model.nets:
        net.backbone.register_forward_pre_hook(watch)
    model.set_phase('apn')
    model.loss(images[:1], samples[:1])['rank_loss'].backward()
    for scale, side in ((1, 64), (2, 16)):
        grad_crop = pictures[scale].grad[0].double().numpy()
        expected = reference.boxcar_gradient(grad_crop, squares[scale - 1], side, side)
        assert localizers[scale - 1].square.grad.tolist() == pytest.approx(expected.tolist(), rel=1e-3)


@pytest.mark.parametrize(('grad', 'compiled'), [('boxcar', False), ('sampler', False), ('boxcar', True)])
def test_gradients_scale_with_the_loss(images, samples, grad, compiled):
    """Mixed precision multiplies the loss and divides the gradients; accumulation divides the loss."""
    grads = []
    for factor, through in ((1.0, False), (1024.0, compiled)):
        model = racnn(crop=dict(size=32, grad=grad)).train()
        model.set_phase('apn')
        loss = torch.compile(model.loss, backend='aot_eager') if through else model.loss
        (factor * loss(images, samples)['rank_loss']).backward()
        grads.append(torch.cat([p.grad.flatten() / factor for p in model.localizers.parameters()]))
    assert grads[0].abs().sum() > 0
    assert (grads[0] - grads[1]).norm() < 1e-4 * grads[0].norm()


@pytest.mark.parametrize('grad', ['boxcar', 'sampler'])
def test_gradients_scale_with_the_weight_of_the_rank_loss(images, samples, grad):
    grads = []
    for weight in (1.0, 3.0):
        loss = dict(type='mmlattn.PairwiseRankLoss', loss_weight=weight)
        model = racnn(crop=dict(size=32, grad=grad), rank_loss=loss).train()
        model.set_phase('apn')
        model.loss(images, samples)['rank_loss'].backward()
        grads.append(torch.cat([p.grad.flatten() / weight for p in model.localizers.parameters()]))
    assert (grads[0] - grads[1]).norm() < 1e-4 * grads[0].norm()


def test_pretraining_learns_the_square_of_the_highest_response(images, samples):
    model = racnn().train()
    model.set_phase('pretrain_apn')
    optimizer = OptimWrapper(torch.optim.Adam(model.localizers.parameters(), lr=2e-3))
    for _ in range(200):
        optimizer.update_params(model.parse_losses(model.loss(images, samples))[0])
    with torch.no_grad():
        looks = model._see(model._first_look(images), 0)
        target = highest_response_square(looks.feature_map)
        assert (target[0] - target[1]).abs().max() > 0.05
        assert torch.allclose(model._propose(looks, 1), target, atol=0.03)


@torch.no_grad()
def test_pretraining_losses_are_squared_distances_on_the_way_of_the_highest_responses(images):
    """Each scale is shown the square of the highest response, not the one proposed."""
    model = looking_at(racnn(), (0.3, 0.6, 0.2), (0.5, 0.4, 0.4))
    model.set_phase('pretrain_apn')
    losses, picture = model.loss(images, None), images
    for scale, localizer in enumerate(model.localizers):
        target = highest_response_square(model.features(picture, scale)[0])
        distances = [(localizer.square - row).square().sum() for row in target]
        assert losses[f'pretrain{scale + 2}.loss'].item() == pytest.approx(
            sum(distances).item() / len(images)
        )
        picture = attention_crop(picture, target, 32)


def test_mixed_labels_are_compared_by_their_shares(images):
    model = racnn(head=dict(PARTS['head'], loss=dict(type='mmpretrain.CrossEntropyLoss', use_soft=True)))
    shares = torch.eye(5)[:3] * 0.7 + 0.06
    hard = model.loss(images, [DataSample().set_gt_score(row) for row in torch.eye(5)[:3]])
    same = racnn().loss(images, [DataSample().set_gt_label(k) for k in range(3)])
    assert hard['rank_loss'].item() == pytest.approx(same['rank_loss'].item(), abs=1e-6)
    assert math.isfinite(model.loss(images, [DataSample().set_gt_score(row) for row in shares])['rank_loss'])


def test_every_part_starts_as_its_config_says():
    constant = [dict(type='Constant', layer=['Conv2d', 'Linear'], val=0.5)]
    model = RACNN(
        dict(PARTS['backbone'], init_cfg=constant),
        PARTS['neck'],
        dict(PARTS['head'], init_cfg=constant),
        localizer=dict(SMALL['localizer'], init_cfg=constant),
        fusion=dict(type='mmlattn.ScaleFusionHead', init_cfg=constant),
    )
    model.init_weights()
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            assert (parameter == 0.5).all(), name


def test_what_the_config_froze_stays_frozen():
    backbone = dict(type='mmpretrain.ResNet', depth=18, base_channels=4, stem_channels=4, frozen_stages=2)
    model = racnn(backbone=backbone, head=dict(PARTS['head'], in_channels=32)).train()
    before = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert before
    for phase in (*PHASES, 'joint'):
        model.set_phase(phase)
        assert {n for n, p in model.named_parameters() if not p.requires_grad} >= before
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == before


def test_leaving_a_phase_leaves_no_gradient_behind(images, samples):
    model = racnn().train()
    learnt(model, model.loss(images, samples))
    model.set_phase('apn')
    assert all(p.grad is None for p in model.nets.parameters())
    assert all(p.grad is not None for p in model.localizers.parameters())


def test_the_parameter_free_localizer_has_no_rank_loss(images, samples):
    model = racnn(localizer='activation').train()
    losses = model.loss(images, samples)
    assert 'rank_loss' not in losses and losses['side2'] == pytest.approx(0.5)
    assert learnt(model, losses) == {'nets', 'fusion'}


def test_scales_may_differ(images, samples):
    model = racnn(scales=[{}, dict(backbone=dict(base_channels=8), head=dict(in_channels=32)), {}],
                  localizer=[dict(type='mmlattn.APN', in_channels=16, form='light', spatial=4),
                             dict(type='mmlattn.APN', in_channels=32, form='light', spatial=4)])  # fmt: skip
    assert [head.in_channels for head in model.fusion] == [(16, 32), (16, 32, 16)]
    assert learnt(model, model.loss(images, samples)) == {'nets', 'localizers', 'fusion'}


def test_layer_depths_are_those_of_the_networks():
    backbone = dict(type='mmpretrain.VisionTransformer', img_size=32, patch_size=8, out_type='featmap',
                    arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=16))  # fmt: skip
    model = racnn(backbone=backbone)
    for name, _ in model.named_parameters():
        depth, deepest = model.get_layer_depth(name)
        if name.startswith('nets.'):
            assert (depth, deepest) == model.nets[0].get_layer_depth(name.split('.', 2)[2])
        else:
            assert depth == deepest - 1


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(num_scales=0), 'num_scales must be a whole number of 1 or more, got 0'),
        (dict(localizer='saliency'), "localizer must be 'activation' or a config such as .* got 'saliency'"),
        (
            dict(localizer=[dict(type='mmlattn.APN', in_channels=16)]),
            'one for each scale but the finest, 2, got 1',
        ),
        (dict(crop=dict(grad='caffe')), "crop.grad must be one of 'boxcar', 'sampler'"),
        (dict(crop=dict(zoom=2)), 'crop must be a dict with some of size, grad'),
        (dict(crop=dict(size=(1, 2, 3))), r'a side, or \(height, width\)'),
        (dict(crop=dict(sharpness=-1.0)), 'crop.sharpness must be a finite number of 0 or more'),
        (dict(glance=16), "crop=dict\\(resample_from='image'\\)"),
        (dict(output='2+3'), "output must be one of '1', '2', '3', '1\\+2', '1\\+2\\+3'"),
        (dict(output='1', exit_above=0.9), 'set output=None'),
        (dict(exit_above=90), r'exit_above must lie in \[0, 1\], got 90'),
        (dict(fusion='mean'), 'fusion must be a config, or None'),
        (dict(fusion=dict(type='mmlattn.ScaleFusionHead', num_classes=7)), 'fusion.num_classes=7'),
        (dict(fusion=dict(type='mmlattn.ScaleFusionHead', in_channels=[16])), 'for each of 3 scales'),
        (dict(shared='False'), 'shared must be True or False'),
        (dict(localizer=3), "a localizer must be 'activation' or a config such as .* got 3"),
        (dict(localizer=[None, None]), "a localizer must be 'activation' or a config such as .* got None"),
        (dict(shared=True, scales=[{}, {}, {}]), 'needs shared=False'),
        (dict(scales=[{}]), 'for each of num_scales=3'),
        (dict(scales=[{}, {}, dict(body={})]), 'dict with some of backbone, neck, head, got'),
        (
            dict(head=dict(type='mmlattn.CSRAHead', num_classes=5, in_channels=16, num_heads=1)),
            'of a single label',
        ),
    ],
)
def test_wrong_arguments_are_explained(changes, message):
    with pytest.raises(ValueError, match=message):
        racnn(**changes)


def test_modes_and_phases_have_names(images):
    with pytest.raises(ValueError, match="mode must be one of 'tensor', 'loss', 'predict', got 'logits'"):
        racnn()(images, mode='logits')
    with pytest.raises(
        ValueError, match="phase must be one of 'joint', 'cls', 'pretrain_apn', 'apn', got 'rank'"
    ):
        racnn().set_phase('rank')


@pytest.mark.parametrize('phase', ['joint', 'cls', 'apn'])
@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (None, 'as many data samples with their labels, got none'),
        ([[0], [1]], 'got 2'),
        ([[0], [], [2]], 'one label for each picture'),
        ([[0, 1], [], [2]], 'one label for each picture'),
        ([[0], [5], [2]], 'labels must be 0 to 4'),
        ([[0], [-100], [2]], 'labels must be 0 to 4'),
        ([[1.0, 1, 0, 0, 1]] * 3, 'must sum to 1'),
        ([[1.0]] * 3, 'one label for each picture'),
        ([[1.0, 0, 0, 0, 0], [1], [2]], 'one label for each picture'),
    ],
    ids=str,
)
def test_anything_but_one_label_each_is_refused(images, phase, wrong, message):
    model = racnn().train()
    model.set_phase(phase)
    samples = wrong and [
        DataSample().set_gt_score(torch.tensor(x))
        if x and isinstance(x[0], float)
        else DataSample().set_gt_label(x)
        for x in wrong
    ]
    with pytest.raises(ValueError, match=message):
        model.loss(images, samples)


def test_half_precision_is_the_same_network(images):
    half = racnn().half().eval()
    racnn().load_state_dict(half.state_dict())
    with torch.no_grad():
        scores = racnn().eval()(images)
        assert torch.allclose(half(images.half()).float(), scores, atol=0.05 * scores.abs().max())
    with pytest.raises(ValueError, match='least'):
        racnn(localizer=dict(SMALL['localizer'], least=0.2)).load_state_dict(half.state_dict())


def test_what_an_image_classifier_takes_is_taken(images):
    """Necks in a row; classes in place of names."""
    pool = [dict(type='mmpretrain.GlobalAveragePooling')]
    model = racnn(neck=pool, localizer=['activation', dict(SMALL['localizer'], type=APN)]).eval()
    assert [type(part).__name__ for part in model.localizers] == ['ActivationLocalizer', 'APN']
    with torch.no_grad():
        assert model(images).shape == (3, 5)


def test_autocast_keeps_squares_and_scores_in_float32(images, samples):
    model = racnn().train()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model.loss(images, samples)
    assert learnt(model, losses) == {'nets', 'localizers', 'fusion'}
    assert all(value.isfinite() for value in losses.values())
    model.eval()
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        looks = model._look_closer(images, 3)
    assert {x.dtype for x in (*looks.logits, *looks.regions, looks.theta, looks.picture)} == {torch.float32}


def test_raw_scores_have_the_gradient_of_what_was_seen():
    """By the pictures and by the weights of all networks, through the fusion; a square of whole pixels is a slice."""
    model = looking_at(racnn(num_scales=2).double(), (0.75, 0.25, 0.25))
    images = torch.rand(3, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    twin = images.detach().clone().requires_grad_()
    by_hand = []
    for net, picture in zip(model.nets, (twin, twin[:, :, :32, 32:]), strict=True):
        (x,) = net.neck(net.backbone(picture))
        by_hand.append(10 * x / x.norm(dim=1, keepdim=True))
    expected = model.fusion[0].fc(torch.cat(by_hand, dim=1).float().double())
    cotangent = torch.randn(3, 5, dtype=torch.float64)
    weights = [
        p for part in (model.nets, model.fusion) for n, p in part.named_parameters() if '.head.' not in n
    ]
    wanted = torch.autograd.grad(expected, (twin, *weights), cotangent)
    scores = model(images)
    torch.testing.assert_close(scores.double(), expected)
    got = torch.autograd.grad(scores, (images, *weights), cotangent.float())
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('output', [None, '1', '2', '1+2'])
@pytest.mark.parametrize('fusion', [dict(type='mmlattn.ScaleFusionHead'), None])
def test_class_activation_maps_find_a_gradient(images, output, fusion):
    """As mmpretrain's ``vis_cam.py``: of the best score, by the last normalisation of ``model.backbone``."""
    model = racnn(output=output, fusion=fusion).eval()
    layer = [m for _, m in model.backbone.named_modules(prefix='backbone') if isinstance(m, nn.BatchNorm2d)][
        -1
    ]
    kept = []
    layer.register_forward_hook(lambda module, args, out: kept.append(out))
    score = model(images).amax(dim=1).sum()
    if output == '2':
        with pytest.raises(RuntimeError):
            # The second scale alone: what it sees is taken from the picture, not from the first one's features.
            torch.autograd.grad(score, kept[0])
    else:
        assert torch.autograd.grad(score, kept[0])[0].any()


def test_features_by_stage(images):
    head = dict(type='mmlattn.ScaledLinearClsHead', num_classes=5, in_channels=16, scale=0.1)
    model = racnn(head=head, output='1').eval()
    with torch.no_grad():
        looks = model._look_closer(images, 3)
        maps = model.extract_feat(images, stage='backbone')
        descriptors = model.extract_feat(images)
        together = model.extract_feat(images, stage='pre_logits')
    assert [tuple(x.shape) for x in maps] == [(3, 16, 16, 16), (3, 16, 8, 8), (3, 16, 8, 8)]
    assert torch.equal(maps[2], looks.feature_map)
    for k, net in enumerate(model.nets):
        pooled = maps[k].mean(dim=(2, 3))
        torch.testing.assert_close(descriptors[k], 0.1 * pooled)
        torch.testing.assert_close(descriptors[k] @ net.head.fc.weight.T + net.head.fc.bias, looks.logits[k])
        torch.testing.assert_close(together[:, 16 * k : 16 * (k + 1)].norm(dim=1), torch.full((3,), 10.0))
    torch.testing.assert_close(model.fusion[1].fc(together), model.fusion(looks.logits, looks.descriptors))
    with pytest.raises(UserError, match=r"stage must be one of .* got 'head'"):
        model.extract_feat(images, stage='head')


def test_what_tools_ask_of_a_classifier_is_that_of_the_first_scale():
    model = racnn()
    assert model.backbone is model.nets[0].backbone and model.neck is model.nets[0].neck and model.with_neck
    assert not racnn(neck=None, head=PARTS['head'] | dict(in_channels=16)).with_neck
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    assert not any(name.startswith(('backbone.', 'neck.')) for name in names)


def test_recipes_switch_the_loss_of_all_heads(images, samples):
    """Mmpretrain's ``SwitchRecipeHook``."""
    model, keys = racnn(), set(racnn().state_dict())
    loss = LabelSmoothLoss(label_smooth_val=0.3, num_classes=5, mode='original')
    SwitchRecipeHook._switch_loss(SimpleNamespace(model=model), loss)
    heads = [*(net.head for net in model.nets), *model.fusion]
    assert all(type(head.loss_module) is LabelSmoothLoss for head in heads)
    assert len({id(head.loss_module) for head in heads}) == len(heads)
    assert type(model.loss_module) is LabelSmoothLoss and set(model.state_dict()) == keys
    logits = model._look_closer(images, 1).logits[0]
    smooth = F.cross_entropy(logits, torch.tensor([0, 4, 2]), label_smoothing=0.3)
    torch.testing.assert_close(model.loss(images, samples)['scale1.loss'], smooth)
