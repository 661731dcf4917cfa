"""What of a checkpoint is published, and under which name."""

import hashlib
import os
from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from mmlattn.models.views.stored_decision import has_other_weights
from mmlattn.structures.decisions import DECISION, read_decision
from mmlattn.utils.arguments import refuse_existing
from mmlattn.utils.checkpoint.digests import add_digests
from mmlattn.utils.checkpoint.weight_files import without_wrapper_prefix, write_weights
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json
from mmlattn.utils.weights import averaged_weights
from mmlattn.version import __version__

SUFFIXES = ('.pth', '.safetensors')
#: Of the meta; the rest is of the training, and tells paths of the machine it ran on.
_KEPT = ('epoch', 'iter', 'seed', 'dataset_meta', 'CLASSES', 'converted_from', 'model', DECISION)
#: Where the meta has the config, as data.
CONFIG = 'mmlattn_config'


def published(
    checkpoint: Mapping, name: str, *, averaged: bool = True, config: Mapping | None = None
) -> dict:
    """The part of a checkpoint that is published: weights, class names, decision, where the training stood.

    Args:
        checkpoint (Mapping): As it was loaded: a state dict, or a dict with one as ``state_dict``.
        name (str): What messages call it.
        averaged (bool): Where EMA was on, whether to take the averages, which were tested and which mmengine keeps as
            ``state_dict``, or the plain weights, which it keeps as ``ema_state_dict``.
        config (Mapping, optional): See ``mmlattn/hub/config_data.py``.

    Raises:
        UserError: If there are no plain weights, or the stored decision is for other weights.
    """
    checkpoint = checkpoint if 'state_dict' in checkpoint else dict(state_dict=checkpoint)
    meta = checkpoint.get('meta') or {}
    if read_decision(checkpoint) is not None and (not averaged or has_other_weights(checkpoint)):
        raise UserError(
            f'{name}: its stored decision is for the averaged weights: publish those, or take the checkpoint without '
            'a decision and choose one afterwards with tools/analysis_tools/tune_thresholds.py'
        )
    weights = checkpoint['state_dict']
    if not averaged:
        if not isinstance(checkpoint.get('ema_state_dict'), Mapping):
            raise UserError(
                f'{name}: it has no ema_state_dict, so its weights are the plain ones: leave --no-ema out'
            )
        weights = averaged_weights(checkpoint['ema_state_dict'])
    versions = getattr(weights, '_metadata', None)
    weights = OrderedDict((n, v.detach().cpu()) for n, v in without_wrapper_prefix(weights).items())
    if versions:
        weights._metadata = versions
    kept = {name: meta[name] for name in _KEPT if meta.get(name) is not None}
    if config is not None:
        kept[CONFIG] = dict(config)
    content = dict(state_dict=weights, meta=dict(kept, mmlattn_version=__version__))
    add_digests(content)
    return content


def publish(content: Mapping, out: Path) -> tuple[Path, Path]:
    """Write what :func:`published` gives as ``NAME-HASH.SUFFIX``, and what is told of it as ``NAME-HASH.json``.

    Args:
        content (Mapping): What to write.
        out (Path): ``NAME.pth`` or ``NAME.safetensors``. The hash, the first eight digits of the file's SHA-256, goes
            into the name, and torch's and our downloads compare the two.

    Returns:
        tuple[Path, Path]: Of the two files.

    Raises:
        UserError: If one exists.
    """
    if out.suffix not in SUFFIXES:
        raise UserError(f'{out} must end in {" or ".join(SUFFIXES)}')
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix='.publish-') as folder:
        partial = Path(folder, out.name)
        write_weights(partial, dict(content))
        checksum = sha256(partial)
        file = out.with_name(f'{out.stem}-{checksum[:8]}{out.suffix}')
        told = file.with_suffix('.json')
        for path in (file, told):
            refuse_existing('name', path)
        facts = dict(file=file.name, sha256=checksum, bytes=partial.stat().st_size, **facts_of(content))
        told.write_text(to_json(facts, indent=2) + '\n', encoding='utf-8')
        os.rename(partial, file)
    return file, told


def facts_of(content: Mapping) -> dict:
    """What people and programs ask of a published checkpoint, as json has it."""
    weights, meta = content['state_dict'], content['meta']
    decision = read_decision(content)
    return dict(
        parameters=sum(value.numel() for value in weights.values() if value.is_floating_point()),
        types=dict(Counter(_type_name(value) for value in weights.values())),
        classes=(meta.get('dataset_meta') or {}).get('classes') or meta.get('CLASSES'),
        decision=decision and decision.summary(),
        thresholds=decision and dict(zip(decision.classes, decision.thresholds, strict=False)),
        **{name: value for name, value in meta.items() if name not in ('dataset_meta', 'CLASSES', DECISION)},
    )


def sha256(file: Path) -> str:
    """The checksum of a file."""
    digest = hashlib.sha256()
    with file.open('rb') as opened:
        while part := opened.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _type_name(value: Tensor) -> str:
    return str(value.dtype).removeprefix('torch.')
