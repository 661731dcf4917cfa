"""Writing a traced classifier in each format, and running what was written."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mmlattn.utils.arguments import check_folder, refuse_existing
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json

from .contract import INPUT, output
from .metadata import NAME, to_properties

#: Of the format: what a reader has to know of operators. Every onnxruntime since 1.17 runs it.
OPSET = 20
OPSETS = range(18, 24)
#: Bytes; protobuf takes no message of 2 GB.
MOST_IN_ONE_FILE = 2**31 - 2**24
_JSON = f'{NAME}.json'

Run = Callable[[np.ndarray], dict[str, np.ndarray]]
"""From a batch of pictures to the outputs by name."""


@contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters say on every run."""
    names = ('torch.onnx', 'torch.export', 'torch.fx', 'onnxscript', 'onnx_ir', 'torch._export')
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def trace(model: nn.Module, image: Tensor, size_axes: Sequence[int] = ()) -> ExportedProgram:
    """The graph of a model for any number of pictures, and for any size where axes are named.

    Args:
        model (nn.Module): An ``ExportedClassifier``.
        image (Tensor): An example of at least two pictures.
        size_axes (Sequence[int]): Which axes of it are height and width, if these may change.

    Raises:
        UserError: If a size is asked for that the network needs to know.
    """
    # Its range is found on the way; what would make a constant of it is an error.
    free = {0: Dim('batch', min=1)} | dict.fromkeys(size_axes, Dim.DYNAMIC)
    with quiet(), torch.no_grad():
        try:
            program = torch.export.export(model, (image,), dynamic_shapes=dict(image=free), strict=False)
        except Exception as error:
            if not size_axes:
                raise
            first = next(line for line in str(error).splitlines() if line.strip())
            raise UserError(
                f'this network is built for one size of picture ({type(error).__name__}: {first.strip():.150}): '
                'leave --dynamic-size out'
            ) from error
    for node in program.graph.nodes:
        # Paths of the machine that exports.
        node.meta.pop('stack_trace', None)
    return program


def write_torch(program: ExportedProgram, path: Path, metadata: Mapping[str, Any]) -> list[Path]:
    """A program of ``torch.export``, with the metadata as an extra file; the paths written."""
    with quiet():
        torch.export.save(program, path, extra_files={_JSON: to_json(metadata, ensure_ascii=False)})
    return [path]


def write_onnx(
    program: ExportedProgram,
    path: Path,
    metadata: Mapping[str, Any],
    opset: int = OPSET,
    names: Sequence[str] = (),
) -> list[Path]:
    """An ONNX file; beyond 2 GB the weights lie beside it.

    Args:
        program (ExportedProgram): From :func:`trace`.
        path (Path): Of the file.
        metadata (Mapping): For ``metadata_props``.
        opset (int): Of the standard operators.
        names (Sequence[str]): Of the outputs.

    Raises:
        UserError: If the exporter writes another opset.
    """
    with quiet():
        made = torch.onnx.export(
            program, (), dynamo=True, opset_version=opset, input_names=[INPUT], output_names=list(names),
            verbose=False,
        )  # fmt: skip
    model = made.model_proto
    written = {entry.domain: entry.version for entry in model.opset_import}['']
    if written != opset:
        raise UserError(
            f'this graph cannot be written in opset {opset}, only in {written}: give --opset {written}'
        )
    _tidy(model, names)
    return save_onnx(model, path, metadata)


def save_onnx(model: Any, path: Path, metadata: Mapping[str, Any]) -> list[Path]:
    """Write a ``ModelProto`` with its metadata; the paths written."""
    import onnx

    del model.metadata_props[:]
    onnx.helper.set_model_props(model, to_properties(metadata))
    if model.ByteSize() <= MOST_IN_ONE_FILE:
        onnx.save(model, str(path))
        return [path]
    beside = path.with_name(f'{path.name}.data')
    onnx.save(model, str(path), save_as_external_data=True, location=beside.name, convert_attribute=False)
    return [path, beside]


def _tidy(model: Any, names: Sequence[str]) -> None:
    """Name the axes by the contract, and leave out what the exporter notes of the machine it ran on."""
    for holder in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.functions):
        del holder.metadata_props[:]
        holder.doc_string = ''
    del model.graph.value_info[:]
    axes = ('batch', None, 'height', 'width')
    if model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value in (1, 3):
        axes = ('batch', 'height', 'width', None)
    for value, wanted in (
        (model.graph.input[0], axes),
        *((v, output(v.name).axes) for v in model.graph.output),
    ):
        for dim, name in zip(value.type.tensor_type.shape.dim, wanted, strict=True):
            if not dim.HasField('dim_value'):
                dim.dim_param = name or 'channels'


def write_openvino(
    onnx_file: Path, path: Path, metadata: Mapping[str, Any], half: bool, names: Sequence[str]
) -> list[Path]:
    """OpenVINO's two files from an ONNX file; the paths written."""
    import openvino

    model = openvino.convert_model(str(onnx_file))
    for port, name in zip(model.outputs, names, strict=True):
        port.get_tensor().set_names({name})  # or it has those of operators before it, too
    model.set_rt_info(to_json(metadata, ensure_ascii=False), [NAME])
    openvino.save_model(model, str(path), compress_to_fp16=half)
    return [path, path.with_suffix('.bin')]


def open_onnx(path: Path) -> Run:
    """Run an ONNX file by onnxruntime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    names = [value.name for value in session.get_outputs()]
    return lambda image: dict(zip(names, session.run(None, {INPUT: image}), strict=True))


def open_torch(path: Path, names: Sequence[str]) -> Run:
    """Run a program of ``torch.export``."""
    module = torch.export.load(path).module()

    def run(image: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {n: x.numpy() for n, x in zip(names, module(torch.from_numpy(image)), strict=True)}

    return run


def open_openvino(path: Path, names: Sequence[str], half: bool = False) -> Run:
    """Run OpenVINO's files on the CPU, in float32 unless ``half``."""
    import openvino

    settings = {} if half else {'INFERENCE_PRECISION_HINT': 'f32'}
    compiled = openvino.Core().compile_model(str(path), 'CPU', settings)
    return lambda image: {n: np.array(x) for n, x in zip(names, compiled([image]).values(), strict=True)}


class Format(NamedTuple):
    """What a format is called, the ending of its file, and what else it writes."""

    title: str
    suffix: str
    beside: tuple[str, ...]


FORMATS = dict(
    onnx=Format('ONNX', '.onnx', ('.onnx.data',)),
    torch=Format('a program of torch.export', '.pt2', ()),
    openvino=Format('OpenVINO', '.xml', ('.bin',)),
)


def check_path(kind: str, path: Path) -> None:
    """Raises ``UserError`` for another ending, a file that is there, or a folder that is not, or is read-only."""
    suffix = FORMATS[kind].suffix
    if path.suffix != suffix:
        raise UserError(f'a file of --format {kind} ends in {suffix}, got --out {path}')
    for file in (path, *(path.with_name(path.stem + end) for end in FORMATS[kind].beside)):
        refuse_existing('--out', file)
    if not path.parent.is_dir():
        raise UserError(f'there is no folder {path.parent} for --out {path.name}')
    check_folder('--out', path.parent)
