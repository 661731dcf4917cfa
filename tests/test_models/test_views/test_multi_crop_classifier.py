"""Prediction from several crops equals a plain loop over pictures and crops, for heads of every kind."""

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mmlattn.apis import MultiLabelInferencer
from mmlattn.models import MultiCropClassifier
from mmlattn.utils.errors import UserError

CLASSES, WIDTH, MARGIN = 4, 6, 16
ORIGINS = [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)]  # on a map of 8 x 6 cells of 8 pixels
ST_LSTM = dict(
    type='mmlattn.STLSTM',
    in_channels=WIDTH,
    num_steps=3,
    region_size=4,
    embed_dims=8,
    hidden_dims=8,
    out_dims=WIDTH,
)
GAP = dict(type='mmpretrain.GlobalAveragePooling')
SIZES = dict(num_classes=CLASSES, in_channels=WIDTH)
LINEAR = dict(type='mmpretrain.LinearClsHead', topk=1, **SIZES)
SYSTEMS = {
    'st_lstm': dict(neck=ST_LSTM, head=dict(type='mmlattn.STLSTMHead', thr=0.24, topk=2, **SIZES)),
    'st_lstm alone': dict(head=dict(type='mmlattn.STLSTMHead', score_norm='sigmoid', **SIZES)),
    'csra': dict(head=dict(type='mmlattn.CSRAHead', num_heads=2, lam=0.3, **SIZES)),
    'multi-label, thr': dict(
        neck=GAP, head=dict(type='mmpretrain.MultiLabelLinearClsHead', thr=0.5, **SIZES)
    ),
    'multi-label, topk': dict(
        neck=GAP, head=dict(type='mmpretrain.MultiLabelLinearClsHead', topk=3, **SIZES)
    ),
    'single label': dict(neck=GAP, head=LINEAR),
    'wrapped': dict(neck=ST_LSTM, head=dict(type='mmlattn.RegionConstraintWrapper', head=LINEAR)),
}
RULES = {
    'st_lstm': lambda p: [c for c in p.argsort(descending=True)[:2].sort().values.tolist() if p[c] >= 0.24],
    'multi-label, topk': lambda p: p.topk(3).indices.tolist(),
    'single label': lambda p: [p.argmax().item()],
    'wrapped': lambda p: [p.argmax().item()],
}
NORMS = {'st_lstm': 'softmax', 'single label': 'softmax', 'wrapped': 'softmax'}


