"""Run trainings side by side behind a progress view; their full output goes to files."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from mmlattn.utils.errors import UserError

__all__ = ['Job', 'run_jobs']

# glibc hands large blocks back to the kernel after every step, and faulting them in again took two thirds of the
# time of a training step on a CPU (0.65 s instead of 2.0 s for MobileNetV2 on 32 pictures of 224 x 224).
KEEP_MEMORY = dict(
    MALLOC_MMAP_THRESHOLD_='4294967296', MALLOC_TRIM_THRESHOLD_='4294967296', MALLOC_TOP_PAD_='268435456'
)


@dataclass(frozen=True)
class Job:
    """A command to run.

    Args:
        name (str): Shown beside the bar.
        command (Sequence[str]): Program and arguments.
        log (Path): Where its output goes.
        scalars (Path, optional): Folder in which mmengine will write ``*/vis_data/scalars.json``.
        steps (int, optional): Iterations in all; None when the job tells no progress.
    """

    name: str
    command: Sequence[str]
    log: Path
    scalars: Path | None = None
    steps: int | None = None


def run_jobs(jobs: Sequence[Job], verb: str) -> None:
    """Run all jobs at once, sharing the processor cores evenly.

    Args:
        jobs (Sequence[Job]): At least one.
        verb (str): What they do, shown before their names.

    Raises:
        UserError: If one fails, with the end of its log. The others are stopped.
    """
    threads = str(max(1, (os.cpu_count() or 1) // len(jobs)))
    environment = {**KEEP_MEMORY, **os.environ, 'OMP_NUM_THREADS': threads, 'MKL_NUM_THREADS': threads}
    processes = []
    columns = TextColumn('{task.description}'), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    try:
        for job in jobs:
            processes.append(_start(job, environment))
        with Progress(*columns, TextColumn('{task.fields[note]}')) as view:
            bars = [view.add_task(f'{verb} {job.name}', total=job.steps, note='') for job in jobs]
            while any(process.poll() is None for process in processes):
                for job, bar, process in zip(jobs, bars, processes, strict=True):
                    _show_progress(view, bar, job)
                    if process.poll():
                        raise UserError(_failure(job))
                time.sleep(0.5)
            for job, bar, process in zip(jobs, bars, processes, strict=True):
                if process.returncode:
                    raise UserError(_failure(job))
                view.update(bar, total=job.steps or 1, completed=job.steps or 1)
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)  # mim and the training it started
            process.wait()


def read_scalars(folder: Path) -> dict | None:
    """Latest training entry of the newest ``*/vis_data/scalars.json`` in a work dir, if any yet."""
    files = sorted(folder.glob('*/vis_data/scalars.json'))
    for line in reversed(files[-1].read_text().splitlines() if files else []):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # the line being written
            continue
        if 'loss' in entry:
            return entry
    return None


def _start(job: Job, environment: dict[str, str]) -> subprocess.Popen:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open('w') as log:
        return subprocess.Popen(
            job.command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )


def _show_progress(view: Progress, bar: int, job: Job) -> None:
    entry = read_scalars(job.scalars) if job.scalars else None
    if entry:
        view.update(
            bar, completed=entry['step'], note=f'epoch {entry["epoch"]}, loss {_number(entry["loss"])}'
        )


def _number(value: float | None) -> str:
    # Json has null for what is not finite.
    return 'not finite' if value is None else f'{value:.3f}'


def _failure(job: Job) -> str:
    tail = '\n'.join(job.log.read_text(errors='replace').splitlines()[-25:])
    return f'{job.name} failed. The end of {job.log}:\n{tail}'
