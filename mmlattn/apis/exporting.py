"""From config and checkpoint to one file that stands alone, compared with the model before it gets its name."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.export import ExportedProgram

from mmlattn.export import formats, label_rule, metadata, parity, quantize
from mmlattn.export.contract import INPUT, MASK, described
from mmlattn.export.folding import fold_batch_norms, folded
from mmlattn.export.picture_rule import PictureRule
from mmlattn.export.wrapper import (
    ExportedClassifier,
    Preprocessing,
    all_tensors,
    check_exportable,
    find_activation,
    output_names,
    slow_steps,
)
from mmlattn.models.ran.mask_recording import backbone_masks
from mmlattn.models.views.stored_decision import apply_decision
from mmlattn.structures import label_matrix
from mmlattn.utils.arguments import check_choice
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.messages import one_line
from mmlattn.utils.timing import seconds, take_turns

from .loading import class_names, load_model
from .pictures import file_items
from .pixel_source import PixelSource


@dataclass(frozen=True)
class ExportOptions:
    """What is exported; see ``tools/export.py --help``."""

    format: str = 'onnx'
    logits: bool = False
    evidence: bool = False
    preprocessing: str | None = None
    dynamic_size: bool = False
    size: tuple[int, int] | None = None
    half: bool = False
    int8: bool = False
    opset: int = formats.OPSET
    check: int = 16
    pictures: Sequence[str] = ()
    tolerance: float | None = None
    calibrate: int = 100
    evaluate: int = 500
    threshold: float | None = None
    ignore_decision: bool = False
    classes: str | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        """Raises ``UserError`` for what does not go together."""
        if self.int8 and (self.format != 'onnx' or self.half):
            raise UserError(
                '--int8 is by the quantiser of onnxruntime: give it with --format onnx and without --half'
            )
        if self.opset not in formats.OPSETS:
            raise UserError(
                f'--opset must lie in [{formats.OPSETS[0]}, {formats.OPSETS[-1]}], got {self.opset}'
            )
        if self.preprocessing is not None:
            check_choice('the layout of the pixels', self.preprocessing, ('nchw', 'nhwc'))

    @property
    def precision(self) -> str:
        """Of the network before it is quantised."""
        return 'float16' if self.half else 'float32'


def _say_now(line: str) -> None:
    # Into a pipe too: what is said before the long work is meant to be read before it.
    print(line, flush=True)


def export_classifier(
    cfg: Config,
    checkpoint: str,
    out: Path,
    options: ExportOptions,
    say: Callable[[str], None] = _say_now,
) -> dict[str, float]:
    """Export a classifier, compare the file with it, and only then give the file its name.

    Args:
        cfg (Config): Of a classifier.
        checkpoint (str): Path or URL.
        out (Path): The file.
        options (ExportOptions): What is in it.
        say (Callable): Takes each line of the report.

    Returns:
        dict[str, float]: The largest difference of each output from what ``predict`` gives.

    Raises:
        UserError: If it cannot be exported, or says something else than the model; then there is no file.
    """
    formats.check_path(options.format, out)
    check_packages(options.format)
    model = load_model(cfg, checkpoint, trust=options.trust).eval()
    check_exportable(model)
    source = PixelSource(cfg, model, options.size)
    pictures, told = _pictures(source, options)
    val = source.of_size(source.of_split('val', options.calibrate)) if options.int8 else []
    test = source.of_size(source.of_split('test', options.evaluate)) if options.int8 else []
    traced, image, num_classes, notes = _prepare(model, source, options)
    info = _describe(model, source, options, traced, num_classes)
    say(f'{type(model).__name__}: {", ".join(traced.names)}; {notes}')
    if class_names(model, options.classes) is None:
        say(
            f'no names of classes are stored, so they are called 0 to {num_classes - 1}: --classes FILE names them'
        )
    if (steps := slow_steps(model)) is not None:
        say(
            f'{steps} steps of beam search become one graph, which takes minutes and more: if label sets are '
            'shorter, stop here and add --cfg-options model.head.test_cfg.max_len=N'
        )
    axes = () if not options.dynamic_size else (1, 2) if options.preprocessing == 'nhwc' else (2, 3)
    program = formats.trace(traced, image, axes)
    with _workplace(out) as folder:
        file = folder / out.name
        written = _write(program, file, info, options, folder, traced.names)
        run = _open(file, options, traced.names)
        say(
            f'comparing with predict on {told}, one alone too'
            + ', and on other sizes' * options.dynamic_size
            + ':'
        )
        worst = _compare(model, source, run, pictures, options, info, say)
        say(_speed(model, source, run, options))
        if options.int8:
            written = _quantise(source, file, run, (val, test), info, options, folder, say)
        _check_worst(worst, options)
        formats.check_path(options.format, out)
        placed = _place(written, out.parent)
    size = sum(path.stat().st_size for path in placed)
    opset = f', opset {options.opset}' if options.format == 'onnx' else ''
    say(
        f'wrote {out}: {formats.FORMATS[options.format].title}{opset}, {info["precision"]}, {size / 1e6:.1f} MB'
    )
    return worst


def check_packages(kind: str) -> None:
    """Raises ``UserError`` if a package is missing that a format needs."""
    needed = dict(
        onnx=('onnx', 'onnxscript', 'onnxruntime'), torch=(), openvino=('onnx', 'onnxscript', 'openvino')
    )
    missing = [name for name in needed[kind] if find_spec(name) is None]
    if missing:
        raise UserError(f'--format {kind} needs what is not installed: pip install {" ".join(missing)}')


@torch.no_grad()
def _prepare(
    model: nn.Module, source: PixelSource, options: ExportOptions
) -> tuple[ExportedClassifier, Tensor, int, str]:
    """What is traced, an example of what it reads, the number of classes, and what was done to the model."""
    pixels = source.noise(2)
    inputs = source.normalised(pixels)
    plain = folded(model)
    try:
        found = all_tensors(plain, inputs, options.evidence)
    except (RuntimeError, ValueError, AssertionError) as error:
        if options.size is None or isinstance(error, UserError):
            raise
        raise UserError(
            f'the network does not run on pictures of {source.size} ({one_line(error):.150}): give another --size'
        ) from error
    names = output_names(found, options.logits, options.evidence)
    scores = parity.predicted(model, inputs, ['scores'])[0]['scores']
    activation = find_activation(found, torch.from_numpy(scores))
    count = fold_batch_norms(plain, inputs)
    preprocessing = None
    if options.preprocessing is not None:
        preprocessing = Preprocessing(options.preprocessing, *source.statistics, source.network_reads_bgr)
    traced = ExportedClassifier(plain, activation, names, preprocessing, options.half).eval()
    said = dict(none='scores are made by the model itself').get(
        activation, f'scores are a {activation} of logits'
    )
    notes = f'{said}; {count} batch normalisations folded'
    return traced, torch.from_numpy(source.fed(pixels, options.preprocessing)), scores.shape[1], notes


def _describe(
    model: nn.Module,
    source: PixelSource,
    options: ExportOptions,
    traced: ExportedClassifier,
    num_classes: int,
) -> dict[str, Any]:
    """The metadata of the file, but for what is known of a format."""
    rule = label_rule.label_rule(model, num_classes, *_decided(model, options))
    names = class_names(model, options.classes) or tuple(str(number) for number in range(num_classes))
    mean, std = source.statistics
    order = {1: 'grey', 3: 'BGR' if source.network_reads_bgr else 'RGB'}.get(source.channels)
    pixels = options.preprocessing is not None
    rule_of_size = source.rule
    if not options.dynamic_size and source.made != {source.size}:
        rule_of_size = PictureRule(None, 'the test pipeline makes other sizes than the one that --size names')
    height, width = source.size
    picture = dict(
        name=INPUT,
        layout=options.preprocessing or 'nchw',
        dtype='uint8' if pixels else 'float32',
        channels=source.channels,
        order='RGB' if pixels and source.channels == 3 else order,
        height=height,
        width=width,
        dynamic_size=options.dynamic_size,
        normalised_in_graph=pixels,
    )
    regions = model.region_names() if hasattr(model, 'region_names') else None
    masks = list(backbone_masks(model))
    dtypes = ['int64' if name == 'label_path' else 'float32' for name in traced.names]
    return metadata.base_metadata(
        task='single-label' if rule['rule'] == 'best' else 'multi-label',
        classes=list(names),
        activation=traced.activation,
        decision=rule,
        input=picture,
        mean=mean,
        std=std,
        channel_order=order,
        picture=dict(**rule_of_size._asdict(), oriented_by_exif=source.oriented),
        outputs=described(traced.names, dtypes),
        precision='int8' if options.int8 else options.precision,
        opset=options.opset if options.format == 'onnx' else None,
        **(dict(region_names=regions) if regions and 'regions' in traced.names else {}),
        **(dict(trunk_mask_names=masks) if any(n.startswith(MASK) for n in traced.names) else {}),
    )


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """A folder beside the file, on the same disk, that does not outlive the export."""
    # Named before it is made, so that Ctrl-C never comes between making it and knowing it.
    folder = out.parent / f'.export-{secrets.token_hex(8)}'
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(
    program: ExportedProgram,
    file: Path,
    info: dict,
    options: ExportOptions,
    folder: Path,
    names: Sequence[str],
) -> list[Path]:
    if options.format == 'torch':
        return formats.write_torch(program, file, info)
    if options.format == 'onnx':
        return formats.write_onnx(program, file, info, options.opset, names)
    between = folder / 'between.onnx'
    formats.write_onnx(program, between, info, options.opset, names)
    return formats.write_openvino(between, file, info, options.half, names)


def _open(file: Path, options: ExportOptions, names: Sequence[str]) -> formats.Run:
    if options.format == 'torch':
        return formats.open_torch(file, names)
    return (
        formats.open_onnx(file)
        if options.format == 'onnx'
        else formats.open_openvino(file, names, options.half)
    )


def _place(written: Sequence[Path], folder: Path) -> list[Path]:
    """Give complete files their names in a folder: all of them, or none."""
    placed = [folder / path.name for path in written]
    try:
        for path, name in zip(written, placed, strict=True):
            os.replace(path, name)
    except BaseException:  # Ctrl-C too
        for name in placed:
            name.unlink(missing_ok=True)
        raise
    return placed


def _pictures(source: PixelSource, options: ExportOptions) -> tuple[list[dict], str]:
    """Items to compare the file on, and what they are."""
    fits = list if options.dynamic_size else source.of_size
    if options.pictures:
        items = fits(file_items(source.cfg, options.pictures, source.channels))
        return items, f'{len(items)} given pictures'
    try:
        items = fits(source.of_split('test', options.check))
        return items, f'{len(items)} pictures of the test data set'
    except (UserError, OSError) as error:
        pixels = source.noise(options.check)
        said = f'{len(pixels)} random inputs ({str(error).partition(". ")[0].partition(": leave")[0]:.120})'
        return [dict(inputs=each, data_samples=None) for each in pixels], said


def _compare(
    model: nn.Module, source: PixelSource, run: formats.Run, items: Sequence[dict], options: ExportOptions,
    info: dict, say: Callable[[str], None],
) -> dict[str, float]:  # fmt: skip
    """The largest difference of each output, in batches of several lengths and, where they may be, sizes."""
    names = [each['name'] for each in info['outputs']]
    batches = [pixels for pixels, _ in source.batches(items)]
    batches.append(batches[0][:1])
    if options.dynamic_size:
        height, width = source.size
        batches += [source.noise(2, (height + 32, width + 96)), source.noise(1, (height + 64, width))]
    worst, alike, count = dict.fromkeys(names, 0.0), 0, 0
    for pixels in batches:
        expected, samples = parity.predicted(model, source.normalised(pixels), names)
        found = _run(run, source, pixels, options)
        for name, difference in parity.differences(expected, found).items():
            worst[name] = max(worst[name], difference)
        labels = label_rule.labels_of(found, info['decision'])
        wanted = apply_decision(samples, *_decided(model, options))
        alike += sum(set(a) == set(b.pred_label.tolist()) for a, b in zip(labels, wanted, strict=True))
        count += len(labels)
    for name, difference in worst.items():
        say(f'  {name:16} largest difference {difference:.2g}')
    say(f'  label sets       the same for {alike} of {count}')
    return worst


def _run(
    run: formats.Run, source: PixelSource, pixels: Tensor, options: ExportOptions
) -> dict[str, np.ndarray]:
    """What the file says; a graph that holds for some sizes only shows when it meets another."""
    fed = source.fed(pixels, options.preprocessing)
    try:
        return run(fed)
    except Exception as error:
        if tuple(pixels.shape[-2:]) == source.size:
            raise
        said = ' '.join(str(error).split())[:150]
        raise UserError(
            f'this network is built for pictures of {source.size}, it does not run on {tuple(pixels.shape[-2:])} '
            f'({said}): leave --dynamic-size out'
        ) from error


def _decided(model: nn.Module, options: ExportOptions) -> tuple[Any, float | None]:
    return None if options.ignore_decision else model._decision, options.threshold


def _check_worst(worst: dict[str, float], options: ExportOptions) -> None:
    """Raises ``UserError`` where the file says something else; of float16, which moves peaks, scores alone decide."""
    tolerance = parity.TOLERANCE[options.precision] if options.tolerance is None else options.tolerance
    judged = {n: d for n, d in worst.items() if not options.half or n == 'scores'}
    wrong = {name: f'{difference:.2g}' for name, difference in judged.items() if not difference <= tolerance}
    if wrong:
        listed = ', '.join(f'{name} by {difference}' for name, difference in wrong.items())
        raise UserError(
            f'the file says something else than the model: {listed}, where {tolerance:g} is allowed; nothing is '
            'written. Should that be good enough, give a larger --tolerance'
        )


def _speed(model: nn.Module, source: PixelSource, run: formats.Run, options: ExportOptions) -> str:
    """The time for one picture, of file and model; the best of a few runs of each."""
    pixels = source.noise(1)
    inputs, fed = source.normalised(pixels), source.fed(pixels, options.preprocessing)

    pieces = dict(own=lambda: model(inputs, mode='tensor'), exported=lambda: run(fed))
    with torch.no_grad():
        times = take_turns({name: partial(seconds, piece) for name, piece in pieces.items()}, repeats=4)
    own, exported = (1000 * min(times[name]) for name in pieces)
    return (
        f'one picture takes {exported:.1f} ms, and PyTorch {own:.1f} ms for the scores alone ('
        f'{torch.get_num_threads()} threads, best of 4)'
    )


def _quantise(
    source: PixelSource, file: Path, run: formats.Run, data: tuple[list[dict], list[dict]], info: dict,
    options: ExportOptions, folder: Path, say: Callable[[str], None],
) -> list[Path]:  # fmt: skip
    """Quantise with the val pictures of ``data``, and say what it costs on the test pictures."""
    items, judged = data
    fed = (source.fed(pixels, options.preprocessing) for pixels, _ in source.batches(items))
    target = folder / 'int8' / file.name
    target.parent.mkdir()
    written = quantize.quantise(file, target, fed, info, folder)
    small = formats.open_onnx(target)
    scores, targets = {'float32': [], 'int8': []}, []
    for pixels, samples in source.batches(judged):
        inputs = source.fed(pixels, options.preprocessing)
        for name, call in (('float32', run), ('int8', small)):
            scores[name].append(call(inputs)['scores'])
        targets.append(label_matrix(samples, len(info['classes'])).numpy())
    if not all(np.isfinite(part).all() for part in scores['int8']):
        raise UserError(
            'the 8-bit file gives scores that are not finite: calibrate on more pictures, --calibrate N'
        )
    before, after = (
        100 * quantize.quality(np.concatenate(part), np.concatenate(targets)) for part in scores.values()
    )
    say(
        f'int8, calibrated on {len(items)} pictures of the val data set: mAP {before:.2f} -> {after:.2f} '
        f'({after - before:+.2f}) on {len(judged)} pictures of the test data set'
    )
    return written
