"""Constraints on regions for heads that know nothing of them."""

from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import Tensor

from mmlattn.models.layers.spatial_transformer import theta_to_boxes
from mmlattn.registry import MODELS
from mmlattn.structures import set_regions
from mmlattn.utils.arguments import check_number
from mmlattn.utils.errors import UserError

from .head import region_losses
from .recurrence import STLSTMOutput

__all__ = ['RegionConstraintWrapper']


@MODELS.register_module()
class RegionConstraintWrapper(BaseModule):
    """Any head after the ``STLSTM`` neck, with the neck's regions constrained (Wang et al., ICCV 2017).

    Without constraints the regions of a stock head tend to fall on one spot.

    Args:
        head (dict): Config of the head; it reads the features pooled over the regions.
        loss_loc (dict): Config of the constraints.
        loc_weight (float): gamma, their weight.
        with_evidence (bool): Whether ``predict`` adds ``regions`` (K, 4) to each sample.
        init_cfg (dict, optional): As for any module.

    Raises:
        UserError: If the head constrains the regions itself; in ``loss``, and in ``predict`` with evidence, if the
            features come from another neck.
    """

    def __init__(
        self,
        head: dict,
        loss_loc: dict = dict(type='mmlattn.RegionConstraintLoss'),  # noqa: B006
        loc_weight: float = 0.1,
        with_evidence: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_number('loc_weight', loc_weight, least=0)
        self.head = MODELS.build(head)
        if hasattr(self.head, 'loss_loc'):
            raise UserError(
                f'{type(self.head).__name__} constrains the regions itself: use it without RegionConstraintWrapper'
            )
        self.loss_loc = MODELS.build(loss_loc)
        self.loc_weight = loc_weight
        self.with_evidence = with_evidence

    def pre_logits(self, feats: STLSTMOutput) -> Tensor:
        """What the head's classifier sees."""
        return self.head.pre_logits(feats)

    def forward(self, feats: STLSTMOutput) -> Tensor:
        """The head's scores."""
        return self.head(feats)

    def loss(self, feats: STLSTMOutput, data_samples: list[DataSample], **kwargs) -> dict:
        """The head's losses and the constraints."""
        regions = region_losses(self.loss_loc, self.loc_weight, _checked(feats))
        losses = self.head.loss(feats, data_samples, **kwargs)
        if 'loss' in losses:  # mmengine keeps this name for the sum
            losses['loss_cls'] = losses.pop('loss')
        return losses | regions

    def predict(
        self,
        feats: STLSTMOutput,
        data_samples: list[DataSample] | None = None,
        with_evidence: bool | None = None,
    ) -> list[DataSample]:
        """The head's prediction, with ``regions`` if asked for.

        Args:
            feats (STLSTMOutput): Of the neck.
            data_samples (list[DataSample], optional): Samples to write to.
            with_evidence (bool, optional): Overrides the wrapper's setting for this call.
        """
        predictions = self.head.predict(feats, data_samples)
        if self.with_evidence if with_evidence is None else with_evidence:
            set_regions(predictions, theta_to_boxes(_checked(feats).theta))
        return predictions


def _checked(feats: STLSTMOutput) -> STLSTMOutput:
    if not isinstance(feats, STLSTMOutput):
        raise UserError(
            "RegionConstraintWrapper needs the output of neck=dict(type='mmlattn.STLSTM'), got "
            f'{type(feats).__name__}'
        )
    return feats
