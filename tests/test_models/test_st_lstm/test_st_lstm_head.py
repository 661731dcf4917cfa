"""STLSTMHead with the neck against the equations, without it, and its decisions and evidence."""

import pytest
import torch
from mmpretrain.structures import DataSample
from reference.st_lstm import Reference, constraints, fused, softmax_l2

from mmlattn.models import STLSTM, STLSTMHead
from mmlattn.models.layers.spatial_transformer import theta_to_boxes
from mmlattn.models.st_lstm.neck import STLSTMOutput
from mmlattn.models.st_lstm.regions import region_anchors
from mmlattn.utils.errors import UserError

CLASSES, DIMS = 4, 7
LABELS = [[0, 2], [], [3]]
BCE = dict(type='mmpretrain.CrossEntropyLoss', use_sigmoid=True)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make_head(**options):
    return STLSTMHead(CLASSES, DIMS, **options)


def make_neck(**options):
    sizes = dict(in_channels=3, embed_dims=6, hidden_dims=5, out_dims=DIMS, region_size=4)
    neck = STLSTM(**(sizes | options))
    with torch.no_grad():
        for parameter in neck.parameters():
            parameter.normal_(0, 0.5)
    return neck.double()


def multi_hot(labels=LABELS):
    return torch.stack([torch.eye(CLASSES, dtype=torch.float64)[rows].sum(0) for rows in labels])


def samples(labels=LABELS):
    return [DataSample().set_gt_label(label) for label in labels]


def regions(batch=3, count=5, extra=0):
    """As the neck would put them out: some mirrored, some sticking out."""
    theta = torch.randn(batch, count, 4) * 0.6
    feats = torch.randn(batch, count + extra, DIMS)
    return STLSTMOutput(feats, theta, *region_anchors(count), feats.amax(1))


def bce(scores, target):
    """Summed over classes, mean over all pictures, as mmpretrain divides it."""
    p = scores.sigmoid()
    return -(target * p.log() + (1 - target) * (1 - p).log()).sum() / len(scores)


PIPELINES = {
    'paper': ({}, {}),
    'lse, bounded': (dict(loc_param='bounded'), dict(fuse='lse')),
    'mean, residual': (dict(loc_param='residual_anchor', anchor=dict(first='center')), dict(fuse='mean')),
    'noisy-or, one region': (dict(num_steps=1, region_embed='gap'), dict(fuse='noisy_or', loss=BCE)),
    'global, steps': (dict(include_global=True, num_steps=2), dict(aux_step_weight=0.3)),
    'sigmoid, steps, all constraints': (
        dict(region_embed='conv', cell_out='tanh', align_corners=True, region_pool='avg'),
        dict(
            fuse='noisy_or', loss=BCE, aux_step_weight=0.7, loc_weight=0.2,
            loss_loc=dict(type='mmlattn.RegionConstraintLoss', lambda_overlap=0.4),
        ),
    ),
    'unconstrained': (dict(region_pool=None, region_size=3), dict(loss_loc=None)),
}  # fmt: skip


@pytest.mark.parametrize(('neck_options', 'head_options'), PIPELINES.values(), ids=PIPELINES)
def test_neck_and_head_equal_the_equations(neck_options, head_options):
    """Scores, each loss by name, and gradients of every weight; one of three pictures has no label."""
    neck, head = make_neck(**neck_options), make_head(**head_options).double()
    weights = dict(neck.named_parameters()) | dict(head.named_parameters())
    reference = Reference(weights, **(dict(region_size=4) | neck_options))
    x, target = torch.randn(3, 3, 5, 8, dtype=torch.float64), multi_hot()

    feats = neck(x)
    step_feats, theta = reference.neck(x)
    step_scores = reference.head(step_feats)
    scores = fused(step_scores, head_options.get('fuse', 'max'))
    torch.testing.assert_close(head.step_scores(feats), step_scores, rtol=0, atol=1e-9)
    torch.testing.assert_close(head(feats), scores, rtol=0, atol=1e-9)

    criterion = bce if 'loss' in head_options else softmax_l2
    expected = dict(loss_cls=criterion(scores, target))
    if 'aux_step_weight' in head_options:
        looks = [criterion(step_scores[:, k], target) for k in range(step_scores.shape[1])]
        expected['loss_step'] = head_options['aux_step_weight'] * sum(looks) / len(looks)
    loc = head_options.get('loss_loc', {})
    if loc is not None:
        gamma = head_options.get('loc_weight', 0.1)
        terms = [constraints(t, first=neck_options.get('anchor', {}).get('first', 'none')) for t in theta]
        factors = dict(scale=1, anchor=0.01, positive=0.1)
        factors |= {name[7:]: value for name, value in loc.items() if name.startswith('lambda')}
        for name, factor in factors.items():
            expected[f'loss_{name}'] = gamma * factor * sum(sum(image[name]) for image in terms) / len(theta)
    losses = head.loss(feats, samples())
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-6, atol=1e-7, check_dtype=False, msg=name)
    sum(losses.values()).backward()
    sum(expected.values()).backward()
    for name, parameter in [*neck.named_parameters(), *head.named_parameters()]:
        grad = reference.weights[name].grad
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-5, atol=1e-7, msg=name)


