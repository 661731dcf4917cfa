"""ST-LSTM's configs for VOC 2007 and COCO: what is known of the paper's recipe, and what is ours.

Each test says which is which: *known* from public notes on the paper, *re-implemented*: read in public
re-implementations only, or *ours*. See docs/st_lstm.md.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from mmpretrain.registry import MODELS, TRANSFORMS
from mmpretrain.structures import DataSample
from PIL import Image

from mmlattn.models.st_lstm.neck import STLSTMOutput
from mmlattn.models.views.feature_crops import feature_windows

CONFIGS = Path(__file__).parents[1] / 'configs'
SIDES = {
    'st-lstm_vgg16_voc07': (512, 448),
    'st-lstm_vgg16_coco': (512, 448),
    'st-lstm_vgg16_voc07_640': (640, 576),
    'st-lstm_vgg16_coco_640': (640, 576),
}


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture(params=SIDES)
def name(request):
    return request.param


@pytest.fixture
def cfg(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def pipeline(steps):
    return Compose([TRANSFORMS.build(step) for step in steps])


def test_learning_rates_and_batch(cfg):
    """Known: Adam, its betas, 1e-5, a tenth after 30 of 45 epochs, 16 pictures. Re-implemented: no weight decay."""
    model = torch.nn.ModuleDict(dict(backbone=torch.nn.Linear(2, 2), neck=torch.nn.Linear(2, 2)))
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert type(wrapper.optimizer) is torch.optim.Adam
    (group,) = wrapper.param_groups  # ours: one rate for everything
    assert group['betas'] == (0.9, 0.999) and group['weight_decay'] == 0
    scheduler = PARAM_SCHEDULERS.build(dict(cfg.param_scheduler, optimizer=wrapper))
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        rates.append(group['lr'])
        wrapper.optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1e-5] * 30 + [1e-6] * 15)
    assert cfg.train_dataloader.batch_size == 16
    assert cfg.optim_wrapper.clip_grad.max_norm == 10  # ours


def test_training_crops_are_everywhere_and_mirrored(cfg, name, tmp_path):
    """Known: random crops 64 pixels smaller. Re-implemented: mirroring.

    Every pixel of the picture tells where it lies, so a crop tells where it was cut.
    """
    side, crop = SIDES[name]
    y, x = np.mgrid[:side, :side]
    Image.fromarray(np.stack((y // 4, x // 4, 0 * x), axis=-1).astype(np.uint8)).save(tmp_path / 'a.png')
    augment, places = pipeline(cfg.train_dataloader.dataset.pipeline), []
    np.random.seed(0)
    for _ in range(40):
        packed = augment(dict(img_path=str(tmp_path / 'a.png'), gt_label=[3]))['inputs']
        assert packed.shape == (3, crop, crop)
        top, left, right = (int(v) for v in (packed[2, 0, 0], packed[1, 0, 0], packed[1, 0, -1]))  # BGR
        assert abs(left - right) in (crop // 4 - 1, crop // 4)
        places.append((top, min(left, right), left > right))
    tops, lefts, flipped = map(set, zip(*places, strict=True))
    margin = 64 // 4
    for starts in (tops, lefts):
        assert min(starts) <= 2 and margin - 2 <= max(starts) <= margin
    assert flipped == {False, True}


def test_whole_pictures_are_tested_whatever_their_aspect(cfg, name, tmp_path):
    """Known: 512 and 640, squeezed."""
    Image.new('RGB', (60, 40)).save(tmp_path / 'a.png')
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        packed = pipeline(loader.dataset.pipeline)(dict(img_path=str(tmp_path / 'a.png'), gt_label=[3]))
        assert packed['inputs'].shape == (3, SIDES[name][0], SIDES[name][0])
        assert not packed['data_samples'].get('flip')


def test_pictures_without_labels_are_left_out_of_training_only(cfg):
    """Known of COCO's training pictures; of VOC's and of all tests ours."""
    kept = [
        cfg[f'{split}_dataloader'].dataset.get('filter_empty', False) for split in ('train', 'val', 'test')
    ]
    assert kept == [True, False, False]


def test_network_on_tensors_without_data(cfg, name):
    """Known: VGG-16 at stride 16, and the five windows. Building all of it takes no memory on the meta device."""
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
        vgg = MODELS.build(dict(type='VGG', depth=16, num_classes=1000))
        for side in SIDES[name]:
            (feats,) = model.backbone(torch.empty(1, 3, side, side))
            assert feats.shape == (1, 512, side // 16, side // 16)
    side, crop = SIDES[name]
    windows = feature_windows((side, side), (side // 16,) * 2, model.margin, model.crops)
    assert [window[:2] for window in windows] == [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    assert {window[2:] for window in windows} == {(crop // 16, crop // 16, False)}
    assert (model.fuse, model.fuse_on) == (
        'mean',
        'prob',
    )  # known: a mean over windows; ours: of probabilities
    # Re-implemented: 14 x 14 samples pooled to 7 x 7, and 4096. Ours: 512 and 512.
    assert model.neck.embed.weight.shape == (4096, 7 * 7 * 512)
    assert model.neck.cell.hidden.weight.shape == (4 * 512, 512) and model.neck.z.weight.shape == (512, 512)
    state = vgg.state_dict(prefix='backbone.')
    for part, value in model.neck.embed.state_dict().items():
        assert state[f'{model.neck.fc_from_vgg["prefix"]}.{part}'].shape == value.shape
    assert model.head.fc.weight.shape[0] == (20 if 'voc07' in name else 80)


def test_loss_and_regions(cfg):
    """Known: the circle of anchors, the terms and their weights. Ours: sums over the regions, the first angle.

    Worked by hand: five regions of K = 5, and four classes of which two are present.
    """
    neck = MODELS.build(dict(cfg.model.neck, fc_from_vgg=None, embed_dims=1, in_channels=1))
    assert neck.anchor_mask.tolist() == [False, True, True, True, True]
    expected = [[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]]
    torch.testing.assert_close(neck.anchors[1:], torch.tensor(expected))
    head = MODELS.build(dict(cfg.model.head, num_classes=4, in_channels=4))
    with torch.no_grad():
        head.fc.weight.copy_(torch.eye(4))
        head.fc.bias.zero_()
    looks = torch.tensor([[2.0, 1, 0, -1], [2, 1, 0, -5], [1, -3, -2, -9], [1, 1, -1, -1], [-2, -1, -4, -8]])
    theta = torch.tensor(
        [
            [1, 1, 0.2, -0.1],
            [0.5, 0.05, 0.5, 0.5],
            [-0.2, 0.7, 0, 0],
            [0.3, 0.3, -0.5, -0.4],
            [0.6, -0.6, 0.5, -0.5],
        ]
    )
    feats = STLSTMOutput(looks[None], theta[None], neck.anchors, neck.anchor_mask, looks[None].amax(1))
    losses = head.loss(feats, [DataSample().set_gt_label([0, 1])])
    golden = dict(
        loss_cls=0.098564,
        loss_scale=0.1 * 0.56,
        loss_anchor=0.1 * 0.01 * 0.255,
        loss_positive=0.1 * 0.1 * 1.05,
    )
    assert {key: value.item() for key, value in losses.items()} == pytest.approx(golden, rel=1e-4)
