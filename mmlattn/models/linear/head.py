"""mmpretrain's linear head for data sets with unknown labels."""

from mmpretrain.models.heads import MultiLabelLinearClsHead
from mmpretrain.structures import DataSample
from torch import Tensor

from mmlattn.models.losses.masking import loss_of_known
from mmlattn.registry import MODELS
from mmlattn.structures.labels import UNKNOWN, training_targets
from mmlattn.utils.arguments import check_choice


@MODELS.register_module()
class LinearMultiLabelHead(MultiLabelLinearClsHead):
    """mmpretrain's ``MultiLabelLinearClsHead`` whose loss leaves unknown labels out, as our heads do.

    The stock head takes an unknown label for an absent one. Weights are the same, under the same names.

    Args:
        num_classes (int): C.
        in_channels (int): Of the pooled features.
        loss (dict): Config of the loss.
        unknown (str): 'mask' leaves unknown labels out of the loss, 'negative' takes them for absent; see
            :func:`mmlattn.structures.labels.training_targets`.
        **kwargs: ``thr``, ``topk`` and ``init_cfg`` of ``MultiLabelLinearClsHead``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss: dict = dict(type='mmpretrain.CrossEntropyLoss', use_sigmoid=True),  # noqa: B006
        unknown: str = 'mask',
        **kwargs,
    ) -> None:
        super().__init__(num_classes, in_channels, loss=loss, **kwargs)
        check_choice('unknown', unknown, UNKNOWN)
        self.unknown = unknown

    def _get_loss(self, cls_score: Tensor, data_samples: list[DataSample], **kwargs) -> dict:
        target = training_targets(data_samples, self.num_classes, self.unknown).to(cls_score.device)
        return dict(loss=loss_of_known(self.loss_module, cls_score, target, len(cls_score), **kwargs))
