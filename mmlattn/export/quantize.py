"""8-bit weights and activations by onnxruntime's static quantiser, and what they cost."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmlattn.evaluation.functional import average_precision

from .contract import INPUT
from .formats import quiet, save_onnx

#: What is computed in 8 bits; all else, such as where a region lies and softmax, stays in float32.
QUANTISED = ('Conv', 'MatMul', 'Gemm')


def quantise(
    source: Path, path: Path, batches: Iterable[np.ndarray], metadata: Mapping[str, Any], folder: Path
) -> list[Path]:
    """Write an ONNX file with 8-bit convolutions and matrix products (QDQ, a scale for each output channel).

    Args:
        source (Path): The float32 file.
        path (Path): To write.
        batches (Iterable[np.ndarray]): Pictures as the file takes them, which ranges of activations are taken from.
        metadata (Mapping): Of the new file.
        folder (Path): For files in between.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(batches)

        def get_next(self) -> dict | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch}

    prepared, quantised = folder / 'prepared.onnx', folder / 'quantised.onnx'
    with quiet():
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(quantised), Batches(), quant_format=QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=list(QUANTISED), weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
        )  # fmt: skip
    return save_onnx(onnx.load(str(quantised)), path, metadata)


def quality(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean AP in [0, 1] of scores (N, C) over the classes that a picture of targets (N, C) has."""
    found = average_precision(scores, targets)
    return float(np.nanmean(found))
