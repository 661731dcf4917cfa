from types import SimpleNamespace

import mmcv
import pytest
import torch
from mmengine.model import is_model_wrapper
from mmengine.registry import MODEL_WRAPPERS, DefaultScope
from mmpretrain.models import AverageClsScoreTTA
from mmpretrain.structures import DataSample

from mmlattn.engine import EvidenceVisualizationHook
from mmlattn.models import RACNN, ResidualAttentionNet_CIFAR
from mmlattn.models.ran.attention_module import AttentionModule
from mmlattn.utils.errors import UserError
from mmlattn.visualization import EvidenceVisualizer


def loop(dataset):
    """A loop over a data set, as far as the hook looks at it."""
    return SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))


class Listed(list):
    """A data set that tells the paths of its pictures."""

    def get_data_info(self, index):
        return dict(img_path=self[index])


def draw_all(hook, dataset, sizes, mode='test', image=None, **runner):
    """Run a loop over pictures in batches of the given sizes."""
    image = torch.full((1, 8, 8), 7, dtype=torch.uint8) if image is None else image
    runner = SimpleNamespace(
        model=SimpleNamespace(data_preprocessor=SimpleNamespace(to_rgb=True)), **{f'{mode}_loop': loop(dataset)},
        train_loop=None, iter=runner.get('iter', 0),
    )  # fmt: skip
    getattr(hook, f'before_{mode}')(runner)
    items = iter(dataset)
    for number, size in enumerate(sizes):
        samples = [DataSample().set_pred_score(torch.tensor([0.9])).set_pred_label([0]) for _ in range(size)]
        for sample in samples:
            path = next(items)
            if isinstance(path, str):
                sample.set_field(path, 'img_path', field_type='metainfo')
        getattr(hook, f'after_{mode}_iter')(runner, number, dict(inputs=[image] * size), samples)


def drawn(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob('*.png'))


def test_pictures_of_one_name_are_drawn_in_their_folders(tmp_path):
    """Grey ones, with an interval over a last batch that is smaller; a second test replaces nothing."""
    EvidenceVisualizer.get_instance('folders', cell_size=80)
    paths = Listed([f'/data/{folder}/{name}' for folder in 'ab' for name in ('0.jpg', '1.jpg', '1.png')])
    hook = EvidenceVisualizationHook(enable=True, interval=1, out_dir=str(tmp_path / 'all'))
    draw_all(hook, paths, (4, 2))
    names = ['a/0.png', 'a/1.jpg.png', 'a/1.png.png']
    assert drawn(tmp_path / 'all') == names + [name.replace('a/', 'b/') for name in names]
    with pytest.raises(UserError, match=r'a/0\.png and 5 more exists already; choose another --show-dir'):
        draw_all(hook, paths, (4, 2))
    hook = EvidenceVisualizationHook(enable=True, interval=2, out_dir=str(tmp_path / 'some'))
    draw_all(hook, list(range(7)), (3, 3, 1))
    assert drawn(tmp_path / 'some') == ['0.png', '2.png', '4.png', '6.png']


def test_validation_draws_beside_what_is_there(tmp_path):
    EvidenceVisualizer.get_instance('beside', cell_size=80)
    hook = EvidenceVisualizationHook(enable=True, interval=1, out_dir=str(tmp_path))
    for step in (3, 6, 6):
        draw_all(hook, Listed(['a/0.jpg', 'b/0.jpg']), (2,), 'val', iter=step)
    assert drawn(tmp_path) == [f'{folder}/0_{end}.png' for folder in 'ab' for end in ('3', '6', '6_2')]


def test_sixteen_bits_are_drawn_by_their_maximum(tmp_path):
    """The stock hook keeps the lower eight bits: stripes."""
    visualizer = EvidenceVisualizer.get_instance('deep', cell_size=80)
    seen = []
    visualizer.visualize_cls = lambda image, **_: seen.append(image)
    image = torch.tensor([[[0, 256], [512, 65535]]], dtype=torch.int32)
    draw_all(
        EvidenceVisualizationHook(enable=True, interval=1, out_dir=str(tmp_path)), [0], (1,), image=image
    )
    assert seen[0].tolist() == [[[0], [1]], [[2], [255]]]


