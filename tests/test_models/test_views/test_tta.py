"""Several views, one decision: on the mean of the logits, with evidence back in the frame of the picture."""

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import DefaultScope
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample

from mmlattn.models import MultiLabelTTAModel
from mmlattn.models.views.feature_crops import FeatureWindow, boxes_from_windows, maps_from_windows
from mmlattn.models.views.placing import common_cells, overlap_shares, place_boxes, place_maps
from mmlattn.registry import MODELS
from mmlattn.structures import EVIDENCE_FIELDS
from mmlattn.structures.frames import check_frame
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.tta import views_of

BACKBONE = dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8)
SOFTMAX = dict(type='mmpretrain.CrossEntropyLoss')
POOL = dict(type='mmpretrain.GlobalAveragePooling')
LINEAR = dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=64, loss=SOFTMAX)
CSRA = dict(type='mmlattn.CSRAHead', num_classes=3, in_channels=64, num_heads=2, with_evidence=True)
STLSTM = dict(
    neck=dict(type='mmlattn.STLSTM', in_channels=64, region_size=2, embed_dims=8, hidden_dims=8, out_dims=8),
    head=dict(type='mmlattn.STLSTMHead', num_classes=3, in_channels=8, with_evidence=True),
)
DECODER = dict(type='mmlattn.CNNRNNHead', num_classes=3, in_channels=64, with_evidence=True)
CROPPING = dict(type='mmlattn.MultiCropClassifier', margin=64, head=CSRA)
ZOOMING = dict(
    type='mmlattn.RACNN',
    num_scales=2,
    localizer=dict(type='mmlattn.APN', form='light', in_channels=64, spatial=3),
    crop=dict(size=96),
    neck=POOL,
    head=LINEAR,
)
# A model, what its views are fused on, and what its merged predictions carry.
MODEL_KINDS = {
    'CSRA': (dict(head=CSRA), 'logit', {'attention_maps'}),
    'ST-LSTM': (STLSTM, 'logit', {'regions', 'region_scores'}),
    'decoder': (dict(head=DECODER), 'prob', set()),
    'decoder with maps': (dict(head=DECODER | dict(decoder='attention')), 'prob', {'attention_maps'}),
    'one label': (dict(neck=POOL, head=LINEAR), 'logit', set()),
    'crops of features': (CROPPING, 'prob', {'attention_maps'}),
    'zooming in': (ZOOMING, 'prob', set()),
}


def classifier(settings, **more):
    torch.manual_seed(0)
    cfg = dict(type='mmpretrain.ImageClassifier', backbone=BACKBONE) | settings
    cfg['data_preprocessor'] = dict(type='mmpretrain.ClsDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3)
    module = MODELS.build(cfg).eval()
    with torch.no_grad():  # as after a training, for scores that differ
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.mul_(2)
    return MultiLabelTTAModel(module=module, **more).eval()


def look(model, *views):
    """What is said of pictures (B, 3, H, W), of which there are several views, each with its facts."""
    batches = [(inputs, [DataSample(metainfo=dict(facts)) for _ in inputs]) for inputs, facts in views]
    with torch.no_grad():
        return model.test_step(dict(inputs=[b[0] for b in batches], data_samples=[b[1] for b in batches]))


def plain(model, inputs):
    with torch.no_grad():
        return model.module.test_step(dict(inputs=inputs, data_samples=[DataSample() for _ in inputs]))


def pictures(side=96, count=2):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 4


@pytest.mark.parametrize('kind', MODEL_KINDS)
@pytest.mark.parametrize('fuse', ['mean', 'max'])
def test_views_that_are_the_same_give_the_plain_prediction(kind, fuse):
    settings, fused_on, evidence = MODEL_KINDS[kind]
    model, x = classifier(settings, fuse=fuse), pictures()
    assert model.fuse_on == fused_on
    for merged, sample in zip(look(model, *[(x, {})] * 3), plain(model, x), strict=True):
        assert torch.equal(merged.pred_score, sample.pred_score)
        if 'decoder' not in kind:  # whose labels are those of its path, and of fused scores a set
            assert merged.pred_label.tolist() == sample.pred_label.tolist()
        assert {field for field in EVIDENCE_FIELDS if field in merged} == evidence
        for field in evidence:
            whole = sample.get(field)
            expected = whole.repeat(3, 1) if field.startswith('region') else whole
            assert torch.equal(merged.get(field), expected), field


def test_mirrored_views_by_hand_and_mirrored_pictures():
    model, x = classifier(dict(head=CSRA)), pictures()
    mirrored = dict(flip=True, flip_direction='horizontal')
    views = (x, {}), (x.flip(-1), mirrored)
    merged, head = look(model, *views), model.module.head
    with torch.no_grad():
        found = [head.predict_tensors(model.module.extract_feat(v), True) for v, _ in views]
    logits = (found[0]['logits'] + found[1]['logits']) / 2
    maps = (found[0]['attention_maps'] + found[1]['attention_maps'].flip(-1)) / 2
    assert not torch.allclose(*(f['logits'] for f in found), rtol=0.01), 'the two views differ'
    for index, sample in enumerate(merged):
        torch.testing.assert_close(sample.pred_score, logits[index].sigmoid())
        torch.testing.assert_close(sample.attention_maps, maps[index])
    # Of the mirrored picture the scores are the same, and the maps its mirror image.
    for sample, other in zip(merged, look(model, (x.flip(-1), {}), (x, mirrored)), strict=True):
        assert torch.equal(sample.pred_score, other.pred_score)
        torch.testing.assert_close(sample.attention_maps, other.attention_maps.flip(-1), rtol=0, atol=1e-7)


def test_regions_of_mirrored_views_are_mirrored_back():
    model, x = classifier(STLSTM), pictures()
    with torch.no_grad():  # as after a training, for regions that differ
        for parameter in model.module.neck.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) / 4)
    mirrored = dict(flip=True, flip_direction='horizontal')
    for index, sample in enumerate(look(model, (x, {}), (x.flip(-1), mirrored))):
        one, other = (plain(model, view)[index] for view in (x, x.flip(-1)))
        x1, y1, x2, y2 = other.regions.T
        assert not torch.allclose(one.regions, other.regions), 'the two views differ'
        torch.testing.assert_close(
            sample.regions, torch.cat((one.regions, torch.stack((1 - x2, y1, 1 - x1, y2), dim=1)))
        )
        assert torch.equal(sample.region_scores, torch.cat((one.region_scores, other.region_scores)))


