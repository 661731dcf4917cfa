"""Localizers: sizes of the paper's, what they compute, what they refuse, export together with the crop."""

from pathlib import Path

import pytest
import reference.racnn as reference
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn

from mmlattn.models import APN, RACNN, ActivationLocalizer
from mmlattn.models.layers.spatial_transformer import compose_theta
from mmlattn.models.racnn.crop import attention_crop
from mmlattn.models.racnn.squares import squares_to_theta
from mmlattn.registry import MODELS
from mmlattn.utils.errors import UserError


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts():
    with torch.device('meta'):
        assert parameters(APN(512)) == 102_764_547
        assert parameters(APN(512, 'light')) == 434_755


@pytest.mark.slow
@pytest.mark.parametrize(('fusion', 'total'), [(False, 265_910_046), (True, 265_910_046 + 512_400)])
def test_parameter_count_of_the_paper(repo_root, fusion, total):
    """Three VGG-19 up to conv5_4, three classifiers of 200 classes, two APNs; and the heads for 1+2 and 1+2+3."""
    model = Config.fromfile(Path(repo_root) / 'configs/racnn_vgg19_cub.py').model
    if not fusion:
        model.fusion = None
    with torch.device('meta'):
        net = MODELS.build(model)
    assert isinstance(net, RACNN)
    assert parameters(net) == total
    assert [parameters(each.backbone) for each in net.nets] == [20_024_384] * 3


def thirds(length):
    """Of a side, each with the cells that it touches."""
    return [slice(i * length // 3, -(-(i + 1) * length // 3)) for i in range(3)]


@pytest.mark.parametrize('border', ['bounded', 'clip', 'shift'])
@pytest.mark.parametrize(
    ('form', 'size'), [('fc', (6, 6)), ('fc', (3, 3)), ('light', (6, 9)), ('light', (7, 10))], ids=str
)
def test_forward_is_the_written_out_one(form, size, border):
    """Maximum over blocks of cells, FC, tanh, FC, sigmoid, and the square in plain Python."""
    torch.manual_seed(0)
    apn = APN(4, form, spatial=3, border=border, least=0.2).double()
    for parameter in apn.parameters():
        nn.init.normal_(parameter, std=0.1)
    maps = torch.randn(6, 4, *size, dtype=torch.float64)
    weights = dict(apn.named_parameters())
    cells = maps
    if form == 'light':
        cells = F.conv2d(maps, weights['reduce.0.weight'], weights['reduce.0.bias']).relu()
    blocks = [
        [cells[..., rows, columns].amax((2, 3)) for columns in thirds(size[1])] for rows in thirds(size[0])
    ]
    cells = torch.stack([torch.stack(row, -1) for row in blocks], -2).flatten(1)
    hidden = torch.tanh(cells @ weights['fc.0.weight'].T + weights['fc.0.bias'])
    raw = hidden @ weights['fc.2.weight'].T + weights['fc.2.bias']
    rule = dict(
        bounded=lambda r: reference.bounded_square(r, 0.2),
        clip=lambda r: reference.clipped_square(r, 0.2),
        shift=lambda r: reference.shifted_square(r, 0.2),
    )[border]
    torch.testing.assert_close(apn(maps), maps.new_tensor([rule(each) for each in raw.tolist()]))


@pytest.mark.parametrize(('form', 'spatial'), [('fc', 14), ('light', 7)])
def test_starts_in_the_centre_and_learns(form, spatial):
    torch.manual_seed(0)
    apn = APN(8, form)
    apn.init_weights()
    for layer in (apn.fc[0], apn.fc[2]):
        assert layer.weight.std().item() == pytest.approx(0.001, rel=0.2)
        assert not layer.bias.any()
    with torch.autocast('cpu', torch.bfloat16):
        squares = apn(torch.rand(3, 8, 2 * spatial, 2 * spatial))
    assert squares.dtype == torch.float32
    torch.testing.assert_close(squares, torch.tensor([[0.5, 0.5, 1 / 3]]).expand(3, 3), rtol=0, atol=5e-3)
    squares.sum().backward()
    assert all(p.grad.abs().max() > 0 for p in apn.parameters())


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(form='big'), 'form'),
        (dict(border='none'), 'border'),
        (dict(least=0.5), 'least'),
        (dict(least=0.0), 'least'),
        (dict(in_channels=0), 'in_channels'),
        (dict(spatial=2.5), 'spatial'),
    ],
    ids=str,
)
def test_wrong_arguments(wrong, message):
    with pytest.raises(ValueError, match=message):
        APN(**dict(in_channels=4, spatial=2) | wrong)


