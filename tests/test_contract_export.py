"""The contract of every system, second part: it compiles as one graph, and its ONNX file takes any batch."""

import pytest
import torch
from contract_cases import CASES, Case
from torch import Tensor, nn

pytestmark = [pytest.mark.export, pytest.mark.slow]

SIZES = [(1, 3, 65, 97), (3, 3, 48, 37)]
ANY_BATCH = {0: torch.export.Dim('batch', min=1)}
# At 32 pixels a stage of stride 32 has one cell, and export takes sizes of 1 for constants.
ANY_SIZE = ANY_BATCH | {2: torch.export.Dim('height', min=33), 3: torch.export.Dim('width', min=33)}


class Asked(nn.Module):
    """A model with only the outputs that its case compares."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.model, self.outputs = case.build(), case.outputs

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.outputs(self.model, x)


@pytest.mark.parametrize('name', CASES)
def test_compiles_without_graph_breaks(name):
    """Outputs, and of a training step gradients and running statistics, as without compilation."""
    torch._dynamo.reset()
    case = CASES[name]
    eager, twin = (Asked(case).double().train(not case.inference) for _ in range(2))
    compiled, x = torch.compile(twin, fullgraph=True, backend='aot_eager'), case.pictures(2).double()
    with torch.set_grad_enabled(not case.inference):
        expected, got = eager(x), compiled(x)
    torch.testing.assert_close(got, expected)
    if case.inference:
        return
    for found in (expected, got):
        sum(out.square().mean() for out in found).backward()
    for (key, parameter), copy in zip(eager.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, copy.grad, msg=lambda text, key=key: f'{key}: {text}')
    torch.testing.assert_close(eager.state_dict(), twin.state_dict())
    torch.testing.assert_close(eager(x), compiled(x))


@pytest.mark.parametrize('name', ['RAN', 'RAN, port'])
def test_exports_with_any_batch_height_and_width(name):
    model = Asked(CASES[name]).eval()
    program = torch.export.export(model, (torch.randn(2, 3, 64, 80),), dynamic_shapes=dict(x=ANY_SIZE))
    for size in SIZES:
        x = torch.randn(size)
        torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize(
    ('name', 'dynamo'),
    [(name, dynamo) for name, case in CASES.items() for dynamo in (False, True) if case.dynamo or not dynamo],
)
def test_onnx_takes_any_batch(tmp_path, name, dynamo):
    """The file's own opset is read: an exporter may write another than asked for."""
    pytest.importorskip('onnxscript')
    onnx, ort = pytest.importorskip('onnx'), pytest.importorskip('onnxruntime')
    case, path, opset = CASES[name], str(tmp_path / 'model.onnx'), 18 if dynamo else 17
    model, x, free = Asked(case).eval(), case.pictures(2), ANY_SIZE if case.any_size else ANY_BATCH
    if dynamo:
        free = dict(dynamic_shapes=dict(x=free))
    else:
        free = dict(dynamic_axes=dict(x={axis: size.__name__ for axis, size in free.items()}))
    torch.onnx.export(model, (x,), path, input_names=['x'], dynamo=dynamo, opset_version=opset, **free)
    written = {entry.domain: entry.version for entry in onnx.load(path).opset_import}
    assert written[''] >= 18 if dynamo else written[''] == 17
    session = ort.InferenceSession(path, providers=['CPUExecutionProvider'])
    for size in SIZES if case.any_size else [(count, *case.shape) for count in (1, 2, 5, 7)]:
        x = torch.randn(size)
        got = [torch.from_numpy(out) for out in session.run(None, {'x': x.numpy()})]
        torch.testing.assert_close(got, [out.detach() for out in model(x)], rtol=0, atol=case.tolerance)
