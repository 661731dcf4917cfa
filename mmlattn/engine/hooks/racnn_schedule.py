"""The order in which RA-CNN's networks and attention proposals learn: change this file for another one.

First the networks learn to classify ('cls'), then the attention proposal networks to find the highest response
('pretrain_apn'). Then networks ('cls') and proposals ('apn') alternate in cycles, until neither loss changes. At last
the networks learn once more, with proposals at rest. The order is the paper's (Fu, Zheng and Mei, CVPR 2017); its
lengths and thresholds are not public, so the default lengths and the stop rule are ours.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from mmlattn.utils.arguments import check_number, check_whole
from mmlattn.utils.errors import UserError


class Stage(NamedTuple):
    """One stretch of training, in which ``phase`` of ``RACNN`` learns for at most ``length`` units.

    ``cycle`` counts from 1; it is 0 outside the cycles.
    """

    name: str
    phase: str
    length: int
    cycle: int = 0

    def __str__(self) -> str:
        return f'{self.name} ({self.phase})'


class PhaseEnd(NamedTuple):
    """A stage that just ended, after ``units``: because its loss ``settled``, or by its length.

    ``loss_before`` is the loss of the same phase in the cycle before, NaN if there is none. ``cycles_settled`` says
    whether the cycles end with it, before ``max_cycles``.
    """

    stage: Stage
    units: int
    settled: bool
    loss: float
    loss_before: float
    cycles_settled: bool


class PhaseSchedule:
    """Which stage of the training it is, and when it ends, counted in epochs or iterations: units.

    The stop rule: every ``patience`` units a stage compares its loss with what it was ``patience`` units before, and
    ends if that improved by less than ``tolerance`` of it, so after ``2 * patience`` units at the earliest. Cycles
    end once the loss at the end of each of their phases changed by less than ``tolerance`` of what it was a cycle
    before. The final stage always takes its whole length. A loss that is not finite never counts as settled.

    Args:
        warmup (int): Units of the first 'cls'. A length of 0 leaves a stage out.
        pretrain_apn (int): Units of 'pretrain_apn'.
        cls (int): Units of 'cls' in each cycle, at most.
        apn (int): Units of 'apn' in each cycle, at most.
        final (int): Units of the last 'cls'.
        max_cycles (int): Cycles, at most.
        tolerance (float, optional): Of the stop rule; None takes all lengths whole.
        patience (int): Units between two looks at the loss.

    Raises:
        UserError: For a wrong argument, or if all lengths are 0.
    """

    def __init__(
        self,
        warmup: int = 20,
        pretrain_apn: int = 5,
        cls: int = 10,
        apn: int = 2,
        final: int = 20,
        max_cycles: int = 3,
        tolerance: float | None = 0.01,
        patience: int = 1,
    ) -> None:
        lengths = dict(warmup=warmup, pretrain_apn=pretrain_apn, cls=cls, apn=apn, final=final)
        for name, value in (lengths | dict(max_cycles=max_cycles)).items():
            check_whole(name, value, 0)
        check_whole('patience', patience, 1)
        if tolerance is not None:
            check_number('tolerance', tolerance, least=0)
            if tolerance >= 1:
                raise UserError(
                    f'tolerance is a share of the loss in [0, 1), such as 0.01, got {tolerance!r}'
                )
        stages = [Stage('warm-up', 'cls', warmup), Stage('pre-training', 'pretrain_apn', pretrain_apn)]
        for cycle in range(1, max_cycles + 1):
            stages += [Stage(f'cycle {cycle}', 'cls', cls, cycle), Stage(f'cycle {cycle}', 'apn', apn, cycle)]
        stages.append(Stage('final', 'cls', final))
        self.stages = tuple(stage for stage in stages if stage.length)
        if not self.stages:
            raise UserError(f'a schedule needs a length above 0, got {lengths} with max_cycles={max_cycles}')
        self.tolerance, self.patience = tolerance, patience
        self._position, self.units, self._reference = 0, 0, math.nan
        # At the ends of this cycle's phases and of those of the cycle before.
        self._losses = dict.fromkeys(('cls_loss', 'cls_loss_before', 'apn_loss', 'apn_loss_before'), math.nan)

    def __str__(self) -> str:
        """The lengths, by which a stored state is known to fit."""
        return ', '.join(f'{stage} {stage.length}' for stage in self.stages)

    @property
    def stage(self) -> Stage | None:
        """The stage at hand, of which ``units`` are done; None when the schedule is complete."""
        return self.stages[self._position] if self._position < len(self.stages) else None

    def remaining(self) -> list[tuple[Stage, int]]:
        """The stages from here on with the units they still take at most."""
        rest = self.stages[self._position :]
        return [(stage, stage.length - (self.units if stage is rest[0] else 0)) for stage in rest]

    def advance(self, loss: Callable[[], float]) -> PhaseEnd | None:
        """Count one unit of the stage at hand; if it ends with that, :attr:`stage` is the next one.

        Args:
            loss (Callable[[], float]): Gives the average loss of this stage; called only where it is needed.

        Raises:
            UserError: If the schedule is complete.
        """
        stage = self.stage
        if stage is None:
            raise UserError('the schedule is complete: there is nothing left to advance')
        self.units += 1
        full = self.units == stage.length
        looks = self.tolerance is not None and stage.name != 'final' and self.units % self.patience == 0
        if not (full or looks):
            return None
        now = float(loss())
        settled = looks and not full and self._is_little(self._reference - now, self._reference)
        if full or settled:
            return self._end(stage, settled, now)
        self._reference = now
        return None

    def _end(self, stage: Stage, settled: bool, loss: float) -> PhaseEnd:
        before, cycles_settled = math.nan, False
        rest = self.stages[self._position + 1 :]
        if stage.cycle:
            before = self._losses[f'{stage.phase}_loss']
            self._losses |= {f'{stage.phase}_loss': loss, f'{stage.phase}_loss_before': before}
            cycles_settled = bool(rest) and rest[0].cycle == stage.cycle + 1 and self._cycle_changed_little()
        end = PhaseEnd(stage, self.units, settled, loss, before, cycles_settled)
        skipped = sum(stage.cycle > 0 for stage in rest) if cycles_settled else 0
        self._position, self.units, self._reference = self._position + 1 + skipped, 0, math.nan
        return end

    def _cycle_changed_little(self) -> bool:
        for phase in {stage.phase for stage in self.stages if stage.cycle}:
            before, now = self._losses[f'{phase}_loss_before'], self._losses[f'{phase}_loss']
            if not self._is_little(abs(now - before), before):
                return False
        return True

    def _is_little(self, change: float, loss: float) -> bool:
        """Whether a loss changed by less than ``tolerance`` of itself, or not at all."""
        if self.tolerance is None or not math.isfinite(change):
            return False
        return change <= 0 or change < self.tolerance * abs(loss)

    def state_dict(self) -> dict[str, str | int | float]:
        """Everything that decides the rest of the course, and in words where it stands."""
        return dict(
            schedule=str(self),
            stage=str(self.stage or 'complete'),
            cycle=self.stage.cycle if self.stage else 0,
            position=self._position,
            units=self.units,
            reference=self._reference,
            **self._losses,
        )

    def load_state_dict(self, state: Mapping[str, str | int | float]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            UserError: If that was of other lengths.
        """
        if state['schedule'] != str(self):
            raise UserError(f'the state is of the schedule {state["schedule"]}, but this one is {self}')
        self._position, self.units, self._reference = (state[k] for k in ('position', 'units', 'reference'))
        self._losses = {name: state[name] for name in self._losses}