def test_scores_of_logits_are_not_the_mean_of_the_scores():
    model, x = classifier(dict(neck=POOL, head=LINEAR)), pictures()
    on_scores = MultiLabelTTAModel(module=model.module, fuse_on='prob')
    views = (x, {}), (x.flip(-1) * 3, {})
    one, two = (plain(model, v)[0].pred_score for v, _ in views)
    product = (one * two).sqrt()
    torch.testing.assert_close(look(model, *views)[0].pred_score, product / product.sum())
    torch.testing.assert_close(look(on_scores, *views)[0].pred_score, (one + two) / 2)


def test_what_crops_and_scales_saw_lies_in_the_picture():
    """The same as feature_crops.py, which counts in cells, and as counting small points."""
    rng = torch.Generator().manual_seed(0)
    for window in (FeatureWindow(0, 2, 6, 5), FeatureWindow(1, 0, 6, 5, flipped=True)):
        maps, boxes = torch.rand(2, 6, 5, generator=rng), torch.rand(3, 4, generator=rng)
        box = (window.left / 7, window.top / 8, (window.left + 5) / 7, (window.top + 6) / 8)
        flip = 'horizontal' if window.flipped else None
        assert common_cells([(6, 5)], [box]) == (8, 7)
        (expected,) = maps_from_windows(maps[None], [window], (8, 7))
        torch.testing.assert_close(place_maps(maps, (8, 7), box, flip), expected)
        (expected,) = boxes_from_windows(boxes[None], [window], (8, 7))
        torch.testing.assert_close(place_boxes(boxes, box, flip), expected)
    points = (np.arange(120000) + 0.5) / 120000
    start, stop = 0.13, 0.81
    shares, inside = overlap_shares(5, start, stop, 7), points[(points > start) & (points < stop)]
    counted = np.zeros((7, 5))
    np.add.at(counted, ((inside * 7).astype(int), ((inside - start) / (stop - start) * 5).astype(int)), 1)
    np.testing.assert_allclose(shares.numpy(), counted / counted.sum(axis=0), atol=1e-3)
    for flip, axes in dict(vertical=[0], diagonal=[0, 1]).items():
        assert torch.equal(place_maps(maps, (6, 5), flip=flip)[0], maps[0].flip(axes))
    torch.testing.assert_close(
        place_boxes(torch.tensor([0.1, 0.2, 0.3, 0.6]), flip='diagonal'), torch.tensor([0.7, 0.4, 0.9, 0.8])
    )


PIPELINE = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(96, 64)),
    dict(type='PackInputs', algorithm_keys=['gt_boxes']),
]  # fmt: skip


def prepared(steps, picture, tmp_path):
    from PIL import Image

    Image.fromarray(picture).save(tmp_path / 'a.png')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        results = dict(img_path=str(tmp_path / 'a.png'))
        for step in steps:
            results = TRANSFORMS.build(step)(results)
    return default_collate([results])


