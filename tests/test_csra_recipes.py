"""The recipes of CSRA against what they name: torchvision's transforms, and the asymmetric loss of its authors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS, TRANSFORMS
from mmpretrain.structures import DataSample
from PIL import Image
from torchvision.transforms import RandomResizedCrop, Resize

CONFIGS = Path(__file__).parents[1] / 'configs'


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def transform(steps, kind):
    return next(TRANSFORMS.build(step) for step in steps if step.type == kind)


@pytest.mark.parametrize('size', [(640, 480), (33, 17), (448, 448), (1, 1), (1500, 700)])
def test_pictures_are_tested_as_torchvision_resizes_them(size):
    cfg = Config.fromfile(CONFIGS / 'csra_r101_coco.py')
    picture = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    got = transform(cfg.test_pipeline, 'Resize')(dict(img=picture[..., ::-1]))['img'][..., ::-1]
    np.testing.assert_array_equal(got, np.array(Resize((448, 448))(Image.fromarray(picture))))


@pytest.mark.parametrize('size', [(640, 480), (1000, 200), (100, 900)])
def test_crops_are_drawn_as_torchvision_draws_them(size):
    """Top, left, height and width: the same means, to five standard errors; pictures too narrow are cut alike."""
    cfg = Config.fromfile(CONFIGS / 'csra_r101_coco.py')
    crop = transform(cfg.train_pipeline, 'RandomResizedCrop')
    picture = Image.new('RGB', size)
    np.random.seed(0)
    torch.manual_seed(0)
    ours = np.array([crop.rand_crop_params(np.array(picture)) for _ in range(2000)])
    theirs = np.array([RandomResizedCrop.get_params(picture, (0.7, 1), (3 / 4, 4 / 3)) for _ in range(2000)])
    error = np.hypot(ours.std(axis=0), theirs.std(axis=0)) / 2000**0.5
    assert (abs(ours.mean(axis=0) - theirs.mean(axis=0)) <= 5 * error + 1e-9).all()


def asymmetric_loss(logits, targets):
    """As Ridnik et al. (Alibaba-MIIL/ASL) train: gamma- 4, gamma+ 0, a margin of 0.05, each weight a constant."""
    p = logits.sigmoid()
    absent = (1 - p + 0.05).clamp(max=1)
    weight = (1 - absent).detach() ** 4
    terms = torch.where(targets > 0, p.clamp(min=1e-8).log(), weight * absent.clamp(min=1e-8).log())
    return -terms.sum()


def test_asymmetric_loss_is_its_authors_averaged_over_pictures():
    cfg = Config.fromfile(CONFIGS / 'csra_r50_coco_asl.py')
    head = MODELS.build(cfg.model.head | dict(num_classes=6, in_channels=4))
    logits = torch.tensor([[-40, -4, -2.95, 0, 3, 40.0]] * 4, requires_grad=True)
    labels = [[], [0, 1, 2, 3, 4, 5], [0, 5], [3]]
    samples = [DataSample().set_gt_label(torch.tensor(listed, dtype=torch.long)) for listed in labels]
    targets = torch.tensor([[float(c in listed) for c in range(6)] for listed in labels])
    ours = head._get_loss(logits, samples)['loss']
    theirs = asymmetric_loss(logits, targets) / len(labels)
    torch.testing.assert_close(ours, theirs)
    by_ours, by_theirs = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, theirs))
    torch.testing.assert_close(by_ours[targets > 0], by_theirs[targets > 0])
    # What the config says of absent classes: mmpretrain's gradient passes through the weight.
    assert by_ours[0, 3] > 2 * by_theirs[0, 3] > 0


def test_average_of_weights_is_that_of_the_same_authors():
    (ema,) = (
        hook for hook in Config.fromfile(CONFIGS / 'csra_r50_coco_asl.py').custom_hooks if 'EMA' in hook.type
    )
    assert 1 - ema.momentum == pytest.approx(0.9997)
