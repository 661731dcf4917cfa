"""What multi-label papers report, as functions of scores and targets.

Everywhere ``scores`` is (N, C) float, one row for each image, larger means "rather present", and ``targets``
is (N, C) with 1 present, 0 absent and -1 ignored. Both are arrays, or tensors of any device and precision.
Results are fractions in [0, 1].

Definitions, with TP_c, Pred_c and GT_c the counts of hits, decisions and positives of class c:

* AP_c, the area under the step curve of precision over recall: the mean over the positives of class c of the
  precision among all images that score at least as high (scikit-learn's ``average_precision_score``; not VOC's, which
  is interpolated: at 11 points in 2007, since 2010 everywhere, by the best precision at that recall or a higher
  one). mAP is its mean over classes.
* OP = sum TP_c / sum Pred_c, OR = sum TP_c / sum GT_c, OF1 their harmonic mean (Gong et al., "Deep
  convolutional ranking for multilabel image annotation", ICLR 2014; OF1: Wang et al., CNN-RNN, CVPR 2016).
* CP = mean_c TP_c / Pred_c, CR = mean_c TP_c / GT_c (same sources), CF1 the harmonic mean of CP and CR.
* macro_F1 = mean_c 2 TP_c / (Pred_c + GT_c), the mean of the classes' own F1. It is not CF1.

The codes people compare with differ in the corners; :data:`CONVENTIONS` names the corners of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from mmlattn.structures.labels import selection_mask
from mmlattn.utils.arguments import check_choice

from .checks import check_scores, check_targets, check_threshold, check_topk


@dataclass(frozen=True)
class Convention:
    """How one code treats the corners that the definitions leave open.

    Attributes:
        tied_scores: ``'together'``: images of equal score enter the curve at once, so that their order means
            nothing (scikit-learn's rule); of labels that tie for a place among the k best the lower class gets it,
            as in our heads. Else one by one, as that code's sort happens to leave them: ``'numpy'``: ``argsort`` of
            the negated scores in float64, ignored ones dropped before; ``'torch'``: ``argsort``, ignored ones dropped
            before; ``'torch, then dropped'``: ``argsort`` of all images. All three take ``torch.topk``.
        absent_as_zero: A class without a positive has AP, recall and F1 of 0, a class without a decision precision 0,
            and both count in class means; else a class without a positive stays out of all of them (mAP, CP, CR,
            macro_F1).
        silent_in_op: A class that is never predicted adds 1 to the denominator of OP.
        cf1_is_macro_f1: CF1 is the mean of the classes' F1.
        ignored_as_negative: Ignored targets count as negatives in precision and recall; AP drops them always.
    """

    tied_scores: str = 'torch'
    absent_as_zero: bool = False
    silent_in_op: bool = False
    cf1_is_macro_f1: bool = False
    ignored_as_negative: bool = False


#: ``mmlattn``: ours. ``csra``: Kevinz-code/CSRA on VOC and COCO; ``csra_wider``: the same code on
#: WIDER-Attribute. ``mlgcn``: ``util.py`` of megvii-research/ML-GCN. ``mmpretrain``: ``AveragePrecision`` and
#: ``MultiLabelMetric(average='macro'|'micro')``. The CSRA and ML-GCN codes divide by zero where a class has no
#: positive; there the class stays out of the means, as with ours.
CONVENTIONS = dict(
    mmlattn=Convention(tied_scores='together'),
    csra=Convention(tied_scores='numpy', silent_in_op=True),
    csra_wider=Convention(tied_scores='numpy', silent_in_op=True, ignored_as_negative=True),
    mlgcn=Convention(tied_scores='torch, then dropped', silent_in_op=True, ignored_as_negative=True),
    mmpretrain=Convention(absent_as_zero=True, cf1_is_macro_f1=True),
)


class LabelCounts(NamedTuple):
    """Hits, decisions and positives of each class, all (C,) int64."""

    hits: np.ndarray
    predicted: np.ndarray
    positives: np.ndarray


class MultiLabelResult(NamedTuple):
    """Everything one report holds.

    ``summary`` has one number for each name: ``mAP``, ``CP CR CF1 OP OR OF1 macro_F1`` at the threshold, the same
    with ``_top<k>`` (the k best of each image, whatever their score) and ``_top<k>_thr`` (those of them that also
    reach the threshold). ``per_class`` has (C,) arrays ``AP`` and those of :func:`class_rates`, at the threshold.
    """

    summary: dict[str, float]
    per_class: dict[str, np.ndarray]


def average_precision(scores, targets, tied_scores: str = 'together') -> np.ndarray:
    """Average precision of each class.

    Args:
        scores (ndarray | Tensor): (N, C), finite.
        targets (ndarray | Tensor): (N, C); ignored entries are dropped.
        tied_scores (str): See :class:`Convention`.

    Returns:
        ndarray: (C,) float64, NaN where a class has no positive.
    """
    check_choice('tied_scores', tied_scores, ('together', *_SORTS))
    scores, targets = check_scores(scores, targets)
    # Class by class on contiguous rows: the whole of one class stays in the cache while it is sorted.
    rows, labels = np.ascontiguousarray(scores.T), np.ascontiguousarray(targets.T)
    ignored = (labels < 0).any(axis=1)
    ap = np.full(len(rows), np.nan)
    for c, (row, label) in enumerate(zip(rows, labels, strict=True)):
        if not (label == 1).any():
            continue
        if ignored[c] and tied_scores != 'torch, then dropped':
            row, label = row[label >= 0], label[label >= 0]
        if tied_scores == 'together':
            ap[c] = _ap_tied_together(row, label == 1)
        else:
            ap[c] = _ap_in_order(label[_SORTS[tied_scores](row)])
    return ap


def _ap_tied_together(scores: np.ndarray, positive: np.ndarray) -> float:
    """Mean over positives of (positives at or above it) / (images at or above it)."""
    # Two plain sorts and a look-up give both counts; no arg-sort of all images is needed.
    ranked, hits = np.sort(scores), np.sort(scores[positive])
    images_above = len(ranked) - np.searchsorted(ranked, hits)
    hits_above = len(hits) - np.searchsorted(hits, hits)
    return float(np.mean(hits_above / images_above))


def _ap_in_order(labels: np.ndarray) -> float:
    """Mean over positives of the precision down to it; ``labels`` go from the best score to the worst, less -1."""
    positive = labels[labels >= 0] == 1
    ranks = np.flatnonzero(positive) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def _torch_order(scores: np.ndarray) -> np.ndarray:
    return torch.from_numpy(scores).argsort(descending=True).numpy()


def _numpy_order(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores.astype(np.float64))


_SORTS = {'numpy': _numpy_order, 'torch': _torch_order, 'torch, then dropped': _torch_order}


def label_counts(selected: np.ndarray, targets, ignored_as_negative: bool = False) -> LabelCounts:
    """Hits, decisions and positives of each class, from decisions (N, C) bool.

    A decision for an ignored label is none, or a wrong one with ``ignored_as_negative``.
    """
    targets = check_targets(targets)
    positive = targets == 1
    counted = selected if ignored_as_negative else selected & (targets >= 0)
    return LabelCounts(*(np.count_nonzero(m, axis=0) for m in (selected & positive, counted, positive)))


def precision_recall_f1(counts: LabelCounts, convention: Convention = Convention()) -> dict[str, float]:
    """``CP CR CF1 OP OR OF1 macro_F1``; NaN without a single positive, unless absent classes count as zero."""
    hits, predicted, positives = (c.astype(float) for c in counts)
    precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(positives, 1)
    f1 = 2 * hits / np.maximum(predicted + positives, 1)
    present = np.ones(len(hits), bool) if convention.absent_as_zero else positives > 0
    op_denominator = np.maximum(predicted, 1) if convention.silent_in_op else predicted
    cp, cr, macro_f1 = (mean_defined(values[present]) for values in (precision, recall, f1))
    op = hits.sum() / max(op_denominator.sum(), 1)
    or_ = hits.sum() / max(positives.sum(), 1) if present.any() else np.nan
    cf1 = macro_f1 if convention.cf1_is_macro_f1 else _harmonic_mean(cp, cr)
    values = dict(CP=cp, CR=cr, CF1=cf1, OP=op, OR=or_, OF1=_harmonic_mean(op, or_), macro_F1=macro_f1)
    return {name: float(value) for name, value in values.items()}


def class_rates(counts: LabelCounts) -> dict[str, np.ndarray]:
    """(C,) arrays ``precision recall F1 positives predicted``; NaN where a class has no positive or no decision."""
    hits, predicted, positives = counts
    with np.errstate(invalid='ignore'):
        f1 = np.where(positives == 0, np.nan, 2 * hits / (predicted + positives))
        rates = dict(precision=hits / predicted, recall=hits / positives, F1=f1)
    return rates | dict(positives=positives, predicted=predicted)


def multi_label_report(
    scores, targets, threshold=0.5, topk: Sequence[int] = (3,), convention: str = 'mmlattn'
) -> MultiLabelResult:
    """The whole report: mAP, and precision, recall and F1 at the threshold and at each top-k.

    Args:
        scores (ndarray | Tensor): (N, C), finite.
        targets (ndarray | Tensor): (N, C).
        threshold (float | Sequence[float]): A label is predicted where its score is at least this; one number, or
            one for each class, (C,), where infinity is never reached.
        topk (Sequence[int]): The k of every top-k block.
        convention (str): A key of :data:`CONVENTIONS`.
    """
    check_topk(topk)
    check_choice('convention', convention, CONVENTIONS)
    scores, targets = check_scores(scores, targets)
    check_threshold(threshold, scores.shape[1])
    rules = CONVENTIONS[convention]
    at_threshold = selection_mask(torch.from_numpy(scores), threshold).numpy()
    counts = label_counts(at_threshold, targets, rules.ignored_as_negative)
    per_class = dict(AP=average_precision(scores, targets, rules.tied_scores)) | class_rates(counts)
    if rules.absent_as_zero:
        per_class = {name: np.nan_to_num(values) for name, values in per_class.items()}
    summary = dict(mAP=mean_defined(per_class['AP'])) | precision_recall_f1(counts, rules)
    for k in topk:
        best = _best_labels(torch.from_numpy(scores), k, rules.tied_scores).numpy()
        for suffix, selected in ((f'_top{k}', best), (f'_top{k}_thr', best & at_threshold)):
            block = precision_recall_f1(label_counts(selected, targets, rules.ignored_as_negative), rules)
            summary |= {name + suffix: value for name, value in block.items()}
    return MultiLabelResult(summary, per_class)


def _best_labels(scores: torch.Tensor, k: int, tied_scores: str) -> torch.Tensor:
    if tied_scores == 'together':
        return selection_mask(scores, topk=k)
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, best, True)


def mean_defined(values: np.ndarray) -> float:
    """Mean of the values that are numbers, NaN without any."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else np.nan


def _harmonic_mean(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
