"""Checkpoints that no kill can lose."""

import os
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, get_file_backend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmlattn.engine.reproducibility.accumulation import average_gradients
from mmlattn.registry import HOOKS
from mmlattn.utils.checkpoint.digests import add_digests

from .share_buffers import share_buffers

INTERRUPTED = 'interrupted.pth'


@register_backend('mmlattn_whole')
class WholeFileBackend(LocalBackend):
    """mmengine's local disk, on which a file is there whole or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write beside, flush to disk, then rename."""
        path = Path(filepath)
        beside = path.with_name(f'.{path.name}.{os.getpid()}.part')
        try:
            super().put(obj, beside)
            with beside.open('rb') as file:
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        # The name, too, has to reach the disk.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's hook, but a new checkpoint is whole on the disk before an older one is removed.

    mmengine removes first and then writes in place: a run with ``max_keep_ckpts=1`` that is killed in between has
    nothing left. The best checkpoint is treated alike. ``tools/train.py`` takes this hook for mmengine's. Other
    storage than the local disk keeps its own way of writing.

    Args:
        **kwargs: As for mmengine's ``CheckpointHook``.
    """

    def before_train(self, runner: Runner) -> None:
        """As mmengine's; then local files are written whole."""
        self._forget_foreign_files(runner)
        super().before_train(runner)
        if type(self.file_backend) is LocalBackend and self.file_client_args is None:
            self.backend_args = dict(backend='mmlattn_whole')
            self.file_backend = get_file_backend(self.out_dir, backend_args=self.backend_args)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note down what is saved. Of what a hook changes later, one of priority ``'LOWEST'``, this is not true."""
        add_digests(checkpoint)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        _agree(runner)
        with _RemovesLast(self):
            super()._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        _agree(runner)
        with _RemovesLast(self):
            super()._save_best_checkpoint(runner, metrics)

    def save_interrupted(self, runner: Runner, steps: int) -> str:
        """Save ``interrupted.pth``, wherever in the training the run is, over the one of an earlier interruption.

        Args:
            runner (Runner): The runner.
            steps (int): Iterations that are done.

        Returns:
            str: Path of the file.
        """
        _agree(runner)
        path = self.file_backend.join_path(self.out_dir, INTERRUPTED)
        runner.save_checkpoint(
            self.out_dir,
            INTERRUPTED,
            self.file_client_args,
            meta=dict(epoch=runner.epoch, iter=steps),
            by_epoch=False,
            backend_args=self.backend_args,
        )
        if is_main_process():
            Path(runner.work_dir, 'last_checkpoint').write_text(path)
        return path

    def _forget_foreign_files(self, runner: Runner) -> None:
        """Drop what a resumed checkpoint names for removal and is no best checkpoint in this run's own folder."""
        hub, folder = runner.message_hub, Path(self.out_dir or runner.work_dir).resolve()
        for name, value in list(hub.runtime_info.items()):
            if name.startswith('best_ckpt') and not _is_best_of(value, folder):
                hub.pop_info(name)
        if 'keep_ckpt_ids' in hub.runtime_info:
            steps = hub.get_info('keep_ckpt_ids')
            hub.update_info('keep_ckpt_ids', [step for step in steps if type(step) is int])

    def _paths_in_use(self) -> set[str]:
        """The checkpoints that the run names as its last and its best."""
        best = getattr(self, 'best_ckpt_path_dict', {}).values()
        return {str(path) for path in (self.last_ckpt, getattr(self, 'best_ckpt_path', None), *best) if path}


def _agree(runner: Runner) -> None:
    """Let all processes go on with what a resume would give them, which is what the first one saves."""
    share_buffers(runner.model)
    average_gradients(runner)


def _is_best_of(path: object, folder: Path) -> bool:
    """Whether a hook that saves into this folder would give this name to the best checkpoint."""
    return (
        isinstance(path, str)
        and Path(path).resolve().parent == folder
        and Path(path).name.startswith('best_')
    )


class _RemovesLast:
    """Stands in for a hook's storage and keeps what is to be removed until everything is written."""

    def __init__(self, hook: SafeCheckpointHook) -> None:
        self._hook = hook

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._removals.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self._removals.append((self._backend.rmtree, path))

    def __enter__(self) -> None:
        self._backend, self._removals = self._hook.file_backend, []
        self._hook.file_backend = self

    def __exit__(self, kind, *error) -> None:
        self._hook.file_backend = self._backend
        if kind is None:
            in_use = self._hook._paths_in_use()
            for remove, path in self._removals:
                if str(path) not in in_use:
                    remove(path)