@pytest.mark.parametrize('shape', [(2, 5, 4, 4), (2, 4, 4), (2, 4, 2, 8)], ids=str)
def test_feature_maps_that_do_not_fit(shape):
    with pytest.raises(UserError, match=r'APN.*got|APN.*has'):
        APN(4, spatial=3)(torch.zeros(shape))


@pytest.mark.parametrize('other', [dict(border='clip'), dict(least=0.01)], ids=str)
def test_weights_of_another_rule_are_refused(other):
    trained, same, different = APN(4, spatial=2), APN(4, spatial=2), APN(4, spatial=2, **other)
    same.load_state_dict(trained.state_dict())
    assert torch.equal(same.fc[0].weight, trained.fc[0].weight)
    with pytest.raises(UserError, match=next(iter(other))):
        different.load_state_dict(trained.state_dict())


class Looks(nn.Module):
    """Two crops of a picture: one inside the other, from the picture itself."""

    def __init__(self, form, border, antialias):
        super().__init__()
        torch.manual_seed(0)
        self.apns = nn.ModuleList(APN(3, form, spatial=4, border=border) for _ in range(2))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1)
        self.antialias = antialias

    def forward(self, x):
        outer = self.apns[0](F.avg_pool2d(x, 4))
        crop = attention_crop(x, outer, 8, 'boxcar', antialias=self.antialias)
        inner = self.apns[1](F.avg_pool2d(crop, 2))
        theta = compose_theta(squares_to_theta(outer), squares_to_theta(inner))
        closer = attention_crop(x, inner, (8, 6), theta=theta, antialias=self.antialias)
        return crop, closer, theta


@pytest.mark.export
@pytest.mark.slow
@pytest.mark.parametrize(
    ('form', 'border', 'antialias', 'dynamo'),
    [
        ('fc', 'bounded', False, False),
        ('light', 'clip', True, False),
        ('light', 'shift', True, True),
    ],
)
def test_onnx_with_dynamic_batch(tmp_path, form, border, antialias, dynamo):
    """The file's own opset is read: an exporter may write another than asked for."""
    pytest.importorskip('onnxscript')
    onnx, ort = pytest.importorskip('onnx'), pytest.importorskip('onnxruntime')
    net, path = Looks(form, border, antialias).eval(), str(tmp_path / 'net.onnx')
    batch = dict(dynamic_shapes=dict(x={0: 'batch'})) if dynamo else dict(dynamic_axes=dict(x={0: 'batch'}))
    args, opset = (torch.rand(2, 3, 32, 32),), 18 if dynamo else 17
    torch.onnx.export(net, args, path, input_names=['x'], dynamo=dynamo, opset_version=opset, **batch)
    written = {entry.domain: entry.version for entry in onnx.load(path).opset_import}
    assert written[''] >= 18 if dynamo else written[''] == 17
    session = ort.InferenceSession(path)
    for batch_size in (1, 2, 5):
        x = torch.rand(batch_size, 3, 32, 32)
        got = [torch.from_numpy(out) for out in session.run(None, {'x': x.numpy()})]
        torch.testing.assert_close(got, [out.detach() for out in net(x)], rtol=0, atol=1e-5)


@pytest.mark.parametrize('side', [0.5, 0.4])
def test_the_activation_localizer_finds_the_highest_response(side):
    torch.manual_seed(0)
    maps = torch.randn(5, 6, 7, 10)
    localizer = ActivationLocalizer(side)
    expected = [reference.highest_response_square(each.double().numpy(), side) for each in maps]
    torch.testing.assert_close(localizer(maps), torch.tensor(expected, dtype=torch.float32))
    assert not list(localizer.parameters()) and not localizer.state_dict()


def test_the_activation_localizer_takes_the_papers_half_by_default():
    maps = torch.zeros(1, 2, 8, 8)
    maps[..., 4:, :4] = 1.0
    torch.testing.assert_close(ActivationLocalizer()(maps), torch.tensor([[0.25, 0.75, 0.25]]))


@pytest.mark.parametrize('side', [0, 1.5, -0.5, 'half'])
def test_wrong_side_of_the_activation_localizer(side):
    with pytest.raises(ValueError, match='side'):
        ActivationLocalizer(side)
