"""The table of a comparison as markdown and csv, everything as json, and a picture."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmlattn.utils.json_files import to_json
from mmlattn.utils.whole_files import whole_file

from .scoring import METRICS, Row

#: Columns of the table that are per cent, by metric.
HEADINGS = dict(
    mAP='mAP', CF1_own='CF1', OF1_own='OF1', CF1_tuned='CF1 tuned', OF1_tuned='OF1 tuned', exact_own='exact',
    exact_tuned='exact tuned', ECE='ECE', pointing='pointing',
)  # fmt: skip


def mean_and_spread(values: np.ndarray) -> tuple[float, float]:
    """Mean over seeds and standard deviation of them (of n - 1), NaN of one seed."""
    spread = values.std(ddof=1) if len(values) > 1 else math.nan
    return float(values.mean()), float(spread)


def shown_metrics(rows: Sequence[Row]) -> list[str]:
    """Metrics that some head has a value of, in the order of the table."""
    return [name for name in HEADINGS if any(np.isfinite(row.values[name]).any() for row in rows)]


def table_records(rows: Sequence[Row]) -> list[dict]:
    """One flat record for each head; shares in per cent."""
    records = []
    for row in rows:
        outcome = row.outcome
        record: dict = dict(head=outcome.name, seeds=len(outcome.test))
        for name in shown_metrics(rows):
            mean, spread = mean_and_spread(100 * row.values[name])
            record |= {name: mean, f'{name}_spread': spread}
        if row.difference is not None:
            found = row.difference
            record |= dict(
                difference=100 * found.mean,
                difference_low=100 * found.low,
                difference_high=100 * found.high,
                won=found.won,
            )
        edge = len(outcome.grid) > 1 and outcome.rate in (min(outcome.grid), max(outcome.grid))
        record |= dict(lr=outcome.rate, lr_at_edge=edge, **outcome.cost._asdict())
        records.append(record)
    return records


def markdown(rows: Sequence[Row], pictures: Mapping[str, int], note: str) -> str:
    """Both tables as text: what came out, and what it costs."""
    records, metrics = table_records(rows), shown_metrics(rows)
    first, seeds = records[0]['head'], records[0]['seeds']
    count = f'{seeds} seeds' if seeds > 1 else 'one seed'
    splits = ', '.join(f'{number} for {split}' for split, number in pictures.items())
    lines = [
        f'Pictures: {splits}. In per cent, mean ± standard deviation over {count}.',
        note,
        '',
        f'| head | {" | ".join(HEADINGS[name] for name in metrics)} | mAP against {first} [95 %] | seeds won |',
        '|---' * (len(metrics) + 3) + '|',
    ]
    for record in records:
        cells = [_cell(record[name], record[f'{name}_spread']) for name in metrics]
        apart, won = '', ''
        if 'difference' in record:
            apart = f'{record["difference"]:+.2f} [{record["difference_low"]:+.2f}, {record["difference_high"]:+.2f}]'
            won = f'{record["won"]} of {min(seeds, record["seeds"])}'
        lines.append(f'| {record["head"]} | {" | ".join(cells)} | {apart} | {won} |')
    lines += ['', '| head | parameters | ms a step | MB a step | learning rate |', '|---|---|---|---|---|']
    for record in records:
        edge = ' (end of the grid)' if record['lr_at_edge'] else ''
        lines.append(
            f'| {record["head"]} | {record["parameters"]:,} | {record["milliseconds"]:.0f} | '
            f'{record["megabytes"]:.1f} | {record["lr"]:g}{edge} |'
        )
    return '\n'.join(lines) + '\n'


def _cell(mean: float, spread: float) -> str:
    if not math.isfinite(mean):
        return ''
    return f'{mean:.2f} ± {spread:.2f}' if math.isfinite(spread) else f'{mean:.2f}'


def as_json(rows: Sequence[Row], settings: Mapping) -> str:
    """Everything, with the values of each seed and the whole grid; shares in [0, 1]."""
    heads = {
        row.outcome.name: dict(
            values={name: row.values[name] for name in METRICS},
            difference=None if row.difference is None else row.difference._asdict(),
            learning_rate=row.outcome.rate,
            val_mAP_by_rate={f'{rate:g}': value for rate, value in row.outcome.grid.items()},
            cost=row.outcome.cost._asdict(),
        )
        for row in rows
    }
    return to_json(dict(settings=settings, heads=heads), indent=2) + '\n'


def write_report(
    rows: Sequence[Row], pictures: Mapping[str, int], note: str, settings: Mapping, folder: Path
) -> Path:
    """Write ``comparison.md``, ``.csv``, ``.json`` and ``.png``; a file that is there keeps its name and content.

    Returns:
        Path: The markdown file; where the same report is there already, that one.
    """
    import pandas as pd

    from mmlattn.visualization.comparison_figure import Bar, draw_comparison

    content, number = as_json(rows, settings), 1
    while True:
        stem = folder / ('comparison' if number == 1 else f'comparison_{number}')
        json_file = stem.with_suffix('.json')
        files = [stem.with_suffix(suffix) for suffix in ('.md', '.csv', '.png', '.json')]
        if not any(file.exists() for file in files):
            break
        if all(file.exists() for file in files) and json_file.read_text() == content:
            return stem.with_suffix('.md')
        number += 1
    bars = [Bar(row.outcome.name, 100 * row.values['mAP'], row.outcome.cost.milliseconds) for row in rows]
    figure = draw_comparison(bars, note)
    stem.with_suffix('.md').write_text(markdown(rows, pictures, note))
    pd.DataFrame(table_records(rows)).to_csv(stem.with_suffix('.csv'), index=False)
    figure.savefig(stem.with_suffix('.png'))
    # Last, for it says that the others are there.
    with whole_file(json_file) as draft:
        draft.write_text(content)
    return stem.with_suffix('.md')