def test_views_through_the_pipeline_keep_the_frame_of_the_picture(tmp_path):
    """Of a network that looks at one bright dot, every view finds it at its place in the picture."""
    picture = np.zeros((128, 192, 3), np.uint8)
    picture[84:108, 24:48] = 255  # centre (36, 96): at (0.1875, 0.75)
    steps = views_of(PIPELINE, scales=(1, 2), crops='five')
    batch = prepared(steps, picture, tmp_path)
    sizes = {tuple(view.shape[-2:]) for view in batch['inputs']}
    assert len(batch['inputs']) == 2 * 5 * 2 and sizes == {(56, 84), (140, 196)}  # of 64 x 96 and 160 x 224
    model = classifier(dict(head=CSRA | dict(num_heads=1, in_channels=3, normalize=False)))
    model.module.backbone = torch.nn.AvgPool2d(4)
    with torch.no_grad():
        model.module.head.weight.fill_(0.1)
        (sample,) = model.test_step(batch)
    check_frame(sample)
    maps = sample.attention_maps
    torch.testing.assert_close(maps.sum(dim=(-2, -1)), torch.ones(3))
    y, x = divmod(int(maps[0].argmax()), maps.shape[-1])
    place = ((x + 0.5) / maps.shape[-1], (y + 0.5) / maps.shape[-2])
    assert place == pytest.approx((0.1875, 0.75), abs=0.07)
    plain_steps = views_of(PIPELINE)
    (whole,) = [step for step in plain_steps if step['type'] == 'TestTimeAug']
    assert plain_steps[:2] == PIPELINE[:2] and len(whole['transforms'][0]) == 2


def test_sizes_of_views():
    steps = [
        dict(type='LoadImageFromFile'), dict(type='ResizeEdge', scale=256, edge='short'),
        dict(type='CenterCrop', crop_size=225), dict(type='PackInputs'),
    ]  # fmt: skip
    _, views = views_of(steps, scales=(0.5, 1), crops='five')
    sized, windows, flips, (pack,) = views['transforms']
    assert [[step.get('scale', step.get('crop_size')) for step in one['transforms']] for one in sized] == [
        [147, 129], [292, 257],  # the same part of the picture, 225 / 256
    ]  # fmt: skip
    assert len(windows) == 5 and len(flips) == 2 and {'view_box', 'img_path'} <= set(pack['meta_keys'])
    narrow = views_of([*steps[:2], dict(type='PackInputs', meta_keys=['img_path'])])[-1]['transforms'][-1]
    assert narrow[0]['meta_keys'][:3] == ('img_path', 'flip', 'flip_direction')
    for wrong, said in (
        (dict(pipeline=[dict(type='PackInputs')], crops='five'), 'has no Resize or ResizeEdge'),
        (dict(pipeline=steps, crops='ten'), "must be one of 'five'"),
        (dict(pipeline=steps, scales=(0,)), 'must be a finite number of 0.1|must lie in'),
    ):
        with pytest.raises(UserError, match=said):
            views_of(**wrong)


def test_a_crop_of_a_mirrored_picture_is_refused():
    crop = TRANSFORMS.build(dict(type='mmlattn.ViewCrop', place='center', ratio=0.5))
    found = crop(dict(img=np.zeros((5, 8, 3))))
    assert found['img_shape'] == (2, 4) and found['view_box'] == (0.25, 0.2, 0.75, 0.6)
    with pytest.raises(UserError, match='was flipped before ViewCrop'):
        crop(dict(img=np.zeros((5, 8, 3)), flip=True))
    with pytest.raises(UserError, match=r"has no logits that could be fused: set fuse_on='prob'"):
        classifier(dict(head=DECODER), fuse_on='logit')


RULES = {
    'decoder': (dict(head=DECODER), [1, 0]),
    'threshold': (dict(head=CSRA), [0, 1]),
    'one label': (dict(head=LINEAR), [1]),
}


@pytest.mark.parametrize(('settings', 'expected'), RULES.values(), ids=RULES)
def test_labels_of_the_average(settings, expected):
    """Whatever the views decided; what is known of a picture stays."""
    model = classifier(settings, with_evidence=False)
    views = []
    for score, label in (((0.4, 0.9, 0.0), 2), ((0.8, 0.6, 0.2), 0)):
        view = DataSample().set_pred_score(torch.tensor(score)).set_pred_label(label).set_gt_label(1)
        view.set_field(torch.tensor([label]), 'label_path')
        views.append(view)
    for order in (views, views[::-1]):
        (merged,) = model.merge_preds([order])
        assert merged.pred_score.tolist() == pytest.approx([0.6, 0.75, 0.1])
        assert merged.pred_label.tolist() == expected
        assert merged.gt_label.tolist() == [1]
        assert 'label_path' not in merged
