"""The schedule against courses worked out by hand."""

import io
import itertools
import math

import pytest
import torch

from mmlattn.engine.hooks.racnn_schedule import PhaseSchedule
from mmlattn.utils.checkpoint.loading import load_weights_only

SHORT = dict(warmup=3, pretrain_apn=1, cls=2, apn=1, final=2, max_cycles=2)


def follow(schedule, losses=(1.0,) * 100):
    """Advance to the end; the stage of every unit as (name, phase), and what ended."""
    course, ends = [], []
    for loss in losses:
        course.append((schedule.stage.name, schedule.stage.phase))
        end = schedule.advance(lambda loss=loss: loss)
        ends += [end] if end else []
        if schedule.stage is None:
            return course, ends
    raise AssertionError('the losses ended before the schedule')


def runs(course):
    """Consecutive units of a stage, counted."""
    return [(*stage, len(list(units))) for stage, units in itertools.groupby(course)]


def test_fixed_lengths_of_the_default_schedule():
    cycles = [(f'cycle {c}', phase, units) for c in (1, 2, 3) for phase, units in (('cls', 10), ('apn', 2))]
    course, ends = follow(PhaseSchedule(tolerance=None))
    assert runs(course) == [
        ('warm-up', 'cls', 20), ('pre-training', 'pretrain_apn', 5), *cycles, ('final', 'cls', 20)
    ]  # fmt: skip
    assert not any(end.settled or end.cycles_settled for end in ends)


@pytest.mark.parametrize(
    ('lengths', 'expected'),
    [
        (dict(warmup=0, pretrain_apn=0), [('cycle 1', 'cls', 2), ('cycle 1', 'apn', 1), ('final', 'cls', 2)]),
        (dict(pretrain_apn=0, cls=0), [('warm-up', 'cls', 3), ('cycle 1', 'apn', 1), ('final', 'cls', 2)]),
        (dict(pretrain_apn=0, apn=0, final=0), [('warm-up', 'cls', 3), ('cycle 1', 'cls', 2)]),
        (dict(warmup=0, pretrain_apn=0, max_cycles=0), [('final', 'cls', 2)]),
    ],
)  # fmt: skip
def test_length_nought_leaves_a_stage_out(lengths, expected):
    course, _ = follow(PhaseSchedule(**SHORT | dict(max_cycles=1, tolerance=None) | lengths))
    assert runs(course) == expected


# Losses of a warm-up of at most 10 units, and after how many it ends. The first look only sets the mark.
SETTLING = {
    'improves by less than 1 %': (0.01, 1, [1.0, 0.5, 0.496], 3, True),
    'improves by more': (0.01, 1, [1.0, 0.98, 0.96, 0.94, 0.92, 0.9, 0.88, 0.86, 0.84, 0.82], 10, False),
    'gets worse': (0.01, 1, [1.0, 1.5], 2, True),
    'is nought': (0.01, 1, [0.0, 0.0], 2, True),
    'below nought': (0.01, 1, [-1.0, -1.1, -1.105], 3, True),
    'settles with the last unit': (0.01, 1, [10 - u for u in range(9)] + [2.0], 10, False),
    'every third unit': (0.01, 3, [9, 9, 2.0, 2, 2, 1.0, 1, 1, 0.999], 9, True),
    'not a number': (0.01, 1, [math.nan] * 10, 10, False),
    'infinite once': (0.01, 1, [1.0, math.inf, 0.5, 0.2, 0.2], 5, True),
    'any improvement will do': (0, 1, [1.0, 0.9999, 0.9999], 3, True),
    'fixed': (None, 1, [1.0] * 10, 10, False),
}


@pytest.mark.parametrize(
    ('tolerance', 'patience', 'losses', 'units', 'settled'), SETTLING.values(), ids=SETTLING
)
def test_stop_rule_of_a_stage(tolerance, patience, losses, units, settled):
    schedule = PhaseSchedule(10, 0, 0, 0, 5, tolerance=tolerance, patience=patience)
    course, ends = follow(schedule, [*losses[:units], *[1.0] * 5])
    # The final stage takes its whole length, though its loss does not move.
    assert runs(course) == [('warm-up', 'cls', units), ('final', 'cls', 5)]
    assert [(end.units, end.settled) for end in ends] == [(units, settled), (5, False)]


def test_a_stage_is_not_compared_with_the_one_before():
    """Its first look only sets the mark, be the loss that of the last look before: two units at the earliest."""
    losses = [1.0, 0.5, 1.0, 0.5, 0.25, 0.125, 0.5, 0.5, 1.0]
    course, ends = follow(PhaseSchedule(2, 0, 4, 3, 1, max_cycles=1), losses)
    assert runs(course) == [
        ('warm-up', 'cls', 2), ('cycle 1', 'cls', 4), ('cycle 1', 'apn', 2), ('final', 'cls', 1)
    ]  # fmt: skip
    assert [end.settled for end in ends] == [False, False, True, False]


