"""Residual Attention Networks compiled, exported, and run by onnxruntime at sizes they have not seen."""

import pytest
import torch
from reference.ran import randomise

from mmlattn.models import ResidualAttentionNet

pytestmark = pytest.mark.export

# Two stages and one attention module: what a whole net adds is only time.
ARCH = dict(
    stem_channels=4, channels=(8, 16), strides=(1, 2), modules=(1, 0), units=(0, 0), mask_depths=(2, 0)
)
SIZES = [(1, 3, 65, 97), (3, 3, 48, 37)]
DEFAULT = dict(out_indices=(0, 1))
POST_ACTIVATED = dict(
    unit=dict(type='resnext', groups=2), attention='spatial', pool_style='caffe', align_corners=False
)
PORT = dict(attention='channel', mask_skip='port', learning='nal', out_norm=True)
# At 32 pixels a stage of stride 32 has one, and export takes sizes of 1 for constants.
DYNAMIC = {
    0: torch.export.Dim('batch', min=1),
    2: torch.export.Dim('height', min=33),
    3: torch.export.Dim('width', min=33),
}


def make(**options):
    torch.manual_seed(0)
    return randomise(ResidualAttentionNet(ARCH, **options)).eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    'options',
    [
        DEFAULT,
        POST_ACTIVATED,
        PORT,
        dict(with_cp=True),
    ],
    ids=['default', 'post-activated', 'port', 'with_cp'],
)
def test_compiles_without_graph_breaks(options):
    """Outputs, gradients and running statistics of a training step as without compilation."""
    torch._dynamo.reset()
    eager = make(**options).double().train()
    twin = make(**options).double().train()
    compiled = torch.compile(twin, fullgraph=True, backend='aot_eager')
    x = torch.randn(2, 3, 48, 33, dtype=torch.float64)
    for net in (eager, compiled):
        sum(out.square().mean() for out in net(x)).backward()
    for (name, a), b in zip(eager.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    torch.testing.assert_close(eager.state_dict(), twin.state_dict())
    torch.testing.assert_close(eager(x), compiled(x))


@pytest.mark.slow
@pytest.mark.parametrize('options', [DEFAULT, PORT], ids=['default', 'port'])
def test_export_with_dynamic_batch_height_and_width(options):
    net = make(**options)
    program = torch.export.export(net, (torch.randn(2, 3, 64, 80),), dynamic_shapes=dict(x=DYNAMIC))
    for size in SIZES:
        x = torch.randn(size)
        torch.testing.assert_close(program.module()(x), net(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    'dynamo, options',
    [(False, DEFAULT), (False, POST_ACTIVATED), (False, PORT), (True, DEFAULT)],
    ids=['torchscript', 'torchscript-post-activated', 'torchscript-port', 'dynamo'],
)
def test_onnx_with_dynamic_batch_height_and_width(tmp_path, options, dynamo):
    pytest.importorskip('onnxscript')
    ort = pytest.importorskip('onnxruntime')
    net, path = make(**options), str(tmp_path / 'net.onnx')
    names = {0: 'batch', 2: 'height', 3: 'width'}
    free = dict(dynamic_shapes=dict(x=DYNAMIC)) if dynamo else dict(dynamic_axes=dict(x=names))
    opset = 18 if dynamo else 17
    args = (torch.randn(2, 3, 64, 80),)
    torch.onnx.export(net, args, path, input_names=['x'], dynamo=dynamo, opset_version=opset, **free)
    session = ort.InferenceSession(path)
    for size in SIZES:
        x = torch.randn(size)
        got = [torch.from_numpy(out) for out in session.run(None, dict(x=x.numpy()))]
        torch.testing.assert_close(got, [out.detach() for out in net(x)], rtol=1e-4, atol=1e-5)
