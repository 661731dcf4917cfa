"""Test-time augmentation that decides on what it averaged."""

from mmpretrain.models import AverageClsScoreTTA
from mmpretrain.structures import DataSample

from mmlattn.registry import MODELS
from mmlattn.structures import EVIDENCE_FIELDS

from .decision import decide_labels, head_of


@MODELS.register_module()
class DecidingTTA(AverageClsScoreTTA):
    """Averages the scores of all views and decides on labels from the average, by the rule of the head and
    what is known of the picture's labels.

    mmpretrain's keeps the labels of the first view, and its evidence, which lies elsewhere in the picture.

    Raises:
        UserError: For a head without a rule to decide by, see ``decide_labels``.
    """

    def _merge_single_sample(self, data_samples: list[DataSample]) -> DataSample:
        merged = super()._merge_single_sample(data_samples)
        for field in ('pred_label', *EVIDENCE_FIELDS):
            merged.pop(field, None)
        (labels,) = decide_labels(head_of(self.module), merged.pred_score[None], [merged])
        return merged.set_pred_label(labels)
