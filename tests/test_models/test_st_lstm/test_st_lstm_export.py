"""ST-LSTM compiled, exported with the batch left open, and run by onnxruntime."""

import pytest
import torch

from mmlattn.models import STLSTM, STLSTMHead
from mmlattn.models.layers.score_fusion import fuse_scores

pytestmark = [pytest.mark.export, pytest.mark.slow]

CASES = {
    'paper': ({}, {}),
    'bounded': (
        dict(
            loc_param='bounded',
            region_embed='gap',
            region_pool='avg',
            include_global=True,
        ),
        dict(fuse='noisy_or'),
    ),
    'residual': (
        dict(
            loc_param='residual_anchor',
            region_embed='conv',
            region_pool=None,
            cell_out='tanh',
            align_corners=True,
        ),
        dict(fuse='lse'),
    ),
}


class Scorer(torch.nn.Module):
    """Neck and head, from a feature map to fused scores and regions."""

    def __init__(self, neck_options, head_options):
        super().__init__()
        torch.manual_seed(0)
        self.neck = STLSTM(
            # The loop is unrolled: a first, a middle and a last region.
            4,
            3,
            **(dict(region_size=4, embed_dims=6, hidden_dims=5, out_dims=7) | neck_options),
        )
        self.head = STLSTMHead(3, 7, **head_options)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.5)

    def forward(self, x):
        feats = self.neck((x,))
        return self.head(feats), fuse_scores(self.head.step_scores(feats), 'mean'), feats.theta


@pytest.mark.parametrize(('neck', 'head'), CASES.values(), ids=CASES)
def test_compiles_without_graph_breaks(neck, head):
    torch._dynamo.reset()
    eager, twin = Scorer(neck, head).double().train(), Scorer(neck, head).double().train()
    compiled = torch.compile(twin, fullgraph=True, backend='aot_eager')
    x = torch.randn(2, 4, 5, 8, dtype=torch.float64)
    outputs = [net(x) for net in (eager, compiled)]
    torch.testing.assert_close(*outputs)
    for values in outputs:
        sum(value.square().sum() for value in values).backward()
    for (name, a), b in zip(eager.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


@pytest.mark.parametrize(
    ('case', 'dynamo'), [*((case, False) for case in CASES), ('paper', True), ('residual', True)], ids=str
)
def test_onnx_with_dynamic_batch(tmp_path, case, dynamo):
    """The file's own opset is read: an exporter may write another than asked for."""
    pytest.importorskip('onnxscript')
    onnx, ort = pytest.importorskip('onnx'), pytest.importorskip('onnxruntime')
    net, path = Scorer(*CASES[case]).eval(), str(tmp_path / 'net.onnx')
    batch = dict(dynamic_shapes=dict(x={0: 'batch'})) if dynamo else dict(dynamic_axes=dict(x={0: 'batch'}))
    args, opset = (torch.randn(2, 4, 5, 8),), 18 if dynamo else 17
    torch.onnx.export(net, args, path, input_names=['x'], dynamo=dynamo, opset_version=opset, **batch)
    written = {entry.domain: entry.version for entry in onnx.load(path).opset_import}
    assert written[''] >= 18 if dynamo else written[''] == 17
    session = ort.InferenceSession(path)
    for batch_size in (1, 2, 5):
        x = torch.randn(batch_size, 4, 5, 8)
        got = [torch.from_numpy(out) for out in session.run(None, {'x': x.numpy()})]
        torch.testing.assert_close(got, [out.detach() for out in net(x)], rtol=0, atol=1e-5)
