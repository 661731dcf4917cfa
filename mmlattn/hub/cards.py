"""The text about a published model for people: README.md with what a hub reads at its top."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import yaml
from mmengine.config import Config
from mmpretrain.apis import ModelHub, list_models

from mmlattn.utils.configs import config_names, config_path
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import type_name

_CARD = """# {name}

{kind}, {parameters:,} parameters, for mmlattn {version}. `config.json` and `model.safetensors` are data:
nothing in this folder is run when it is opened.

```python
import mmlattn
from mmlattn.apis import MultiLabelInferencer

inferencer = MultiLabelInferencer(mmlattn.from_pretrained({source!r}))
print(inferencer('picture.jpg')[0]['pred_classes'])
```

## Labels

{decision}

{classes}

## Numbers

**Published** by the authors of the method, for this recipe; not of these weights:

{published}

**Measured** with these weights{measured_by}:

{measured}
"""
_NONE = 'none known.'
#: How model-index.yml marks numbers of others.
_PUBLISHED = ' (published)'


class Measured(NamedTuple):
    """Numbers of the weights that are published, and how they were found: on which pictures, by which command."""

    values: Mapping[str, float]
    by: str


def card_text(
    name: str, cfg: Config, facts: Mapping, measured: Measured | None = None, license_name: str | None = None
) -> str:
    """README.md of a published folder.

    Args:
        name (str): Of the model, or ``user/name`` of its place on a hub.
        cfg (Config): As it was read; its file says whether it is one of ours, whose published numbers are known.
        facts (Mapping): See ``facts_of``.
        measured (Measured, optional): None is said, too.
        license_name (str, optional): As a hub names it, such as ``apache-2.0``.

    Raises:
        UserError: If ``measured`` has no numbers, or no word on how they were found.
    """
    if measured is not None and (not measured.values or not measured.by.strip()):
        raise UserError('measured numbers need values, and how they were found: the pictures and the command')
    kinds = [type_name(part) for part in _parts(cfg.model)]
    front = dict(library_name='mmlattn', pipeline_tag='image-classification', tags=['mmlattn', *kinds])
    if license_name:
        front['license'] = license_name
    classes = facts['classes'] or ()
    text = _CARD.format(
        name=name.rpartition('/')[2],
        kind=' + '.join(kinds),
        parameters=facts['parameters'],
        version=facts['mmlattn_version'],
        source=name,
        decision=f'Labels by {facts["decision"]}.'
        if facts['decision']
        else "Labels by the model's own rule.",
        classes=f'{len(classes)} classes: {", ".join(map(_plain, classes))}.'
        if classes
        else 'No class names.',
        published=_table(published_numbers(cfg)),
        measured_by=f', {_plain(measured.by)}' if measured else '',
        measured=_table(measured.values) if measured else 'not measured.',
    )
    return f'---\n{yaml.safe_dump(front, sort_keys=False)}---\n{text}'


def published_numbers(cfg: Config) -> dict[str, float]:
    """What ``model-index.yml`` tells of a config of ours that is used as it is; nothing of others."""
    file = cfg.filename and os.path.realpath(cfg.filename)
    stem = os.path.basename(file or '').removesuffix('.py')
    if stem not in config_names() or os.path.realpath(config_path(stem)) != file or stem not in list_models():
        return {}
    results = ModelHub.get(stem).results or ()
    return {
        f'{metric.removesuffix(_PUBLISHED)}, {result.dataset}': value
        for result in results
        for metric, value in result.metrics.items()
        if metric.endswith(_PUBLISHED)
    }


def _parts(model: Mapping) -> Sequence[Mapping]:
    return [
        model,
        *(model[name] for name in ('backbone', 'neck', 'head') if isinstance(model.get(name), Mapping)),
    ]


def _plain(text: str) -> str:
    """Words of others in a line of Markdown."""
    return re.sub(r'([\\`*_\[\]<>|#])', r'\\\1', ' '.join(str(text).split()))


def _table(numbers: Mapping[str, float]) -> str:
    if not numbers:
        return _NONE
    lines = [f'| {_plain(name)} | {value} |' for name, value in numbers.items()]
    return '\n'.join(['| metric | value |', '|---|---|', *lines])
