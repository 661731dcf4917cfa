"""What the places of regions are worth, with the real tool: against the model's own scores, and in a drawn world."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.apis import get_model
from mmpretrain.structures import DataSample
from PIL import Image
from sklearn.metrics import average_precision_score
from tiny_run import run_tool

from mmlattn.apis import MultiLabelInferencer
from mmlattn.apis.region_places import _pull, judge_places
from mmlattn.utils.errors import UserError

CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier', backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4),
    neck=dict(type='mmlattn.STLSTM', in_channels=32, num_steps=3, region_size=2, region_pool=None, region_embed='gap',
        hidden_dims=8, out_dims=8, loc_param='residual_anchor'),
    head=dict(type='mmlattn.STLSTMHead', num_classes=3, in_channels=8, score_norm='sigmoid',
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True)))
data_preprocessor = dict(mean=[127.5] * 3, std=[64.0] * 3, num_classes=3, to_onehot=True)
test_dataloader = dict(
    batch_size=8, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmlattn.PlainMultiLabel', ann_file=FOLDER + '/labels.json', data_root=FOLDER,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
test_evaluator = dict(type='mmlattn.MultiLabelReport')
test_cfg = dict()
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Twenty pictures, a config and weights whose regions differ from picture to picture."""
    folder = tmp_path_factory.mktemp('places')
    rng = np.random.default_rng(0)
    listed = []
    for number in range(20):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f'{number}.png')
        listed.append(dict(img_path=f'{number}.png', gt_label=[number % 3]))
    (folder / 'labels.json').write_text(
        json.dumps(dict(metainfo=dict(classes=list('abc')), data_list=listed))
    )
    (folder / 'config.py').write_text(CONFIG.replace('FOLDER', repr(str(folder))))
    torch.manual_seed(0)
    model = get_model(str(folder / 'config.py'), device='cpu')
    for parameter in [*model.neck.parameters(), *model.head.parameters()]:
        torch.nn.init.normal_(parameter, std=0.5)
    torch.save(dict(state_dict=model.state_dict()), folder / 'model.pth')
    return folder


def test_the_tool_scores_the_regions_elsewhere(folder, tmp_path):
    out = tmp_path / 'places.json'
    flags = [folder / 'config.py', folder / 'model.pth', '--out', out]
    done = run_tool('analysis_tools/region_places.py', *flags, '--distances', 0, 0.5, cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    own = found.pop("the model's own")
    assert found['moved by 0 at random'] == found['moved by 0 as the labels want it'] == pytest.approx(own)
    results = MultiLabelInferencer(folder / 'config.py', folder / 'model.pth')(
        [str(folder / f'{number}.png') for number in range(20)]
    )
    scores = np.stack([result['pred_scores'] for result in results])
    present = np.arange(20)[:, None] % 3 == np.arange(3)
    expected = np.mean([average_precision_score(present[:, c], scores[:, c]) for c in range(3)])
    assert own == pytest.approx(100 * expected, abs=1e-3)
    again = run_tool('analysis_tools/region_places.py', *flags, cwd=folder)
    assert again.returncode == 1 and 'is not overwritten' in again.stderr


class Map(torch.nn.Module):
    """A model whose pictures are maps: three classes, each a channel, anywhere in the right half."""

    def __init__(self, cfg):
        super().__init__()
        self.inner = get_model(cfg, device='cpu')
        self.neck, self.head = self.inner.neck, self.inner.head

    def data_preprocessor(self, batch, training):
        return batch

    def extract_feat(self, inputs, stage):
        return (inputs,)


def test_places_are_worth_what_they_show(folder):
    """One region on the object: another picture's place finds nothing, and the pull of the labels leads back."""
    cfg = Config.fromfile(folder / 'config.py')
    cfg.model.neck.update(in_channels=4, num_steps=1, hidden_dims=4, out_dims=4)
    cfg.model.head.in_channels = 4
    model = Map(cfg)
    classes = torch.arange(8) % 3
    # Objects of the first pictures lie left, of the others right; channel 3 is the ground.
    maps = torch.zeros(8, 4, 4, 4)
    maps[:, 3] = 1
    for number, label in enumerate(classes):
        column = 0 if number % 2 else 3
        maps[number, label, :, column] = 4

    class Looking(type(model.neck)):
        """Its region lies on the object; what it sees is what it says."""

        def forward(self, feats, places=None):
            if places is None:
                side = torch.where(torch.arange(8) % 2 == 1, -0.75, 0.75)[: len(feats[0])]
                places = torch.stack(
                    (torch.full_like(side, 0.25), torch.full_like(side, 0.9), side, 0 * side), dim=-1
                )[:, None]
            return super().forward(feats, places)

    model.neck.__class__ = Looking
    with torch.no_grad():
        for parameter in [*model.neck.parameters(), *model.head.parameters()]:
            parameter.zero_()
        # Nothing is remembered, and the state is the region; scores are its first three channels.
        gates = model.neck.cell.input
        gates.bias[:4] = gates.bias[12:] = 9
        gates.bias[4:8] = -200
        gates.weight[8:12] = torch.eye(4) * 0.2
        model.neck.z.weight.copy_(torch.eye(4))
        model.head.fc.weight.copy_(torch.eye(4)[:3] * 8)
        model.head.fc.bias.fill_(-1)
    samples = [DataSample().set_gt_label([int(label)]) for label in classes]
    batch = dict(inputs=maps, data_samples=samples)
    found = judge_places(model, [batch], [1.2])
    assert found["the model's own"] == pytest.approx(100)
    assert found["another picture's"] == pytest.approx(100 * np.mean([3, 3, 2]) / 8)
    assert found['moved by 1.2 at random'] < 100
    with pytest.raises(UserError, match='regions come from the same batch'):
        judge_places(model, [dict(inputs=maps[:1], data_samples=samples[:1])], [1.2])
    # Half way off its object, a region is drawn back to it.
    places = model.neck((maps,)).theta.detach()
    places[..., 2] *= 0.6
    drawn = -_pull(model, (maps,), places, samples)[:, 0, 0]
    assert (drawn.sign() == places[:, 0, 2].sign()).all()


def test_models_without_regions_are_refused():
    with pytest.raises(UserError, match='are those of the neck STLSTM'):
        judge_places(torch.nn.Identity(), [], [])