def test_head_alone_reads_vectors_tokens_and_maps():
    """One look, one look a token, one a cell: with maximum fusion classic multiple-instance learning."""
    head = make_head().double()
    vector, tokens = torch.randn(2, DIMS).double(), torch.randn(2, 6, DIMS).double()
    feature_map = tokens.mT.reshape(2, DIMS, 2, 3)
    torch.testing.assert_close(head((vector,)), head.fc(vector))
    torch.testing.assert_close(head.step_scores((vector,)), head.fc(vector)[:, None])
    for feats in (tokens, feature_map):
        torch.testing.assert_close(head.step_scores((vector, feats)), head.fc(tokens))
        torch.testing.assert_close(head([feats]), head.fc(tokens).amax(1))
        losses = head.loss((feats,), samples([[0], [1, 2]]))
        assert set(losses) == {'loss_cls'}
        torch.testing.assert_close(
            losses['loss_cls'], softmax_l2(head.fc(tokens).amax(1), multi_hot([[0], [1, 2]]))
        )


@pytest.mark.parametrize('loss', [dict(type='mmlattn.SoftmaxL2Loss'), BCE], ids=['softmax', 'bce'])
def test_soft_labels(loss):
    head, feats = make_head(loss=loss, loss_loc=None).double(), torch.randn(2, DIMS).double()
    target = torch.tensor([[0.5, 0, 1, 0], [0.1, 0.2, 0.3, 0.9]]).double()
    soft = [DataSample().set_gt_score(row) for row in target]
    expected = (bce if loss is BCE else softmax_l2)(head.fc(feats), target)
    loss = head.loss((feats,), soft)['loss_cls']
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7, check_dtype=False)


