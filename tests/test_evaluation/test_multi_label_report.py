"""The metric as a runner uses it: data samples in, percentages out."""

import csv
import json

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook
from mmpretrain.evaluation import VOCAveragePrecision, VOCMultiLabelMetric
from mmpretrain.structures import DataSample
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from mmlattn.evaluation import LabelSetReport, MultiLabelReport
from mmlattn.structures import label_matrix
from mmlattn.utils.errors import UserError

CLASSES = ('cat', 'dog', 'bird', 'cow')


def make_samples(count=29, ignored_field='gt_label_difficult', seed=0):
    """Data samples with an image without any label, and difficult labels that may also be sure ones."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(count):
        labels = [] if i == 3 else rng.choice(4, rng.integers(1, 3), replace=False).tolist()
        difficult = rng.choice(4, rng.integers(0, 3), replace=False).tolist()
        sample = DataSample().set_gt_label(labels).set_pred_score(torch.from_numpy(rng.random(4)).float())
        samples.append(sample.set_field(difficult, ignored_field, field_type='metainfo') or sample)
    return samples


def evaluate(metric, samples, batch=8):
    evaluator = Evaluator([metric])
    evaluator.dataset_meta = dict(classes=CLASSES)
    for start in range(0, len(samples), batch):
        evaluator.process(samples[start : start + batch])
    assert len(metric.results) == len(samples), 'exactly one result for each sample'
    return evaluator.evaluate(len(samples))


@pytest.mark.parametrize('field', ['gt_label_ignore', 'gt_label_difficult'])
def test_ignored_labels_are_read_as_mmpretrains_voc_metrics_read_them(field):
    report = evaluate(MultiLabelReport(convention='mmpretrain'), make_samples(ignored_field=field))
    samples = make_samples()
    names = dict(zip(('precision', 'recall', 'f1-score'), ('CP', 'CR', 'CF1'), strict=True))
    theirs = evaluate(VOCMultiLabelMetric(thr=0.5), samples)
    assert report['multi-label/mAP'] == pytest.approx(
        evaluate(VOCAveragePrecision(), samples)['multi-label/mAP'], rel=1e-5
    )
    for theirs_name, ours_name in names.items():
        assert report[f'multi-label/{ours_name}'] == pytest.approx(
            theirs[f'multi-label/{theirs_name}'], rel=1e-5
        )


def test_gt_score_of_the_data_preprocessor_says_the_same_as_gt_label():
    samples = make_samples()
    expected = evaluate(MultiLabelReport(), samples)
    for sample in samples:
        sample.set_gt_score(torch.zeros(4).index_fill_(0, sample.gt_label, 1))
    assert evaluate(MultiLabelReport(), samples) == expected


def test_save_best_auto_follows_map():
    report = evaluate(MultiLabelReport(), make_samples())
    assert next(iter(report)) == 'multi-label/mAP'
    hook = CheckpointHook(save_best='auto')
    hook._init_rule([None], [next(iter(report))])
    assert hook.rules == ['greater']


@pytest.mark.parametrize('suffix', ['csv', 'json'])
def test_file_holds_every_class_and_nothing_is_overwritten(tmp_path, suffix):
    kept = tmp_path / f'report.{suffix}'
    kept.write_text('mine')
    metric = MultiLabelReport(per_class=True, out_file=str(kept))
    report = evaluate(metric, [s for s in make_samples() if 2 not in s.gt_label])
    evaluate(metric, make_samples())
    assert kept.read_text() == 'mine'
    text = (tmp_path / f'report_1.{suffix}').read_text()
    rows = list(csv.DictReader(text.splitlines())) if suffix == 'csv' else json.loads(text)['classes']
    assert [row['label'] for row in rows] == list(CLASSES)
    assert rows[2]['AP'] in ('', None) and report['multi-label/absent_classes'] == 1
    values = [float(row['AP']) for i, row in enumerate(rows) if i != 2]
    assert np.mean(values) == pytest.approx(report['multi-label/mAP'])
    assert (tmp_path / f'report_2.{suffix}').exists()


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda s: s.set_gt_label([7]), r'gt_label holds \[7\] but the model scores 4 classes'),
        (lambda s: s.set_field(torch.tensor([0.5]), 'gt_label'), r'gt_label of .* indices .*got \[0\.5\]'),
        (lambda s: s.set_field(torch.tensor([True, False]), 'gt_label'), r'indices .*got \[True, False\]'),
        (lambda s: s.set_field([0.5], 'gt_label_difficult', field_type='metainfo'), 'gt_label_difficult of'),
        (lambda s: s.pop('pred_score'), 'no pred_score'),
        (lambda s: s.set_gt_score([0.5, 0, 0, 1]), 'gt_score must be'),
        (lambda s: s.pop('gt_label'), 'neither gt_label nor gt_score'),
    ],
)
def test_bad_samples(change, words):
    samples = make_samples(1, ignored_field='gt_label_ignore')
    change(samples[0])
    with pytest.raises(ValueError, match=words):
        evaluate(MultiLabelReport(), samples)


def test_class_count_of_model_and_data_set_must_agree():
    metric = MultiLabelReport()
    metric.dataset_meta = dict(classes=CLASSES[:3])
    metric.process(None, [s.to_dict() for s in make_samples(2)])
    with pytest.raises(ValueError, match='scores 4 classes but the data set has 3'):
        metric.compute_metrics(metric.results)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('convention', 'coco'),
        ('out_file', 'a.txt'),
        ('topk', (0,)),
        ('topk', 3),
        ('topk', (True,)),
        ('threshold', float('nan')),
    ],
)
def test_bad_options(name, value):
    with pytest.raises(ValueError, match=f'{name} must'):
        MultiLabelReport(**{name: value})


def test_unknown_labels_taken_for_absent_are_mmpretrains_negatives():
    report = evaluate(MultiLabelReport(unknown='negative', convention='mmpretrain'), make_samples())
    theirs = evaluate(VOCAveragePrecision(difficult_as_positive=False), make_samples())
    assert report['multi-label/mAP'] == pytest.approx(theirs['multi-label/mAP'], rel=1e-5)
    theirs = evaluate(VOCMultiLabelMetric(thr=0.5, difficult_as_positive=False), make_samples())
    assert report['multi-label/CP'] == pytest.approx(theirs['multi-label/precision'], rel=1e-5)
    plain = [s for s in make_samples() if s.pop('gt_label_difficult') is not None]
    assert evaluate(MultiLabelReport(), plain) == evaluate(
        MultiLabelReport(unknown='negative'), make_samples()
    )
    assert evaluate(LabelSetReport(), decided(plain)) == evaluate(
        LabelSetReport(unknown='negative'), decided(make_samples())
    )
    assert evaluate(LabelSetReport(), decided(plain)) != evaluate(LabelSetReport(), decided(make_samples()))
    with pytest.raises(UserError, match="unknown must be one of 'mask', 'negative'"):
        MultiLabelReport(unknown='ignore')


def decided(samples):
    return [sample.set_pred_label((sample.pred_score >= 0.5).nonzero()[:, 0]) for sample in samples]


def test_known_labels_are_scored_as_scikit_learn_scores_them_alone():
    """Each class on the pictures where it is known; overall on all known labels together; each picture by itself."""
    samples = make_samples(count=41, ignored_field='gt_label_ignore', seed=3)
    scores = torch.stack([sample.pred_score for sample in samples]).numpy()
    targets = label_matrix(samples, 4).numpy()
    known, predicted = targets >= 0, scores >= 0.5
    report = evaluate(MultiLabelReport(), samples)
    ap, precision, recall = [], [], []
    for c in range(4):
        rows = known[:, c]
        truth, said = targets[rows, c], predicted[rows, c]
        ap.append(average_precision_score(truth, scores[rows, c]))
        precision.append(precision_score(truth, said))
        recall.append(recall_score(truth, said))
    for name, values in (('mAP', ap), ('CP', precision), ('CR', recall)):
        assert report[f'multi-label/{name}'] == pytest.approx(100 * np.mean(values))
    for name, function in (('OP', precision_score), ('OR', recall_score), ('OF1', f1_score)):
        expected = 100 * function(targets[known], predicted[known])
        assert report[f'multi-label/{name}'] == pytest.approx(expected)
    sets = evaluate(LabelSetReport(), decided(samples))
    f1 = [
        f1_score(t[k], p[k], zero_division=0 if (t[k] == 1).any() or p[k].any() else 1)
        for t, p, k in zip(targets, predicted, known, strict=True)
    ]
    assert sets['label-set/sample_F1'] == pytest.approx(100 * np.mean(f1))
    exact = [(t[k] == p[k]).all() for t, p, k in zip(targets, predicted, known, strict=True)]
    assert sets['label-set/exact'] == pytest.approx(100 * np.mean(exact))
