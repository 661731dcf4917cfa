"""RA-CNN's phases over a training, through interruptions. Their order is in ``racnn_schedule.py``."""

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop
from torch import Tensor

from mmlattn.registry import HOOKS
from mmlattn.utils.arguments import check_number
from mmlattn.utils.errors import UserError
from mmlattn.utils.weights import without_wrapper

from .racnn_schedule import PhaseEnd, PhaseSchedule
from .share_buffers import share_buffers

UNITS = {True: 'epochs', False: 'iterations'}
PHASES = ('cls', 'pretrain_apn', 'apn')


@HOOKS.register_module()
class RACNNPhaseHook(Hook):
    """Trains ``RACNN`` in phases: networks and attention proposals in turn, as ``PhaseSchedule`` says.

    At the end of a stage the model gets its next phase (``model.set_phase``). When the schedule is complete, the
    training ends with a validation and a checkpoint. Where the stop rule may shorten stages, a learning rate that
    falls by the calendar falls late: keep it constant, or set ``tolerance=None``.

    The stop rule looks at the average over all processes of ``loss``, the sum that the phase trains. Checkpoints hold
    it with the state of the schedule under ``racnn_phase``, so a run resumed in any phase goes on as if it had never
    stopped. The log shows ``phase`` beside the losses (0 cls, 1 pretrain_apn, 2 apn) and a line for each switch.

    Args:
        by_epoch (bool): Whether lengths and ``patience`` count epochs, rather than iterations. As the training loop.
        beta (float): Weight of the past in the average of the loss, in [0, 1).
        **schedule: As for ``PhaseSchedule`` in ``racnn_schedule.py``. The variable ``phases`` of a config, a dict,
            has the last word, so that a command line reaches them by name: ``--cfg-options phases.apn=0``.

    Raises:
        UserError: For a wrong argument; in training if model, loop or optimizer wrapper cannot train in these phases;
            on resume from a checkpoint of another schedule, or of none.
    """

    # What is logged and saved after a step must know whether a stage ended with it.
    priority = 'HIGH'

    def __init__(self, by_epoch: bool = True, beta: float = 0.98, **schedule) -> None:
        check_number('beta', beta, least=0)
        if beta >= 1:
            raise UserError(f'beta must lie in [0, 1), got {beta!r}')
        if not isinstance(by_epoch, bool):
            raise UserError(f'by_epoch must be True or False, got {by_epoch!r}')
        self.by_epoch, self.unit = by_epoch, UNITS[by_epoch]
        self._arguments, self.schedule = schedule, PhaseSchedule(**schedule)
        self._loss = RunningLoss(beta)
        self._restored = False

    def before_run(self, runner) -> None:
        """Take ``phases`` from the config, unless a checkpoint was loaded before, as ``FlexibleRunner`` does."""
        if self._restored:
            return
        phases = runner.cfg.get('phases', {})
        try:
            self.schedule = PhaseSchedule(**{**self._arguments, **phases})
        except TypeError as error:
            raise UserError(f'phases of the config must be arguments of the schedule: {error}') from error

    def before_train(self, runner) -> None:
        """Begin, or go on where a resumed run stopped. The model has been wrapped for several processes by now."""
        self._check_model(runner.model)
        self._check_loop(runner.train_loop)
        self._check_accumulation(runner)
        if self.schedule.stage is None:
            runner.logger.info('The RA-CNN schedule was complete already: nothing is left to train.')
            runner.train_loop.stop_training = True
            return
        runner.logger.info(
            f'RA-CNN schedule in {self.unit}: {self.schedule}. Now {self.schedule.stage}, '
            f'{self.schedule.units} done.'
        )
        self._warn_of_short_loop(runner)
        self._begin_stage(runner)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Take in the loss, and count the iteration."""
        self._loss.update(outputs['loss'])
        runner.message_hub.update_scalar('train/phase', PHASES.index(self.schedule.stage.phase))
        if not self.by_epoch:
            self._advance(runner, runner.iter + 1)

    def after_train_epoch(self, runner) -> None:
        """Count the epoch."""
        if self.by_epoch:
            self._advance(runner, runner.epoch + 1)

    def _advance(self, runner, done: int) -> None:
        end = self.schedule.advance(self._loss.mean)
        if end is None:
            return
        self._loss.restore(0.0, 0)
        following = self.schedule.stage
        runner.logger.info(
            f'{self.unit.capitalize()[:-1]} {done}: {_describe(end, self.unit)}; '
            + (f'next is {following}.' if following else 'the RA-CNN schedule is complete, training ends.')
        )
        if following:
            self._begin_stage(runner)
            return
        # Stopping alone would skip the last validation and checkpoint.
        runner.train_loop.stop_training = True
        setattr(runner.train_loop, '_max_epochs' if self.by_epoch else '_max_iters', done)

    def _begin_stage(self, runner) -> None:
        without_wrapper(runner.model).set_phase(self.schedule.stage.phase)
        # Resting networks work with their running statistics, of which checkpoints hold the first process's only.
        share_buffers(runner.model)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Store where the training stands."""
        checkpoint['racnn_phase'] = dict(
            unit=self.unit, **self.schedule.state_dict(), ema=self._loss.total, steps=self._loss.steps
        )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take it up again, on resume only."""
        if not runner._resume:
            return
        self.before_run(runner)
        state = checkpoint.get('racnn_phase')
        try:
            if state is None:
                raise UserError('it was not trained with RACNNPhaseHook, so its phase is not known')
            if state['unit'] != self.unit:
                raise UserError(f'its state counts {state["unit"]}, but the hook counts {self.unit}')
            self.schedule.load_state_dict(state)
        except UserError as error:
            raise UserError(
                f'the checkpoint cannot be resumed under this RACNNPhaseHook: {error}. Resume with the lengths it '
                'was trained with. To begin the schedule anew from these weights, set load_from to this checkpoint '
                'and resume=False (leave out --resume)'
            ) from error
        self._loss.restore(state['ema'], state['steps'])
        self._restored = True

    def _check_model(self, model) -> None:
        inner = without_wrapper(model)
        if not hasattr(inner, 'set_phase'):
            raise UserError(
                f'RACNNPhaseHook trains mmlattn.RACNN, but the model is {type(inner).__name__}: set '
                "model.type='mmlattn.RACNN' or remove the hook from custom_hooks"
            )
        if any(stage.phase != 'cls' for stage in self.schedule.stages) and not inner.localizers_learn():
            raise UserError(
                'the schedule has phases for attention proposal networks, but the localizers of the model have no '
                'parameters: set pretrain_apn=0 and apn=0 in phases of the config, or '
                "model.localizer=dict(type='mmlattn.APN', ...)"
            )
        if is_model_wrapper(model) and not getattr(model, 'find_unused_parameters', True):
            raise UserError(
                'in every phase a part of RACNN rests, which several processes can train only with '
                'find_unused_parameters=True: set it in the config'
            )

    def _check_loop(self, loop) -> None:
        loop_by_epoch = not isinstance(loop, IterBasedTrainLoop)
        if self.by_epoch != loop_by_epoch:
            unit = UNITS[loop_by_epoch]
            raise UserError(
                f'RACNNPhaseHook counts {self.unit}, but {type(loop).__name__} trains by {unit}: set '
                f'by_epoch={loop_by_epoch} in the hook, with lengths in {unit}, or change train_cfg'
            )

    def _check_accumulation(self, runner) -> None:
        """Refuse switches while gradients are being gathered: they would be lost, and DDP, which remembers that what
        rests by then took part in this window, would find no gradient there and fail.
        """
        window = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if self.by_epoch:
            counts = {'an epoch': len(runner.train_dataloader)}
            remedy = 'train_dataloader.num_batch_per_epoch to a multiple'
        else:
            counts = {str(stage): stage.length for stage in self.schedule.stages}
            if self.schedule.tolerance is not None:
                counts['patience'] = self.schedule.patience
            remedy = 'the lengths of RACNNPhaseHook, and patience, to multiples'
        for name, count in counts.items():
            if count % window:
                raise UserError(
                    f'the {count} iterations of {name} are no multiple of optim_wrapper.accumulative_counts='
                    f'{window}, so a phase could end before its last gradients are used: set {remedy}, or '
                    'accumulative_counts=1'
                )

    def _warn_of_short_loop(self, runner) -> None:
        begin, limit = (runner.epoch, 'max_epochs') if self.by_epoch else (runner.iter, 'max_iters')
        last, lost = getattr(runner, limit), []
        for stage, units in self.schedule.remaining():
            if begin + units > last:
                lost.append(f'{stage} is {"cut short" if begin < last else "not reached"}')
            begin += units
        if lost:
            runner.logger.warning(
                f'Training ends after {last} {self.unit}, but the RA-CNN schedule may take {begin}: '
                f'{", ".join(lost)}, unless the stop rule ends other stages early. To make room set '
                f'train_cfg.{limit}={begin}.'
            )


class RunningLoss:
    """Exponential moving average of a loss over all processes, with bias correction (Adam, Kingma & Ba 2015).

    It stays where the loss is, so that no step waits for it. ``beta`` is the weight of the past.
    """

    def __init__(self, beta: float) -> None:
        self.beta = beta
        self.restore(0.0, 0)

    @property
    def total(self) -> float:
        """The average before bias correction."""
        return float(self._total)

    def restore(self, total: float, steps: int) -> None:
        """Go on from a stored average of ``steps`` losses."""
        self._total, self.steps = torch.tensor(total, dtype=torch.float32), steps

    def update(self, loss: Tensor) -> None:
        """Take in the loss of a step, a scalar, which may differ between processes."""
        # Here rather than when saving, which mmengine does in one process only.
        common = loss.detach().float().clone()
        all_reduce(common, 'mean')
        self._total = self._total.to(common.device).lerp(common, 1 - self.beta)
        self.steps += 1

    def mean(self) -> float:
        """The average; NaN before the first step."""
        return self.total / (1 - self.beta**self.steps) if self.steps else float('nan')


def _describe(end: PhaseEnd, unit: str) -> str:
    """What ended, why, and at which loss."""
    text = (
        f'{end.stage} ends after {end.units} {unit}, {"loss settled" if end.settled else "length reached"}, '
        f'at a loss of {end.loss:.4g}'
    )
    # NaN where there is no cycle before.
    if end.loss_before == end.loss_before:
        text += f' ({end.loss_before:.4g} a cycle before)'
    return text + ('; both losses settled, so no further cycles' if end.cycles_settled else '')