@pytest.mark.parametrize('options', [{}, dict(aux_step_weight=1.0), dict(loss_loc=None)])
def test_batch_without_labels_trains_only_the_regions(options):
    """0 from the scores; every weight of neck and head still gets a gradient, for data-parallel training."""
    neck, head = make_neck(), make_head(**options).double()
    losses = head.loss(neck(torch.randn(2, 3, 5, 8).double()), samples([[], []]))
    assert losses['loss_cls'] == 0 and losses.get('loss_step', 0) == 0
    sum(losses.values()).backward()
    for name, parameter in [*neck.named_parameters(), *head.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert head.fc.weight.grad.eq(0).all()
    assert neck.loc.weight.grad.abs().sum().gt(0) == ('loss_loc' not in options)


def test_difficult_classes_count_as_absent_and_wrong_labels_are_named():
    head, feats = make_head(loss_loc=None), (torch.randn(1, DIMS),)
    difficult = DataSample(metainfo=dict(gt_label_difficult=[3])).set_gt_label([0])
    expected = head.loss(feats, samples([[0]]))['loss_cls']
    assert torch.equal(head.loss(feats, [difficult])['loss_cls'], expected)
    for sample, said in (
        (samples([[CLASSES]])[0], 'num_classes'),
        (DataSample(), 'neither gt_label nor gt_score'),
    ):
        with pytest.raises(UserError, match=said):
            head.loss(feats, [sample])


def test_keyword_arguments_reach_the_loss():
    head, feats = make_head(loss_loc=None), (torch.randn(2, DIMS),)
    one, two = (head.loss(feats, samples([[0], [1]]), reduction_override=how) for how in ('mean', 'sum'))
    torch.testing.assert_close(2 * one['loss_cls'], two['loss_cls'])


@pytest.mark.parametrize('fuse', ['max', 'lse', 'mean', 'noisy_or'])
@pytest.mark.parametrize('score_norm', ['softmax', 'sigmoid'])
def test_scores_and_region_scores(score_norm, fuse):
    """A softmax has one normaliser for all looks of a picture: the ranking of looks is that of the raw scores."""
    head, feats = make_head(score_norm=score_norm, fuse=fuse), regions()
    raw, steps = head(feats), head.step_scores(feats)
    pred = head.eval().predict(feats, with_evidence=True)
    got, rows = (
        torch.stack([sample.get(name) for sample in pred]) for name in ('pred_score', 'region_scores')
    )
    if score_norm == 'softmax':
        torch.testing.assert_close(got, raw.softmax(1))
        offset = rows.log() - steps
        torch.testing.assert_close(offset, offset[:, :1, :1].expand_as(offset), rtol=0, atol=1e-5)
        torch.testing.assert_close(rows.amax(1).sum(1), torch.ones(3))
    else:
        torch.testing.assert_close((got, rows), (raw.sigmoid(), steps.sigmoid()))
    if fuse == 'max':
        torch.testing.assert_close(rows.amax(1), got, rtol=1e-6, atol=0)
    assert torch.equal(rows.argmax(1), steps.argmax(1))


def test_evidence_on_request_only_and_clipped():
    feats = regions()
    for head, asked in ((make_head(), None), (make_head(with_evidence=True), False)):
        assert not {'regions', 'region_scores'} & set(head.predict(feats, with_evidence=asked)[0].keys())
    boxes = theta_to_boxes(feats.theta)
    assert (boxes < 0).any() and (boxes > 1).any() and (feats.theta[..., :2] < 0).any()
    for head, asked in ((make_head(), True), (make_head(with_evidence=True), None)):
        given = samples()
        pred = head.predict(feats, given, with_evidence=asked)
        assert all(a is b for a, b in zip(pred, given, strict=True)) and pred[0].gt_label.tolist() == [0, 2]
        got = torch.stack([sample.regions for sample in pred])
        torch.testing.assert_close(got, boxes.clamp(0, 1), rtol=0, atol=0)
        assert not got.requires_grad and pred[0].region_scores.shape == (5, CLASSES)


def test_evidence_of_the_whole_picture_comes_first():
    pred = make_head().predict(regions(extra=1), with_evidence=True)[0]
    assert pred.regions.shape == (6, 4) and pred.region_scores.shape == (6, CLASSES)
    assert pred.regions[0].tolist() == [0, 0, 1, 1]


def test_evidence_of_a_map_is_an_attention_map():
    """Where looks are cells, each class's map sums to 1 and, fused by maximum, has its whole weight on one."""
    head, x = make_head(), torch.randn(2, DIMS, 3, 5)
    for sample, cells in zip(
        head.predict((x,), with_evidence=True), head.fc(x.permute(0, 2, 3, 1)), strict=True
    ):
        assert 'regions' not in sample
        assert sample.attention_maps.shape == (CLASSES, 3, 5)
        best = cells.flatten(0, 1).argmax(0)
        expected = torch.nn.functional.one_hot(best, 15).float()
        assert torch.equal(sample.attention_maps.flatten(1), expected)
    mean = make_head(fuse='mean').predict((x,), with_evidence=True)[0].attention_maps
    torch.testing.assert_close(mean, torch.full((CLASSES, 3, 5), 1 / 15))


DECISIONS = [
    (dict(), 'softmax', 0.1, None),
    (dict(score_norm='sigmoid'), 'sigmoid', 0.5, None),
    (dict(thr=0.3), 'softmax', 0.3, None),
    (dict(topk=2), 'softmax', None, 2),
    (dict(topk=3, thr=0.2), 'softmax', 0.2, 3),
    (dict(topk=1, thr=0.8, score_norm='sigmoid'), 'sigmoid', 0.8, 1),
]


@pytest.mark.parametrize(('options', 'norm', 'thr', 'topk'), DECISIONS, ids=str)
def test_decisions(options, norm, thr, topk):
    """At least thr, among the k best, or both."""
    head, feats = make_head(**options), (torch.randn(40, DIMS) * 2,)
    raw = head(feats)
    scores = {'softmax': raw.softmax(1), 'sigmoid': raw.sigmoid()}[norm]
    sizes = set()
    for sample, row in zip(head.predict(feats), scores.tolist(), strict=True):
        order = sorted(range(CLASSES), key=lambda c: -row[c])[:topk]
        chosen = [c for c in order if thr is None or row[c] >= thr]
        assert sorted(sample.pred_label.tolist()) == sorted(chosen)
        assert sample.pred_label.dtype == torch.long
        sizes.add(len(chosen))
    assert len(sizes) > 1 or thr is None


def test_selection_is_that_of_predict_and_takes_equality():
    head = make_head(thr=0.25, topk=3)
    labels = head.select(torch.tensor([[0.25, 0.25, 0.5, 0.0], [0.1, 0.1, 0.1, 0.7], [0.1, 0.1, 0.1, 0.1]]))
    assert [sorted(row.tolist()) for row in labels] == [[0, 1, 2], [3], []]
    feats = (torch.randn(5, DIMS),)
    pred = head.predict(feats)
    picked = head.select(torch.stack([sample.pred_score for sample in pred]))
    for sample, row in zip(pred, picked, strict=True):
        assert torch.equal(sample.pred_label, row)


def test_scores_in_single_precision_under_autocast():
    neck, head, x = make_neck().float(), make_head(), torch.randn(2, 3, 5, 8)
    expected = head.loss(neck(x), samples([[0], [1, 2]]))
    with torch.autocast('cpu', torch.bfloat16):
        feats = neck(x)
        scores, losses = head(feats), head.loss(feats, samples([[0], [1, 2]]))
        pred = head.predict(feats, with_evidence=True)
    assert scores.dtype == pred[0].pred_score.dtype == pred[0].regions.dtype == torch.float32
    torch.testing.assert_close(scores, head(neck(x)), rtol=0.1, atol=0.1)
    for name, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], rtol=0.1, atol=0.02)
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in [*neck.parameters(), *head.parameters()])


