"""The classifier of the released RA-CNN."""

from mmpretrain.models.heads import LinearClsHead
from torch import Tensor

from mmlattn.models.stored_settings import StoresNumbers
from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_number

__all__ = ['ScaledLinearClsHead']


@MODELS.register_module()
class ScaledLinearClsHead(StoresNumbers, LinearClsHead):
    """mmpretrain's ``LinearClsHead`` on features times a constant, as in the authors' net definition for RA-CNN.

    The constant is stored with the weights, so that those of another one are never read with this.

    Args:
        num_classes (int): C.
        in_channels (int): Width of the features.
        scale (float): The constant; 0.1 there.
        init_cfg (dict): N(0, 0.001) there.
        **kwargs: As for ``LinearClsHead``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        scale: float = 0.1,
        init_cfg: dict | None = dict(type='Normal', layer='Linear', std=0.001),  # noqa: B006
        **kwargs,
    ) -> None:
        kwargs.setdefault('loss', dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0))
        super().__init__(num_classes, in_channels, init_cfg=init_cfg, **kwargs)
        check_number('scale', scale)
        self.scale = float(scale)
        self.store_numbers(scale=self.scale)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The last of the features, times the constant: (B, in_channels)."""
        return self.scale * super().pre_logits(feats)
