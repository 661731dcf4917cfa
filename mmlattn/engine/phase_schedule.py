"""The order in which RA-CNN's networks and attention proposals learn, as a state machine without torch."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from mmlattn.utils.arguments import check_number, check_whole
from mmlattn.utils.errors import UserError

__all__ = ['PhaseEnd', 'PhaseSchedule', 'Stage']


class Stage(NamedTuple):
    """One stretch of training.

    Attributes:
        name: 'warm-up', 'pre-training', 'cycle 1' ... or 'final'.
        phase: What learns: 'cls', 'pretrain_apn' or 'apn'.
        length: Units it takes at most.
        cycle: Number of its cycle, from 1; 0 outside the cycles.
    """

    name: str
    phase: str
    length: int
    cycle: int = 0

    def __str__(self) -> str:
        return f'{self.name} ({self.phase})'


class PhaseEnd(NamedTuple):
    """A stage that just ended.

    Attributes:
        stage: Which one.
        units: How many units it took.
        settled: Whether it ended because its loss settled, rather than for its length.
        loss: Its loss at the end.
        loss_before: That of the same phase in the cycle before; NaN where there is none.
        cycles_settled: Whether the cycles end with it, before ``max_cycles``.
    """

    stage: Stage
    units: int
    settled: bool
    loss: float
    loss_before: float
    cycles_settled: bool


class PhaseSchedule:
    """Warm-up, pre-training of the attention proposals, alternation, and a final stage (RA-CNN, CVPR 2017).

    First the networks learn to classify ('cls'), then the attention proposal networks to find the highest response
    ('pretrain_apn'). Then networks ('cls') and proposals ('apn') alternate in cycles, until neither loss changes.
    At last the networks learn once more, with proposals at rest. Lengths are in units, which the caller defines as
    epochs or iterations; a length of 0 leaves the stage out.

    The order is the paper's, which alternates until neither loss changes any more. Lengths and thresholds of it are
    not public, so the default lengths and the stop rule are ours. Every ``patience`` units a stage compares its loss
    with what it was ``patience`` units before, and ends if that improved by less than ``tolerance`` of it, so after
    ``2 * patience`` units at the earliest. The cycles end once the loss at the end of each of their phases changed by
    less than ``tolerance`` of what it was a cycle before. The rule holds for all stages but the final one, which
    always takes its whole length. A loss that is not finite never counts as settled.

    Args:
        warmup (int): Units of the first 'cls'.
        pretrain_apn (int): Units of 'pretrain_apn'.
        cls (int): Units of 'cls' in each cycle, at most.
        apn (int): Units of 'apn' in each cycle, at most.
        final (int): Units of the last 'cls'.
        max_cycles (int): Cycles, at most.
        tolerance (float, optional): Of the stop rule; None takes all lengths whole.
        patience (int): Units between two looks at the loss.

    Raises:
        UserError: On a wrong argument, or if all lengths are 0.
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
        self.tolerance = tolerance
        self.patience = patience
        self._position = 0
        self._units = 0
        self._reference = math.nan
        self._losses = {
            f'{phase}_loss{when}': math.nan for phase in ('cls', 'apn') for when in ('', '_before')
        }

    def __str__(self) -> str:
        """The lengths, by which a stored state is known to fit."""
        return ', '.join(f'{stage} {stage.length}' for stage in self.stages)

    @property
    def stage(self) -> Stage | None:
        """The stage at hand; None when the schedule is complete."""
        return self.stages[self._position] if self._position < len(self.stages) else None

    @property
    def units(self) -> int:
        """Units done of the stage at hand."""
        return self._units

    def remaining(self) -> list[tuple[Stage, int]]:
        """The stages from here on with the units they still take at most."""
        stages = self.stages[self._position :]
        return [(stage, stage.length - (0 if index else self._units)) for index, stage in enumerate(stages)]

    def advance(self, loss: Callable[[], float]) -> PhaseEnd | None:
        """Count one unit of the stage at hand.

        Args:
            loss (Callable[[], float]): Gives the average loss of this stage; called only where it is needed.

        Returns:
            PhaseEnd, optional: If the stage ends with it; :attr:`stage` is the next one then.

        Raises:
            UserError: If the schedule is complete.
        """
        stage = self.stage
        if stage is None:
            raise UserError('the schedule is complete: there is nothing left to advance')
        self._units += 1
        full = self._units == stage.length
        looks = self._may_settle(stage) and self._units % self.patience == 0
        if not (full or looks):
            return None
        value = float(loss())
        settled = looks and not full and _improved_little(self._reference, value, self.tolerance)
        if full or settled:
            return self._end(stage, settled, value)
        self._reference = value
        return None

    def state_dict(self) -> dict[str, str | int | float]:
        """Everything that decides the rest of the course, and in words where it stands."""
        return dict(
            schedule=str(self),
            stage=str(self.stage or 'complete'),
            cycle=self.stage.cycle if self.stage else 0,
            position=self._position,
            units=self._units,
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
        self._position, self._units = state['position'], state['units']
        self._reference = state['reference']
        self._losses = {name: state[name] for name in self._losses}

    def _may_settle(self, stage: Stage) -> bool:
        return self.tolerance is not None and stage.name != 'final'

    def _end(self, stage: Stage, settled: bool, loss: float) -> PhaseEnd:
        before = math.nan
        if stage.cycle:
            before = self._losses[f'{stage.phase}_loss']
            self._losses |= {f'{stage.phase}_loss': loss, f'{stage.phase}_loss_before': before}
        following = self._position + 1
        rest = self.stages[following:]
        cycles_settled = (
            bool(stage.cycle and rest and rest[0].cycle == stage.cycle + 1) and self._cycle_changed_little()
        )
        if cycles_settled:
            following += sum(stage.cycle > 0 for stage in rest)
        end = PhaseEnd(stage, self._units, settled, loss, before, cycles_settled)
        self._position, self._units, self._reference = following, 0, math.nan
        return end

    def _cycle_changed_little(self) -> bool:
        phases = {stage.phase for stage in self.stages if stage.cycle}
        return self.tolerance is not None and all(
            _changed_little(self._losses[f'{p}_loss_before'], self._losses[f'{p}_loss'], self.tolerance)
            for p in phases
        )


def _improved_little(before: float, now: float, tolerance: float) -> bool:
    """Whether a loss fell by less than a share ``tolerance`` of itself, or not at all."""
    fallen = before - now
    return math.isfinite(fallen) and (fallen <= 0 or fallen < tolerance * abs(before))


def _changed_little(before: float, now: float, tolerance: float) -> bool:
    """Whether a loss fell or rose by less than a share ``tolerance`` of itself, or not at all."""
    change = abs(now - before)
    return math.isfinite(change) and (change == 0 or change < tolerance * abs(before))
