"""The metric of label sets as a runner uses it: data samples in, percentages and lengths out."""

import csv
import json
import multiprocessing

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.evaluator import DumpResults, Evaluator
from mmpretrain.structures import DataSample

from mmlattn.evaluation import LabelSetReport, MultiLabelReport
from mmlattn.utils.predictions import load_predictions

CLASSES = ('cat', 'dog', 'bird', 'cow', 'hen')


def make_sample(predicted, true, ignored=()):
    sample = DataSample().set_gt_label(list(true)).set_pred_label(torch.tensor(predicted, dtype=torch.long))
    sample.set_field(list(ignored), 'gt_label_ignore', field_type='metainfo')
    return sample


def make_samples(count=13):
    """Sets in an order that is not sorted, some of them empty, with ignored labels and a threshold's own scores."""
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(count):
        scores = torch.from_numpy(rng.random(5)).float()
        chosen = rng.permutation(np.flatnonzero(scores >= 0.5)).tolist()
        true, ignored = (rng.choice(5, rng.integers(0, 4), replace=False).tolist() for _ in range(2))
        samples.append(make_sample(chosen, true, ignored).set_pred_score(scores))
    return samples


def evaluate(samples, meta=True, metric=LabelSetReport, **options):
    evaluator = Evaluator([metric(**options)])
    evaluator.dataset_meta = dict(classes=CLASSES) if meta else None
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


def test_golden_cf1():
    """P = [1, 0.5], R = [0.5, 1] make a C-F1 of 0.75, and a mean class F1 of 2/3."""
    report = evaluate([make_sample([1, 0], [0, 1]), make_sample([1], [0])])
    expected = dict(
        CP=75, CR=75, CF1=75, OP=200 / 3, OR=200 / 3, OF1=200 / 3, macro_F1=200 / 3, exact=50, sample_F1=50,
        cooccurrence_error=0, impossible_pairs=0, duplicates=0, length_error=0, length_abs_error=0, mean_length=1.5,
        gt_length=1.5,
    )  # fmt: skip
    assert report == pytest.approx({f'label-set/{name}': value for name, value in expected.items()})


def test_a_label_named_twice_counts_once():
    report = evaluate([make_sample([2, 0, 2], [2]), make_sample([1], [1])])
    assert (report['label-set/duplicates'], report['label-set/mean_length']) == (50, 1.5)
    assert report['label-set/OP'] == pytest.approx(200 / 3)


def test_sets_of_a_threshold_have_the_numbers_of_the_score_report():
    sets, scores = evaluate(make_samples()), evaluate(make_samples(), metric=MultiLabelReport)
    for name in ('CP', 'CR', 'CF1', 'OP', 'OR', 'OF1', 'macro_F1'):
        assert sets[f'label-set/{name}'] == pytest.approx(scores[f'multi-label/{name}'])
    assert 0 < sets['label-set/OF1'] < 100


def test_number_of_classes_from_whoever_tells_it():
    samples = make_samples()
    expected = evaluate(samples)
    assert evaluate(samples, meta=False) == expected
    for sample in samples:
        del sample.pred_score
    assert evaluate(samples) == expected


@pytest.mark.parametrize(
    ('change', 'meta', 'options', 'words'),
    [
        (lambda s: s.pop('pred_label'), True, {}, 'no pred_label: the head must decide'),
        (lambda s: s.pop('gt_label'), True, {}, 'neither gt_label nor gt_score'),
        (lambda s: s.set_pred_label([5]), True, {}, r'pred_label holds \[5\] .* 5 classes'),
        (lambda s: s.set_field(torch.tensor([0.5]), 'pred_label'), True, {}, 'must hold indices of classes'),
        (lambda s: None, False, {}, 'nothing says how many'),
        (
            lambda s: s.set_pred_score([0.1] * 6),
            True,
            {},
            'the model scores 6 classes but the data set has 5',
        ),
    ],
)
def test_bad_samples(change, meta, options, words):
    sample = make_sample([0], [1])
    change(sample)
    with pytest.raises(ValueError, match=words):
        evaluate([sample], meta, **options)


@pytest.mark.parametrize('options', [dict(out_file='a.txt')])
def test_bad_options(options):
    with pytest.raises(ValueError, match=f'{next(iter(options))} must'):
        LabelSetReport(**options)


@pytest.mark.parametrize('suffix', ['csv', 'json'])
def test_file_holds_every_class_and_nothing_is_overwritten(tmp_path, suffix):
    (tmp_path / f'sets.{suffix}').write_text('mine')
    report = evaluate(make_samples(), out_file=str(tmp_path / f'sets.{suffix}'), per_class=True)
    assert (tmp_path / f'sets.{suffix}').read_text() == 'mine'
    text = (tmp_path / f'sets_1.{suffix}').read_text()
    rows = list(csv.DictReader(text.splitlines())) if suffix == 'csv' else json.loads(text)['classes']
    assert [row['label'] for row in rows] == list(CLASSES)
    assert np.mean([float(row['recall']) for row in rows]) == pytest.approx(report['label-set/CR'])
    if suffix == 'json':
        assert json.loads(text)['summary'] == {
            name.removeprefix('label-set/'): v for name, v in report.items()
        }


def test_dumped_predictions_keep_the_order_and_give_the_same_report(tmp_path):
    samples = make_samples()
    dumped = Evaluator([DumpResults(str(tmp_path / 'pred.pkl'))])
    dumped.process(samples)
    dumped.evaluate(len(samples))
    read = load_predictions(str(tmp_path / 'pred.pkl'))
    orders = [sample.pred_label.tolist() for sample in samples]
    assert [sample['pred_label'].tolist() for sample in read] == orders != [sorted(order) for order in orders]
    offline = Evaluator([LabelSetReport()])
    offline.dataset_meta = dict(classes=CLASSES)
    assert offline.offline_evaluate(read, chunk_size=4) == evaluate(samples)


def evaluate_share(rank, folder):
    """One of two processes, with the pictures that a sampler would give it: the last one is the first again."""
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2)
    (folder / f'{rank}.json').write_text(json.dumps(report_of([(0, 2, 4), (1, 3, 0)][rank])))
    dist.destroy_process_group()


def report_of(indices):
    samples, results = make_samples(5), {}
    for metric in (LabelSetReport(), MultiLabelReport(map_at=(2,))):
        metric.process(None, [samples[i].to_dict() for i in indices])
        results |= metric.evaluate(len(samples))
    return results


@pytest.mark.dist
def test_two_processes_agree_with_one(tmp_path, monkeypatch):
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    monkeypatch.chdir(tmp_path)
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=evaluate_share, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    expected = report_of(range(5))
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(2)] == [expected] * 2
    assert not np.isnan(list(expected.values())).any()
