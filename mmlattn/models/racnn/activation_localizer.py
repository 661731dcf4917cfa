"""Where the network responds most, without anything learnt."""

from mmengine.model import BaseModule
from torch import Tensor

from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_number
from mmlattn.utils.errors import UserError

from .squares import highest_response_square

__all__ = ['ActivationLocalizer']


@MODELS.register_module()
class ActivationLocalizer(BaseModule):
    """The square of the highest response as a localiser without parameters: baseline and first target of an ``APN``.

    Args:
        side (float): Of the square, as a fraction of the frame's, in (0, 1]. The paper starts with half.
        init_cfg (dict, optional): Nothing to initialise.
    """

    def __init__(self, side: float = 0.5, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        check_number('side', side)
        if not 0 < side <= 1:
            raise UserError(f'side must lie in (0, 1], got {side!r}')
        self.side = side

    def forward(self, feature_map: Tensor) -> Tensor:
        """Squares (B, 3) of feature maps (B, D, h, w), see ``racnn/squares.py``."""
        return highest_response_square(feature_map, self.side)
