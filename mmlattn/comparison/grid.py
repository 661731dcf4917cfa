"""All trainings of a comparison: which there are, which are done, and which learning rate is taken.

``OUT_DIR/runs/NAME/lr0.001_seed0`` has ``run.json`` (what it was, and mAP on val), ``weights.pth``, ``val.npz``, and
once the rate is chosen ``test.npz`` and ``test.json``; ``cost.json`` beside the runs is the cost of a step. A run
lies in a folder with ``.part`` behind its name until it is whole, and one that was interrupted starts anew from its
seed, so what comes of it is the same.
"""

import fcntl
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmlattn.evaluation.functional.multi_label import average_precision, mean_defined
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json
from mmlattn.utils.whole_files import whole_file

from .candidates import Candidate
from .cost import Cost, measure_cost
from .data import SplitData
from .training import Budget, Predictions, build_model, predict, train_head, trained_weights


@dataclass(frozen=True)
class Comparison:
    """What all trainings share.

    Attributes:
        data (dict[str, SplitData]): ``train``, ``val`` and ``test``.
        budget (Budget): Of every training.
        rates (Sequence[float]): Learning rates to choose from.
        seeds (Sequence[int]): The first one chooses.
        folder (Path): Of the comparison.
    """

    data: Mapping[str, SplitData]
    budget: Budget
    rates: Sequence[float]
    seeds: Sequence[int]
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """What came of a candidate: the rate taken, its mAP on val for each rate, and a run for each seed."""

    name: str
    rate: float
    grid: Mapping[float, float]
    val: list[Predictions]
    test: list[Predictions]
    cost: Cost


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Let no other process write into the folder meanwhile; raises ``UserError`` where one does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f'another comparison writes into {folder}: choose another --out-dir') from error
        yield


def compare(comparison: Comparison, candidate: Candidate) -> Outcome:
    """Train a candidate with each rate, choose one on val, train the other seeds with it, and test."""
    first = comparison.seeds[0]
    grid = {rate: _val_map(run_once(comparison, candidate, rate, first)) for rate in comparison.rates}
    # Of equals the smallest.
    rate = max(sorted(grid), key=lambda rate: grid[rate])
    _say(f'{candidate.name}: learning rate {rate:g}, by mAP on val')
    runs = [run_once(comparison, candidate, rate, seed) for seed in comparison.seeds]
    val = [read_predictions(run / 'val.npz') for run in runs]
    test = [tested_once(comparison, candidate, run) for run in runs]
    cost = cost_once(comparison, candidate, runs[0])
    return Outcome(candidate.name, rate, grid, val, test, cost)


def run_folder(comparison: Comparison, name: str, rate: float, seed: int) -> Path:
    """Where a run lies."""
    return comparison.folder / 'runs' / name / f'lr{rate:g}_seed{seed}'


def run_once(comparison: Comparison, candidate: Candidate, rate: float, seed: int) -> Path:
    """The folder of a finished run; it is run unless it is there.

    Raises:
        UserError: If what is there was run with other settings.
    """
    folder = run_folder(comparison, candidate.name, rate, seed)
    settings = run_settings(comparison, candidate, rate, seed)
    if done(folder, 'run.json', settings):
        return folder
    draft = folder.with_name(f'{folder.name}.part')
    if draft.exists():
        shutil.rmtree(draft)  # of a run that was interrupted
    draft.mkdir(parents=True)
    start = time.perf_counter()
    train, val = comparison.data['train'], comparison.data['val']
    runner = train_head(candidate, train, rate, seed, comparison.budget, draft / 'log')
    taken = time.perf_counter() - start
    weights = trained_weights(runner.model)
    torch.save(dict(state_dict=weights), draft / 'weights.pth')
    found = predict(candidate, weights, val, comparison.budget.batch_size, draft / 'log')
    write_predictions(draft / 'val.npz', found)
    value = mean_average_precision(found.scores, val.targets)
    write_record(draft / 'run.json', settings=settings, val_mAP=value, seconds=taken)
    draft.replace(folder)
    _say(f'{candidate.name} lr {rate:g} seed {seed}: mAP {100 * value:.2f} on val, {taken:.0f} s')
    return folder


def tested_once(comparison: Comparison, candidate: Candidate, run: Path) -> Predictions:
    """What a finished run says of the test split."""
    settings = dict(test=comparison.data['test'].identity)
    if not done(run, 'test.json', settings):
        size = comparison.budget.batch_size
        found = predict(candidate, read_head(run), comparison.data['test'], size, run / 'log')
        write_predictions(run / 'test.npz', found)
        write_record(run / 'test.json', settings=settings)
    return read_predictions(run / 'test.npz')


def cost_once(comparison: Comparison, candidate: Candidate, run: Path) -> Cost:
    """What a step of a candidate costs, from ``cost.json`` beside its runs; measured with a trained model."""
    file, size = run.parent / 'cost.json', comparison.budget.batch_size
    settings = dict(candidate=candidate.settings(), batch_size=size)
    if not done(file.parent, file.name, settings):
        train = comparison.data['train']
        model = build_model(candidate, train, read_head(run))
        batch = train.dataset.__getitems__(range(min(size, len(train.dataset))))
        write_record(file, settings=settings, cost=measure_cost(model, batch)._asdict())
    return read_cost(file)


def run_settings(comparison: Comparison, candidate: Candidate, rate: float, seed: int) -> dict:
    """Everything that decides what comes of a run; the test split has no part in it."""
    data = {split: comparison.data[split].identity for split in ('train', 'val')}
    return dict(
        candidate=candidate.settings(), lr=rate, seed=seed, budget=asdict(comparison.budget), data=data
    )


def done(folder: Path, name: str, settings: Mapping) -> bool:
    """Whether a folder holds the outcome of these settings.

    Raises:
        UserError: If it holds that of others.
    """
    file = folder / name
    if not file.exists():
        return False
    there, settings = json.loads(file.read_text())['settings'], json.loads(to_json(settings))
    differing = [key for key in settings if settings[key] != there.get(key)]
    if differing:
        raise UserError(
            f'{folder} was run with another {", ".join(differing)}, and nothing is overwritten: choose another '
            '--out-dir'
        )
    return True


def write_record(file: Path, **record: Any) -> None:
    """Write what a run was and what came of it; with its ``settings`` :func:`done` knows it again."""
    with whole_file(file) as draft:
        draft.write_text(to_json(record, indent=2) + '\n')


def read_cost(file: Path) -> Cost:
    """The cost in a record."""
    return Cost(**json.loads(file.read_text())['cost'])


def read_head(run: Path) -> dict:
    """The weights of neck and head that a run left."""
    return torch.load(run / 'weights.pth', map_location='cpu', weights_only=True)['state_dict']


def write_predictions(file: Path, found: Predictions) -> None:
    """Write what :func:`read_predictions` reads."""
    with whole_file(file) as draft:
        np.savez(draft, scores=found.scores, own=found.own, pointing=np.array(to_json(found.pointing)))


def read_predictions(file: Path) -> Predictions:
    """What :func:`write_predictions` wrote."""
    with np.load(file) as stored:
        return Predictions(stored['scores'], stored['own'], json.loads(str(stored['pointing'])))


def mean_average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """MAP over the classes with a positive."""
    return mean_defined(average_precision(scores, targets))


def _val_map(run: Path) -> float:
    return json.loads((run / 'run.json').read_text())['val_mAP']


def _say(line: str) -> None:
    print(line, flush=True)