@pytest.mark.parametrize('fuse', ['max', 'lse', 'mean', 'noisy_or'])
@pytest.mark.parametrize('score_norm', ['softmax', 'sigmoid'])
@pytest.mark.parametrize('value', [1e4, -1e4])
def test_extreme_scores_are_finite(value, score_norm, fuse):
    head = make_head(fuse=fuse, score_norm=score_norm, aux_step_weight=1.0)
    torch.nn.init.constant_(head.fc.bias, value)
    with torch.no_grad():
        head.fc.bias[0] *= -1
    feats = regions()
    losses = head.loss(feats, samples())
    sum(losses.values()).backward()
    assert all(v.isfinite() for v in losses.values()) and head.fc.weight.grad.isfinite().all()
    for sample in head.predict(feats, with_evidence=True):
        assert sample.pred_score.isfinite().all() and sample.region_scores.isfinite().all()


def test_checkpoint_names_and_start():
    head = make_head()
    assert {name for name, _ in head.named_parameters()} == {'fc.weight', 'fc.bias'}
    torch.nn.init.constant_(head.fc.weight, 9.0)
    head.init_weights()
    assert head.fc.weight.abs().max() <= (6 / (CLASSES + DIMS)) ** 0.5 and head.fc.bias.eq(0).all()


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(num_classes=0), 'num_classes.*0'),
        (dict(in_channels=-1), 'in_channels.*-1'),
        (dict(num_classes=2.5), 'num_classes.*2.5'),
        (dict(fuse='sum'), "fuse.*'sum'"),
        (dict(score_norm='tanh'), "score_norm.*'tanh'"),
        (dict(loc_weight=float('nan')), 'loc_weight.*nan'),
        (dict(loc_weight=-1), 'loc_weight.*-1'),
        (dict(aux_step_weight=-0.5), 'aux_step_weight.*-0.5'),
        (dict(thr='a'), "thr.*'a'"),
        (dict(thr=float('nan')), 'thr.*nan'),
        (dict(topk=0), 'topk.*0'),
        (dict(topk=1.5), 'topk.*1.5'),
    ],
)
def test_impossible_arguments_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        STLSTMHead(**(dict(num_classes=CLASSES, in_channels=DIMS) | options))


@pytest.mark.parametrize(
    ('feats', 'said'),
    [
        ((torch.zeros(2, DIMS + 1),), f'{DIMS + 1}.*{DIMS}|{DIMS}.*{DIMS + 1}'),
        ((torch.zeros(2, 3, DIMS + 1),), f'{DIMS + 1}'),
        ((torch.zeros(2, DIMS + 1, 4, 4),), f'{DIMS + 1}'),
        ((torch.zeros(DIMS),), rf'\({DIMS},\)'),
    ],
)
def test_unreadable_features_are_named(feats, said):
    with pytest.raises(ValueError, match=said):
        make_head()(feats)
