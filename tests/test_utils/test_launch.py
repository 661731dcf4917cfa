"""Parts of the launcher that need no run."""

import argparse

import pytest

from mmlattn.utils.launch import DictAction


@pytest.mark.parametrize(
    'text, value',
    [
        ('/x/sp ace/data', '/x/sp ace/data'),
        ("'/x/a (1)/data'", '/x/a (1)/data'),
        ('0.5', 0.5),
        ('None', None),
        ('false', False),
        ('1,a', [1, 'a']),
        ('[1, 2]', [1, 2]),
        ('(1)', (1,)),
        ('[(a, 1), [b]]', [('a', 1), ['b']]),
        ('a=b c', 'a=b c'),
    ],
)
def test_options_keep_spaces_and_types(text, value):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    assert parser.parse_args(['--cfg-options', f'key.name={text}']).cfg_options == {'key.name': value}