@pytest.mark.parametrize('to_rgb', [True, False])
@pytest.mark.parametrize('mode', ['val', 'test'])
def test_red_stays_red(tmp_path, mode, to_rgb):
    """A red picture, loaded in BGR where the preprocessor turns it and in RGB where it doesn't."""
    EvidenceVisualizer.get_instance(f'{mode}{to_rgb}')
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    image[2 if to_rgb else 0] = 250
    preprocessor = SimpleNamespace(to_rgb=to_rgb)
    runner = SimpleNamespace(model=SimpleNamespace(data_preprocessor=preprocessor), train_loop=None, iter=0)
    hook = EvidenceVisualizationHook(enable=True, out_dir=str(tmp_path))
    sample = DataSample().set_pred_score(torch.tensor([0.9])).set_pred_label([0])
    getattr(hook, f'after_{mode}_iter')(runner, 0, dict(inputs=torch.stack([image])), [sample])
    (file,) = tmp_path.iterdir()
    blue, _, red = (mmcv.imread(str(file))[..., channel] for channel in range(3))
    assert ((red > 200) & (blue < 50)).any() and not ((blue > 200) & (red < 50)).any()


class Masked(torch.nn.Module):
    """A backbone with soft masks, whose predictions do not matter."""

    data_preprocessor = SimpleNamespace(to_rgb=True)

    def __init__(self):
        super().__init__()
        arch = dict(
            stem_channels=4, channels=(4, 8), strides=(1, 2), modules=(1, 1), units=(0, 0), mask_depths=(1, 1)
        )
        self.backbone = ResidualAttentionNet_CIFAR(arch)


def test_masks_are_recorded_while_testing_and_no_longer(tmp_path):
    """The samples get each their own masks, drawn in their own cells; afterwards nothing is hooked."""
    EvidenceVisualizer.get_instance('masks', cell_size=100)
    pictures = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    runner = SimpleNamespace(model=Masked().eval(), iter=0, test_loop=loop(pictures))
    hook = EvidenceVisualizationHook(enable=True, out_dir=str(tmp_path), interval=1, trunk_masks=True)
    hook.before_test(runner)
    for batch_idx, batch in enumerate((pictures[:2], pictures[2:])):
        samples = [DataSample().set_pred_score(torch.tensor([0.9])).set_pred_label([0]) for _ in batch]
        with torch.no_grad():
            runner.model.backbone(batch / 255)
        hook.after_test_iter(runner, batch_idx, dict(inputs=batch), samples)
        assert [len(sample.trunk_masks) for sample in samples] == [2] * len(batch)
        for sample, picture in zip(samples, batch, strict=True):
            trunk = runner.model.backbone.stem(picture[None] / 255)
            module = runner.model.backbone.stage1
            x = module.attention1.pre(module.transition(trunk))
            expected = module.attention1.mask(x, module.attention1.trunk(x))[0]
            torch.testing.assert_close(sample.trunk_masks[0], expected.detach(), rtol=1e-4, atol=1e-5)
    hook.after_test(runner)
    assert len(list(tmp_path.iterdir())) == 4
    assert not any(m._forward_hooks for m in runner.model.modules())
    assert sum(isinstance(m, AttentionModule) for m in runner.model.modules()) == 2


@pytest.mark.parametrize('options', [dict(enable=False, trunk_masks=True), dict(enable=True)])
def test_nothing_is_recorded_unasked(options):
    EvidenceVisualizer.get_instance('unasked')
    runner = SimpleNamespace(model=Masked().eval(), test_loop=loop([]))
    hook = EvidenceVisualizationHook(**options)
    hook.before_test(runner)
    assert not any(m._forward_hooks for m in runner.model.modules())
    sample = DataSample()
    hook._add_masks([sample])
    assert 'trunk_masks' not in sample


@MODEL_WRAPPERS.register_module()
class PlainWrapper(torch.nn.Module):
    """What is_model_wrapper finds around a model trained by several processes."""

    def __init__(self, module):
        super().__init__()
        self.module = module


@pytest.mark.parametrize('wrap', [lambda model: model, PlainWrapper, AverageClsScoreTTA])
def test_masks_of_crops_are_not_laid_over_the_picture(wrap):
    """RA-CNN's networks have masks, of what each scale saw; nothing is hooked then."""
    arch = dict(
        stem_channels=4, channels=(4, 8), strides=(1, 2), modules=(1, 1), units=(0, 0), mask_depths=(1, 1)
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = RACNN(
            backbone=dict(type='mmlattn.ResidualAttentionNet_CIFAR', arch=arch),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=8, loss=dict(type='CrossEntropyLoss')),
            localizer='activation',
        )
    wrapped = wrap(model)
    assert is_model_wrapper(wrapped) == (wrap is PlainWrapper)
    EvidenceVisualizer.get_instance('crops')
    hook = EvidenceVisualizationHook(enable=True, trunk_masks=True)
    named = 'AverageClsScoreTTA' if wrap is AverageClsScoreTTA else 'RACNN'
    with pytest.raises(UserError, match=f'{named} shows its networks more than the picture'):
        hook.before_test(SimpleNamespace(model=wrapped))
    assert not any(m._forward_hooks for m in model.modules())
