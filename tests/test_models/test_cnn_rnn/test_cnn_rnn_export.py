"""CNN-RNN compiled, exported with the batch left open, and under autocast."""

import pytest
import torch

from mmlattn.models import CNNRNNHead

pytestmark = [pytest.mark.export, pytest.mark.slow]

CASES = {
    'joint': (dict(decoder='joint'), (6,)),
    'attention': (dict(decoder=dict(type='attention', attention_dims=4)), (6, 2, 3)),
    'printed cell, three labels': (
        dict(
            decoder=dict(type='joint', cell='paper'), test_cfg=dict(min_len=3, max_len=3, end_mode='compete')
        ),
        (6,),
    ),
    'any order': (dict(decoder='joint', align='multi', num_steps=3), (6,)),
}


class Scorer(torch.nn.Module):
    """The head's scores from one output of a backbone."""

    def __init__(self, settings):
        super().__init__()
        torch.manual_seed(0)
        cfg = (
            {} if settings.get('align') == 'multi' else dict(beam=4, max_len=4) | settings.pop('test_cfg', {})
        )
        self.head = CNNRNNHead(5, 6, label_freq=[1] * 5, test_cfg=cfg, **settings)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.4)

    def forward(self, x):
        return self.head((x,))


def scorer(case):
    settings, shape = CASES[case]
    return Scorer(dict(settings)).eval(), shape


@torch.no_grad()
@pytest.mark.parametrize('case', CASES)
def test_compiles_without_graph_breaks(case):
    torch._dynamo.reset()
    net, shape = scorer(case)
    x = torch.randn(3, *shape)
    compiled = torch.compile(net, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.parametrize(
    ('case', 'dynamo'), [*((case, False) for case in CASES), ('joint', True), ('attention', True)]
)
def test_onnx_with_dynamic_batch(tmp_path, case, dynamo):
    """The file's own opset is read: an exporter may write another than asked for."""
    pytest.importorskip('onnxscript')
    onnx, ort = pytest.importorskip('onnx'), pytest.importorskip('onnxruntime')
    (net, shape), path = scorer(case), str(tmp_path / 'net.onnx')
    batch = dict(dynamic_shapes=dict(x={0: 'batch'})) if dynamo else dict(dynamic_axes=dict(x={0: 'batch'}))
    args, opset = (torch.randn(2, *shape),), 18 if dynamo else 17
    torch.onnx.export(net, args, path, input_names=['x'], dynamo=dynamo, opset_version=opset, **batch)
    written = {entry.domain: entry.version for entry in onnx.load(path).opset_import}
    assert written[''] >= 18 if dynamo else written[''] == 17
    session = ort.InferenceSession(path)
    for batch_size in (1, 2, 7):
        x = torch.randn(batch_size, *shape)
        (got,) = session.run(None, {'x': x.numpy()})
        torch.testing.assert_close(torch.from_numpy(got), net(x).detach(), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('case', CASES)
def test_bfloat16_decodes_the_same(case):
    """Log-probabilities add up in float32; scores stay within what rounding of the logits moves."""
    net, shape = scorer(case)
    x = torch.randn(64, *shape)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        low, samples = net(x), net.head.predict((x,))
    assert low.dtype == torch.float32
    assert (low - net(x)).abs().mean() < 0.01
    same = [
        a.pred_label.tolist() == b.pred_label.tolist()
        for a, b in zip(samples, net.head.predict((x,)), strict=True)
    ]
    assert sum(same) >= 60