class Patches(nn.Module):
    """A backbone of one layer, 8 x 8 pixels to a cell."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTH, 8, stride=8)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return (self.conv(x),)


def build(system, **options):
    torch.manual_seed(1)
    modules = {part: MODELS.build(cfg) for part, cfg in SYSTEMS[system].items()}
    for parameter in (p for module in modules.values() for p in module.parameters()):
        nn.init.normal_(parameter, std=0.7)
    return MultiCropClassifier(backbone=Patches(), margin=MARGIN, **modules, **options).eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 64, 48, generator=torch.Generator().manual_seed(0))


def looks(model, images, mirrored, **kwargs):
    """For each picture, what the head says of each crop, one at a time."""
    answers = []
    for image in images:
        (whole,) = model.backbone(image[None])
        crops = [whole[..., y : y + 6, x : x + 4] for y, x in ORIGINS]
        crops += [crop.flip(-1) for crop in crops] if mirrored else []
        feats = [model.neck((crop,)) if model.with_neck else (crop,) for crop in crops]
        answers.append([(model.head(f)[0], model.head.predict(f, None, **kwargs)[0]) for f in feats])
    return answers


@torch.no_grad()
@pytest.mark.parametrize('options', [dict(), dict(crops='ten', fuse='max'), dict(fuse_on='logit')], ids=str)
@pytest.mark.parametrize('system', SYSTEMS)
def test_equals_a_loop_over_pictures_and_crops(system, options, images):
    model = build(system, **options)
    samples = [DataSample(metainfo=dict(img_path=f'{i}.jpg')).set_gt_label([i]) for i in range(3)]
    predicted = model(images, samples, mode='predict')
    assert model.backbone.calls == 1
    answers = looks(model, images, options.get('crops') == 'ten')
    rule = RULES.get(system, lambda p: (p >= 0.5).nonzero()[:, 0].tolist())
    for i, (sample, answer) in enumerate(zip(predicted, answers, strict=True)):
        if 'fuse_on' in options:
            logits = torch.stack([logits for logits, _ in answer]).mean(0)
            expected = logits.softmax(-1) if NORMS.get(system) == 'softmax' else logits.sigmoid()
        else:
            scores = torch.stack([look.pred_score for _, look in answer])
            expected = scores.amax(0) if options.get('fuse') == 'max' else scores.mean(0)
        torch.testing.assert_close(sample.pred_score, expected)
        assert sample.pred_label.tolist() == rule(sample.pred_score)
        assert sample is samples[i] and sample.img_path == f'{i}.jpg' and sample.gt_label.tolist() == [i]


@torch.no_grad()
@pytest.mark.parametrize('system', SYSTEMS)
def test_without_crops_it_is_an_image_classifier(system, images):
    model = build(system, crops=None)
    plain = ImageClassifier(model.backbone, model.neck, model.head)
    for own, other in zip(model.predict(images), plain.predict(images), strict=True):
        assert torch.equal(own.pred_score, other.pred_score) and torch.equal(own.pred_label, other.pred_label)


@pytest.mark.parametrize('crops', ['five', 'ten', None])
def test_weights_training_and_tensor_mode_are_those_of_an_image_classifier(crops, images):
    model = build('st_lstm', crops=crops)
    plain = ImageClassifier(model.backbone, model.neck, model.head)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(model(images), plain(images))
    samples = [DataSample().set_gt_label([i]) for i in range(3)]
    assert model(images, samples, mode='loss') == plain(images, samples, mode='loss')


class Coordinates(nn.Module):
    """A backbone whose maps, at two strides, hold the row and the column of each cell."""

    def forward(self, x):
        sizes = [[side // stride for side in x.shape[-2:]] for stride in (8, 16)]
        maps = [torch.stack(torch.meshgrid(*map(torch.arange, size), indexing='ij')) for size in sizes]
        return tuple(m.float().expand(len(x), -1, -1, -1) for m in maps)


class Recorder(nn.Module):
    def forward(self, feats):
        self.feats = feats
        return [feat.mean((-2, -1)) for feat in feats]


@pytest.mark.parametrize(('side', 'window'), [(512, 28), (640, 36)])
def test_windows_of_the_paper_on_every_level(side, window):
    head = MODELS.build(dict(type='mmpretrain.ClsHead', topk=1))
    model = MultiCropClassifier(backbone=Coordinates(), neck=Recorder(), head=head)
    model.predict(torch.zeros(2, 3, side, side))
    fine, coarse = model.neck.feats
    assert coarse.shape == (10, 2, window, window) and fine.shape == (10, 2, 2 * window, 2 * window)
    origins = torch.tensor([(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]).repeat_interleave(2, 0)
    assert torch.equal(coarse[..., 0, 0], origins) and torch.equal(fine[..., 0, 0], 2 * origins)
    assert torch.equal(coarse[..., -1, -1], origins + window - 1)


def test_an_odd_margin_has_one_centre_on_all_levels():
    head = MODELS.build(dict(type='mmpretrain.ClsHead', topk=1))
    model = MultiCropClassifier(backbone=Coordinates(), neck=Recorder(), head=head, margin=48)
    model.predict(torch.zeros(1, 3, 320, 320))  # 20 cells less 3: the centre starts at 1, on 40 cells at 2
    fine, coarse = model.neck.feats
    assert coarse[4, :, 0, 0].tolist() == [1, 1] and fine[4, :, 0, 0].tolist() == [2, 2]


@torch.no_grad()
@pytest.mark.parametrize('fuse', ['mean', 'max'])
def test_regions_of_all_crops_lie_in_the_whole(fuse, images):
    model = build('st_lstm', crops='ten', fuse=fuse)
    answers = looks(model, images, mirrored=True, with_evidence=True)
    for sample, answer in zip(model.predict(images, with_evidence=True), answers, strict=True):
        regions, scores = [], []
        for number, (_, look) in enumerate(answer):
            y, x = ORIGINS[number % 5]
            for x1, y1, x2, y2 in look.regions.tolist():
                if number >= 5:
                    x1, x2 = 1 - x2, 1 - x1
                regions.append([(4 * x1 + x) / 6, (6 * y1 + y) / 8, (4 * x2 + x) / 6, (6 * y2 + y) / 8])
            scores += look.region_scores
        torch.testing.assert_close(sample.regions, torch.tensor(regions))
        torch.testing.assert_close(sample.region_scores, torch.stack(scores))
        if fuse == 'max':  # a class was read from the row with its highest score
            torch.testing.assert_close(sample.region_scores.amax(0), sample.pred_score)


@torch.no_grad()
@pytest.mark.parametrize('fuse', ['mean', 'max'])
def test_attention_maps_of_all_crops_lie_in_the_whole(fuse, images):
    model = build('csra', crops='ten', fuse=fuse)
    answers = looks(model, images, mirrored=True, with_evidence=True)
    for sample, answer in zip(model.predict(images, with_evidence=True), answers, strict=True):
        scores = torch.stack([look.pred_score for _, look in answer])
        expected = torch.zeros(CLASSES, 8, 6)
        for number, (_, look) in enumerate(answer):
            y, x = ORIGINS[number % 5]
            own = look.attention_maps.flip(-1) if number >= 5 else look.attention_maps
            for c in range(CLASSES):
                weight = 0.1 if fuse == 'mean' else float(scores[:, c].argmax() == number)
                expected[c, y : y + 6, x : x + 4] += weight * own[c]
        torch.testing.assert_close(sample.attention_maps, expected)
        torch.testing.assert_close(sample.attention_maps.sum((-2, -1)), torch.ones(CLASSES))


class Telling(type(MODELS.build(dict(type='mmpretrain.ClsHead', topk=1)))):
    """A head that emits class 0 in the first crop alone, and class 1 in none."""

    field = 'attention_maps'

    def forward(self, feats):
        return feats[-1].mean((-2, -1))

    def predict(self, feats, data_samples=None):
        samples = super().predict(feats, data_samples)
        for number, sample in enumerate(samples):
            maps = torch.full((WIDTH, 6, 4), 1 / 24)
            maps[1 if number == 0 else [0, 1]] = 0
            sample.set_field(maps if self.field == 'attention_maps' else torch.zeros(1), self.field)
        return samples


def test_crops_without_a_map_of_a_class_do_not_dilute_it(images):
    model = MultiCropClassifier(backbone=Patches(), head=Telling(topk=1), margin=MARGIN)
    maps = model.predict(images[:1])[0].attention_maps
    torch.testing.assert_close(maps.sum((-2, -1)), torch.tensor([1.0, 0, 1, 1, 1, 1]))
    assert maps[0, :6, :4].min() == pytest.approx(1 / 24)


def test_what_cannot_be_fused_is_no_less_than_an_error(images):
    head = Telling(topk=1)
    model = MultiCropClassifier(backbone=Patches(), head=head, margin=MARGIN)
    head.field = 'label_path'
    with pytest.raises(ValueError, match='label_path of several crops cannot be fused'):
        model.predict(images)
    head.field, head.forward = 'attention_maps', lambda feats: feats[-1].mean((-2, -1))
    with pytest.raises(ValueError, match=r'\(6, 4\) cells cannot be put back: .* have \(4, 4\) cells'):
        model.predict(images[..., :48, :])
    model.backbone.forward = lambda x: (torch.zeros(3, 5),)
    with pytest.raises(ValueError, match=r'feature maps \(B, D, h, w\), but the backbone gives \(3, 5\)'):
        model.predict(images)


@pytest.mark.parametrize('mode', ['loss', 'predict'])
def test_a_margin_that_cannot_fit_is_refused_in_training_too(mode, images):
    model = build('single label', crops='ten')
    model.margin = 20  # cells of 8 pixels
    with pytest.raises(UserError, match=r'margin=20.* a cell is 8 pixels, so take a multiple of 8 from 16'):
        model(images, [DataSample().set_gt_label([0]) for _ in images], mode=mode)


@pytest.mark.parametrize('crops', ['five', None])
def test_no_pictures_give_no_predictions(crops, images):
    assert build('csra', crops=crops).predict(images[:0]) == []


def test_a_head_without_a_rule_is_refused(images):
    head = nn.Identity()
    head.predict = lambda feats, _: [DataSample().set_pred_score([0.5, 0.5]) for _ in feats[-1]]
    with pytest.raises(ValueError, match='Identity has no rule'):
        MultiCropClassifier(backbone=Patches(), head=head, margin=MARGIN).predict(images)


@pytest.mark.parametrize(
    'option', [dict(crops='six'), dict(margin=0), dict(fuse='sum'), dict(fuse_on='score')]
)
def test_options_are_checked(option):
    name = next(iter(option))
    with pytest.raises(ValueError, match=rf'^{name} must be .* got'):
        MultiCropClassifier(backbone=Patches(), head=dict(LINEAR), **option)


def test_the_inferencer_returns_the_evidence_of_all_crops():
    model = build('csra')
    names = ('LoadImageFromFile', 'Resize', 'PackInputs')
    pipeline = [dict(type=name) for name in names]
    pipeline[1]['scale'] = (48, 64)
    model._config = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    picture = torch.randint(0, 255, (80, 80, 3), dtype=torch.uint8).numpy()
    (result,) = MultiLabelInferencer(model, device='cpu')(picture, with_evidence=True)
    assert result['attention_maps'].shape == (CLASSES, 8, 6)
    assert result['attention_maps'].sum((1, 2)) == pytest.approx([1] * CLASSES)


def test_decoder_decides_on_the_mean_of_its_scores():
    parts = dict(
        backbone=dict(type='mmpretrain.ResNet', depth=18),
        head=dict(type='mmlattn.CNNRNNHead', num_classes=5, in_channels=512, test_cfg=dict(thr=0.3)),
    )
    model = MultiCropClassifier(**parts, margin=64).eval()
    with torch.no_grad():
        (sample,) = model.predict(torch.rand(1, 3, 128, 128))
    expected = [c for c in range(5) if sample.pred_score[c] >= 0.3]
    assert sorted(sample.pred_label.tolist()) == expected
    with pytest.raises(ValueError, match="CNNRNNHead has no logits that could be fused: set fuse_on='prob'"):
        MultiCropClassifier(**parts, fuse_on='logit')
