"""A table with one row for each class, in the log and in a file."""

import csv
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from rich.console import Console
from rich.table import Column, Table

from mmlattn.structures.labels import UNKNOWN, check_sets, label_matrix
from mmlattn.utils.arguments import check_choice
from mmlattn.utils.arrays import as_array
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json


class TableMetric(BaseMetric):
    """A metric that has a table with one row for each class.

    Args:
        per_class (bool): Whether to log the table.
        out_file (str, optional): A ``.csv`` (the table) or ``.json`` (table and summary) to write after each
            evaluation. An existing file is kept and the new one gets a number.
        unknown (str): 'mask': unknown labels, and VOC's difficult ones, count neither for nor against; 'negative'
            takes them for absent.
        **kwargs: Of mmengine's ``BaseMetric``.
    """

    def __init__(
        self, per_class: bool = False, out_file: str | None = None, unknown: str = 'mask', **kwargs
    ) -> None:
        super().__init__(**kwargs)
        check_choice('unknown', unknown, UNKNOWN)
        if out_file is not None and Path(out_file).suffix not in ('.csv', '.json'):
            raise UserError(f'out_file must end with .csv or .json, got {out_file!r}')
        self.per_class, self.out_file, self.unknown = per_class, out_file, unknown

    def read_targets(self, data_samples: Sequence[Mapping], num_classes: int) -> np.ndarray:
        """1 present, 0 absent, -1 not to be counted: (B, C) int8; raises ``UserError`` for soft labels."""
        targets = label_matrix(data_samples, num_classes)
        check_sets(targets, type(self).__name__)
        targets = targets if self.unknown == 'mask' else targets.clamp(min=0)
        return as_array(targets).astype(np.int8)

    def class_names(self, num_classes: int) -> Sequence[str]:
        """Those of the data set, numbers without; raises ``UserError`` if it has not as many as the model scores."""
        names = (self.dataset_meta or {}).get('classes') or [str(c) for c in range(num_classes)]
        if len(names) != num_classes:
            raise UserError(
                f'the model scores {num_classes} classes but the data set has {len(names)}: set num_classes of '
                'model.head and of data_preprocessor to the number of classes'
            )
        return names

    def publish(self, per_class: Mapping[str, np.ndarray], metrics: Mapping[str, float]) -> None:
        """Log and write columns (C,) of fractions and whole numbers, as asked for."""
        rows = _rows(per_class, self.class_names(len(next(iter(per_class.values())))))
        if self.per_class:
            print_log('\n' + _render(rows), 'current')
        if self.out_file is not None:
            print_log(f'wrote the report to {_write(Path(self.out_file), rows, metrics)}', 'current')


def _rows(per_class: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[dict]:
    """One dict for each class: fractions in percent, None where a number does not exist."""
    rows = []
    for c, name in enumerate(classes):
        row: dict[str, Any] = dict(label=name)
        for key, values in per_class.items():
            value = values[c].item()
            row[key] = value if isinstance(value, int) else None if math.isnan(value) else 100 * value
        rows.append(row)
    return rows


def _render(rows: list[dict]) -> str:
    table = Table('label', *(Column(name, justify='right') for name in rows[0] if name != 'label'))
    for row in rows:
        values = ('-' if v is None else f'{v:.2f}' if isinstance(v, float) else str(v) for v in row.values())
        table.add_row(*values)
    console = Console(width=100, markup=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _write(path: Path, rows: list[dict], metrics: Mapping[str, float]) -> Path:
    """Write the report under the first free name of path, path_1, path_2 ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbered = (path.with_stem(f'{path.stem}_{number}') for number in itertools.count(1))
    free = next(name for name in itertools.chain([path], numbered) if not name.exists())
    with free.open('x', newline='', encoding='utf-8') as file:
        if path.suffix == '.json':
            file.write(to_json(dict(summary=dict(metrics), classes=rows), indent=2))
        else:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return free
