"""Which metrics take the thresholds of a stored decision; whole runs are in ``test_tune_thresholds.py``."""

from types import SimpleNamespace

import pytest
from mmpretrain.evaluation import AveragePrecision, MultiLabelMetric, VOCMultiLabelMetric

from mmlattn.engine.hooks import stored_decision
from mmlattn.evaluation import MultiLabelReport


@pytest.mark.parametrize(
    ('metric', 'told'),
    [
        (MultiLabelMetric(thr=0.5), ['MultiLabelMetric keeps its own thr']),
        (VOCMultiLabelMetric(thr=0.5), ['VOCMultiLabelMetric keeps its own thr']),
        (AveragePrecision(), []),
        (MultiLabelReport(), []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_metrics_that_keep_their_own_threshold_are_named(metric, told, monkeypatch):
    said = []
    monkeypatch.setattr(stored_decision, 'print_log', lambda message, *_: said.append(message))
    loop = SimpleNamespace(
        dataloader=SimpleNamespace(dataset=[]), evaluator=SimpleNamespace(metrics=[metric])
    )
    runner = SimpleNamespace(test_loop=loop, model=SimpleNamespace(test_step=lambda data: data))
    stored_decision.StoredDecisionHook(threshold=0.3).before_test(runner)
    assert [line.partition(' or ')[0] for line in said] == told
    assert not isinstance(metric, MultiLabelReport) or metric.threshold == 0.3
