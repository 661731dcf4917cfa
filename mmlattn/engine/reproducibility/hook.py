"""The hook that hands out seed and epoch, and seeds each step."""

from mmengine.dist import broadcast_object_list, get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader, Sampler

from mmlattn.registry import HOOKS
from mmlattn.utils.errors import UserError

from .accumulation import gathered_gradients, restore_gradients
from .epoch_loop import ResumableEpochLoop
from .seeded_dataset import SeededDataset
from .seeding import STEP, seed_process
from .stream import StreamTrainLoop


@HOOKS.register_module()
class ReproducibilityHook(Hook):
    """Tie all randomness of training to the seed and the position in training.

    * The order of samples follows the run's seed, also one that a resume restored.
    * Augmentation: ``SeededDataset`` gets the seed, and the epoch at its start.
    * Dropout, mixup and the like: ``random``, ``numpy.random`` and torch are seeded with (seed, iteration, rank)
      before each step.
    """

    # Before any hook that may draw random numbers in the same step.
    priority = 'HIGHEST'

    def before_train(self, runner) -> None:
        """Hand the seed to sampler and data set. A resume has happened by now."""
        loader = runner.train_dataloader
        # With diff_rank_seed each process has its own; order and augmentation need the common one.
        seeds = [runner.seed]
        broadcast_object_list(seeds)
        self._seed = seeds[0]
        # Tools that only draw the schedule give a list in place of a loader.
        batches = getattr(loader, 'batch_sampler', None)
        sampler = getattr(batches, 'sampler', getattr(loader, 'sampler', None))
        if hasattr(sampler, 'seed') and _configured_seed(runner.cfg) is None:
            sampler.seed = self._seed
        self._dataset = _seeded_dataset(loader)
        if self._dataset is None:
            runner.logger.warning(
                'The training data is not wrapped in mmlattn.SeededDataset: augmentation will depend on the '
                'number of workers, and a resumed run will differ from an uninterrupted one. Train with '
                "mmlattn's tools/train.py, or write train_dataloader.dataset="
                "dict(type='mmlattn.SeededDataset', dataset=<your data set>)."
            )
        else:
            _check_sampler(runner, sampler)
            self._dataset.set_seed(self._seed)
        _warn_inside_epoch(runner)

    def before_train_epoch(self, runner) -> None:
        """Hand the epoch to the data set."""
        if self._dataset is not None:
            self._dataset.set_epoch(runner.epoch)

    def after_val_epoch(self, runner, metrics=None) -> None:
        """Note that this validation is done, before anyone saves its outcome."""
        loop = runner._train_loop
        if isinstance(loop, (ResumableEpochLoop, StreamTrainLoop)):
            loop.validated = _position(loop)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Store up to where the run has validated, and the gradients that wait for an update."""
        checkpoint['validated'] = getattr(runner.train_loop, 'validated', None)
        gradients = gathered_gradients(runner)
        if gradients:
            checkpoint['gathered_gradients'] = {name: value.cpu() for name, value in gradients.items()}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take these up again. Of a run that did not store it, the last validation is taken for done."""
        loop = runner._train_loop
        if not runner._resume:
            return
        restore_gradients(runner, checkpoint.get('gathered_gradients', {}))
        if isinstance(loop, (ResumableEpochLoop, StreamTrainLoop)):
            unit = 'iter' if isinstance(loop, StreamTrainLoop) else 'epoch'
            loop.validated = checkpoint.get('validated', checkpoint['meta'][unit])

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Seed this step."""
        seed_process(self._seed, STEP, runner.iter, get_rank())


def _position(loop) -> int:
    return loop.iter if isinstance(loop, StreamTrainLoop) else loop.epoch


def _configured_seed(cfg: dict) -> int | None:
    """The sampler's own seed, if the config gives one."""
    loader = cfg.get('train_dataloader')
    return loader.get('sampler', {}).get('seed') if isinstance(loader, dict) else None


def _seeded_dataset(loader: DataLoader) -> SeededDataset | None:
    dataset = loader.dataset
    if not isinstance(dataset, SeededDataset):
        # mmengine's slice, from num_batch_per_epoch
        dataset = getattr(dataset, '_dataset', None)
    return dataset if isinstance(dataset, SeededDataset) else None


def _check_sampler(runner, sampler: Sampler) -> None:
    name = type(sampler).__name__
    if isinstance(runner.train_loop, IterBasedTrainLoop) and not getattr(sampler, 'numbers_visits', False):
        raise UserError(
            f'iteration-based training with {name} would repeat the same augmentation at every visit of an '
            "image: set train_dataloader.sampler.type='mmlattn.StreamSampler'"
        )
    if name == 'RepeatAugSampler':
        raise UserError(
            'RepeatAugSampler shows an image several times per epoch, but SeededDataset gives all of them the '
            "same augmentation: set train_dataloader.sampler.type='DefaultSampler'"
        )


def _warn_inside_epoch(runner) -> None:
    steps = len(runner.train_dataloader)
    loop, done = runner.train_loop, runner.iter - runner.epoch * steps
    goes_on = isinstance(loop, ResumableEpochLoop) and loop.steps_done() == done
    if isinstance(loop, EpochBasedTrainLoop) and done and not goes_on:
        runner.logger.warning(
            f'Resumed at iteration {runner.iter}, which does not lie in epoch {runner.epoch + 1} of '
            f'{steps} iterations each, or not in a mmlattn.ResumableEpochLoop: the epoch starts again, so this run '
            'will differ from an uninterrupted one.'
        )
