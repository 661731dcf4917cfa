"""What each look of a model that zooms in is worth."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mmlattn.evaluation.functional.checks import check_results, check_topk
from mmlattn.evaluation.functional.scales import class_ranks, scale_accuracy
from mmlattn.registry import METRICS
from mmlattn.structures.evidence import read_scale_scores
from mmlattn.structures.labels import true_class


@METRICS.register_module()
class ScaleAccuracy(BaseMetric):
    """Accuracy of each scale, of the first scales together, and of the output, for a single label.

    Each data sample needs ``pred_score`` (C,), ``gt_label`` (one class), and the evidence of K looks that zoom in,
    which ``RACNN(with_evidence=True)`` tells: ``region_scores`` (K, C), and ``fused_scores`` (K - 1, C) if K is above
    1. Values stand in percent under the prefix ``scales/``; ``docs/metrics.md`` says what each means.

    Args:
        topk (Sequence[int]): Numbers of classes that may be named; those above 1 add ``_top5`` and the like to the
            names.
        **kwargs: Of mmengine's ``BaseMetric``.
    """

    default_prefix = 'scales'
    reads_evidence = True

    def __init__(self, topk: Sequence[int] = (1,), **kwargs) -> None:
        super().__init__(**kwargs)
        check_topk(topk)
        self.topk = tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep ranks of the true class of each sample: output (), scales (K,) and first scales together (K - 1,)."""
        for sample in data_samples:
            scored = read_scale_scores(sample)
            label = true_class(sample, len(scored[0]))
            self.results.append(tuple(class_ranks(scores, label) for scores in scored))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the accuracies from the ranks of all processes."""
        check_results(results)
        output, scales, fused = zip(*results, strict=True)
        metrics = {}
        for k in self.topk:
            suffix = '' if k == 1 else f'_top{k}'
            values = dict(output=float(np.mean(np.array(output) < k))) | scale_accuracy(scales, fused, k)
            metrics |= {name + suffix: 100 * value for name, value in values.items()}
        looks = np.array([len(ranks) for ranks in scales])
        counts = {f'scale_{k}_pictures': int((looks >= k).sum()) for k in range(2, looks.max() + 1)}
        return metrics | counts | dict(mean_scales=float(looks.mean()))
