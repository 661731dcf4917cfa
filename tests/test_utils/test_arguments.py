"""The limits of arguments: what just passes, what just does not, and what is no number at all."""

import math

import numpy as np
import pytest

from mmlattn.utils.arguments import (
    check_choice,
    check_number,
    check_whole,
    complete_options,
    refuse_existing,
    whole_numbers,
)
from mmlattn.utils.errors import UserError

NO_NUMBERS = ('1', None, [1], 1j)


def passes(check, *args, **kwargs):
    try:
        check('x', *args, **kwargs)
    except UserError as error:
        assert str(error).startswith('x ') and '\n' not in str(error)
        return False
    return True


def test_whole_numbers_from_the_least_on():
    allowed = [
        value for value in (-1, 0, 1, 2, 2.0, True, np.int64(1), *NO_NUMBERS) if passes(check_whole, value, 1)
    ]
    assert allowed == [1, 2, 1]


@pytest.mark.parametrize(
    ('limits', 'expected'),
    [({}, [-1, 0, 0.5, 1, 2]), (dict(least=0), [0, 0.5, 1, 2]), (dict(least=0, most=1), [0, 0.5, 1])],
)
def test_numbers_are_finite_and_include_their_limits(limits, expected):
    values = (-math.inf, -1, 0, np.float32(0.5), 1, 2, math.inf, math.nan, *NO_NUMBERS)
    assert [value for value in values if passes(check_number, value, **limits)] == expected


def test_choices_options_and_several_numbers():
    assert [value for value in ('a', 'c', None, ['a']) if passes(check_choice, value, ('a', 'b'))] == ['a']
    assert complete_options('x', dict(a=3), dict(a=1, b=2)) == dict(a=3, b=2)
    assert not passes(complete_options, dict(c=1), dict(a=1)) and not passes(complete_options, 'a', dict(a=1))
    assert whole_numbers('x', 3, 1) == (3,) and whole_numbers('x', np.array([2, 1]).tolist(), 1) == (2, 1)
    for wrong in ([], [0], [1.0], [True], '12', {1: 1}, None):
        assert not passes(whole_numbers, wrong, 1)


def test_what_exists_is_refused_a_link_to_nowhere_too(tmp_path):
    refuse_existing('--out', tmp_path / 'a.json')
    (tmp_path / 'a.json').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(UserError, match=r'a\.json exists and is not overwritten; give another --out'):
        refuse_existing('--out', tmp_path / 'a.json')