# Losses at the ends of (cls, apn) of four cycles at most, and in which the cycles end.
CYCLES = {
    'both settle': ([(1, 0.2), (0.5, 0.1), (0.498, 0.1)], 3),
    'only one': ([(1, 0.2), (0.5, 0.1), (0.498, 0.08), (0.497, 0.06)], 4),
    'both rise by little': ([(1, 0.2), (1.005, 0.201)], 2),
    'both rise': ([(1, 0.2), (1.1, 0.3), (1.2, 0.4), (1.3, 0.5)], 4),
    'without any hinge left': ([(1, 0.0), (1.0, 0.0)], 2),
    'never a number': ([(math.nan, 0.1)] * 4, 4),
}


@pytest.mark.parametrize(('losses', 'cycles'), CYCLES.values(), ids=CYCLES)
def test_cycles_end_when_both_losses_settle(losses, cycles):
    schedule = PhaseSchedule(1, 0, 1, 1, 1, max_cycles=4)
    _, ends = follow(schedule, [1.0, *itertools.chain(*losses), 1.0])
    assert [end.stage.name for end in ends[1:-1:2]] == [f'cycle {c + 1}' for c in range(cycles)]
    assert [end.cycles_settled for end in ends] == [False] * (2 * cycles) + [cycles < 4, False]
    for (cls_before, apn_before), cls, apn in zip(losses, ends[3::2], ends[4::2], strict=False):
        assert cls.loss_before == pytest.approx(cls_before, nan_ok=True)
        assert apn.loss_before == pytest.approx(apn_before, nan_ok=True)


def test_cycles_that_settle_leave_out_all_that_follow_but_the_final_stage():
    for final in (0, 2):
        course, _ = follow(PhaseSchedule(1, 0, 1, 1, final, max_cycles=4))
        names = ['warm-up', 'cycle 1', 'cycle 1', 'cycle 2', 'cycle 2', *['final'] * final]
        assert [name for name, _ in course] == names


def test_loss_is_asked_for_only_where_needed():
    asked = []
    schedule = PhaseSchedule(7, 0, 0, 0, 5, patience=3)
    for unit in range(1, 13):
        schedule.advance(lambda unit=unit: asked.append(unit) or 1 / unit)
    assert asked == [3, 6, 7, 12]


@pytest.mark.parametrize('tolerance', [None, 0.05])
@pytest.mark.parametrize('seed', range(3))
def test_a_stored_state_gives_the_rest_of_the_course(tolerance, seed):
    """At every point, through a file that is read as weights only."""
    options = dict(warmup=4, pretrain_apn=3, cls=5, apn=4, final=2, max_cycles=4, tolerance=tolerance)
    torch.manual_seed(seed)
    losses = (1 + 0.06 * torch.rand(60)).tolist()
    expected = follow(PhaseSchedule(**options), losses)
    schedule = PhaseSchedule(**options)
    for unit in range(len(expected[0])):
        file = io.BytesIO()
        torch.save(schedule.state_dict(), file)
        file.seek(0)
        resumed = PhaseSchedule(**options)
        resumed.load_state_dict(load_weights_only(file))
        assert resumed.remaining() == schedule.remaining()
        course, ends = follow(resumed, losses[unit:])
        assert course == expected[0][unit:]
        assert str(ends) == str(expected[1][len(expected[1]) - len(ends) :])  # NaN equals itself in print
        schedule.advance(lambda unit=unit: losses[unit])
    assert schedule.stage is None and schedule.remaining() == []


def test_remaining_counts_down():
    schedule = PhaseSchedule(**SHORT, tolerance=None)
    assert [units for _, units in schedule.remaining()] == [3, 1, 2, 1, 2, 1, 2]
    for _ in range(5):
        schedule.advance(lambda: 1.0)
    assert [(str(stage), units) for stage, units in schedule.remaining()] == [
        ('cycle 1 (cls)', 1), ('cycle 1 (apn)', 1), ('cycle 2 (cls)', 2), ('cycle 2 (apn)', 1), ('final (cls)', 2)
    ]  # fmt: skip
    assert schedule.state_dict() | dict(reference=0) == schedule.state_dict() | dict(
        stage='cycle 1 (cls)', cycle=1, units=1, reference=0
    )


def test_a_state_of_other_lengths_is_refused():
    state = PhaseSchedule(**SHORT).state_dict()
    with pytest.raises(ValueError, match=r'cycle 1 \(apn\) 1, .* but this one is .* cycle 1 \(apn\) 2'):
        PhaseSchedule(**SHORT | dict(apn=2)).load_state_dict(state)


@pytest.mark.parametrize(
    'wrong',
    [dict(warmup=-1), dict(apn=1.5), dict(max_cycles=-1), dict(patience=0), dict(tolerance='1%'), dict(tolerance=1)],
)  # fmt: skip
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PhaseSchedule(**wrong)


def test_an_empty_schedule_is_refused_and_a_complete_one_does_not_advance():
    with pytest.raises(ValueError, match='needs a length above 0'):
        PhaseSchedule(0, 0, 3, 1, 0, max_cycles=0)
    schedule = PhaseSchedule(0, 0, 0, 0, 1)
    schedule.advance(lambda: 1.0)
    with pytest.raises(ValueError, match='complete'):
        schedule.advance(lambda: 1.0)
