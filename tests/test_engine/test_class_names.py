from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader

from mmlattn.engine import ClassNamesHook


def load(stored, own):
    dataset = [0]
    if own is not None:
        dataset = type('Data', (list,), dict(metainfo=dict(classes=own)))([0])
    runner = SimpleNamespace(_train_dataloader=dict(type='not built'), _test_dataloader=DataLoader(dataset))
    meta = dict(dataset_meta=dict(classes=stored)) if stored else {}
    ClassNamesHook().after_load_checkpoint(runner, dict(meta=meta))


@pytest.mark.parametrize(
    ('stored', 'own'),
    [(('a', 'b'), ['a', 'b']), (None, ['a', 'b']), (('a', 'b'), None), (('a', 'b', 'c'), ['x', 'y'])],
    ids=['equal', 'file without names', 'data without names', 'fine-tuning to another number'],
)
def test_accepted(stored, own):
    load(stored, own)


@pytest.mark.parametrize(
    ('own', 'message'),
    [
        (('b', 'a'), "another order: class 0 is 'a' in it and 'b' in test_dataloader"),
        (('a', 'x'), 'other names'),
    ],
)
def test_refused(own, message):
    with pytest.raises(ValueError, match=message):
        load(('a', 'b'), own)
