"""Unknown labels that a pipeline drops are found wherever they are, and only where somebody leaves them out."""

from types import SimpleNamespace

import pytest
from mmengine.dataset import BaseDataset, RepeatDataset

from mmlattn.datasets.unknown_labels import check_unknown_arrive, has_unknown
from mmlattn.engine.hooks.config_checks import _check_unknown
from mmlattn.evaluation import MultiLabelReport
from mmlattn.utils.errors import UserError


class Pictures(BaseDataset):
    """1,500 items, of which the last alone has an unknown label, or none."""

    def load_data_list(self):
        items = [dict(img_path=f'{n}.jpg', gt_label=[0]) for n in range(1500)]
        items[-1].update(dict(gt_label_ignore=[1]) if self.ann_file == 'unknown' else {})
        return items


def pictures(ann_file='unknown', **pack):
    return Pictures(ann_file=ann_file, pipeline=[dict(type='mmpretrain.PackInputs', **pack)])


@pytest.mark.parametrize('wrap', [lambda data: data, lambda data: RepeatDataset(data, 2)])
def test_one_late_unknown_label_is_found(wrap):
    assert has_unknown(wrap(pictures())) and not has_unknown(wrap(pictures('none')))
    with pytest.raises(UserError, match='val_dataloader has unknown labels'):
        check_unknown_arrive(wrap(pictures()), 'val_dataloader')
    check_unknown_arrive(wrap(pictures(algorithm_keys=('gt_label_ignore',))), 'val_dataloader')
    check_unknown_arrive(wrap(pictures(meta_keys=('gt_label_ignore',))), 'val_dataloader')
    check_unknown_arrive(wrap(pictures('none')), 'val_dataloader')


def test_metrics_that_take_them_for_absent_need_none():
    _check_unknown(SimpleNamespace(), None, pictures(), [MultiLabelReport(unknown='negative')], 'val')
    with pytest.raises(UserError, match='which its pipeline drops'):
        _check_unknown(SimpleNamespace(), None, pictures(), [MultiLabelReport()], 'val')
