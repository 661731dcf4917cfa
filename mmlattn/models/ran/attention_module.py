"""The residual attention module: trunk T, soft mask M and their fusion.

Wang et al., "Residual Attention Network for Image Classification", CVPR 2017, https://arxiv.org/abs/1704.06904,
section 3 and figure 2. Trunk, mask and output have one shape, (B, C, h, w). ``learning`` is a key of ``FUSIONS``.
"""

import torch
from torch import Tensor, nn

from mmlattn.models.layers.closed_form import gradient_is_needed

from .residual_units import Unit, stack
from .soft_mask import SoftMask


def attention_residual_learning(trunk: Tensor, mask: Tensor) -> Tensor:
    """H = (1 + M) T, equation 3: a mask of zeros leaves the trunk as it is."""
    if gradient_is_needed(trunk, mask):
        return _ResidualFusion.apply(trunk, mask)
    return trunk.addcmul(mask, trunk)


def naive_attention_learning(trunk: Tensor, mask: Tensor) -> Tensor:
    """H = M T, equation 1: every module can only lessen what it passes on."""
    return mask * trunk


FUSIONS = dict(arl=attention_residual_learning, nal=naive_attention_learning)
"""How trunk and mask become the module's output, by the name of the option ``learning``."""


class _ResidualFusion(torch.autograd.Function):
    """(1 + M) T with its gradients (1 + M) g and T g in one pass each; autograd takes two to four times as many."""

    generate_vmap_rule = True

    @staticmethod
    def forward(trunk: Tensor, mask: Tensor) -> Tensor:
        return trunk.addcmul(mask, trunk)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        trunk, mask = ctx.saved_tensors
        return grad.addcmul(mask, grad), grad * trunk


class AttentionModule(nn.Module):
    """p units, then t units, the trunk, beside the mask, then their fusion, then p units.

    x = pre(x)
    H = (1 + M(x)) T(x)
    post(H)
    """

    def __init__(
        self, channels: int, p: int = 1, t: int = 2, *, mask: SoftMask, unit: Unit, learning: str = 'arl'
    ) -> None:
        super().__init__()
        self.pre = stack(unit, channels, p)
        self.trunk = stack(unit, channels, t)
        self.mask = mask
        self.post = stack(unit, channels, p)
        self.fuse = FUSIONS[learning]

    def forward(self, x: Tensor) -> Tensor:
        x = self.pre(x)
        trunk = self.trunk(x)
        return self.post(self.fuse(trunk, self.mask(x, trunk)))


class AttendedStage(nn.Module):
    """A stage of another network whose first blocks are ``pre`` and whose other blocks are the trunk.

    The blocks, at least ``pre`` + 1, keep their names, so that the stage's weights load as before; the mask is one
    more child. The stage is no ``nn.Sequential`` any more: who takes its last item for its output misses the fusion.
    """

    def __init__(self, blocks: nn.Sequential, *, mask: SoftMask, pre: int = 1, learning: str = 'arl') -> None:
        super().__init__()
        names = [name for name, _ in blocks.named_children()]
        for name, block in blocks.named_children():
            self.add_module(name, block)
        self._pre, self._trunk = names[:pre], names[pre:]
        self.mask = mask
        self.fuse = FUSIONS[learning]

    def init_weights(self) -> None:
        """Initialise the blocks that can do so themselves; OpenMMLab's networks ask their parts by this name."""
        for child in self.children():
            if hasattr(child, 'init_weights'):
                child.init_weights()

    def forward(self, x: Tensor) -> Tensor:
        for name in self._pre:
            x = getattr(self, name)(x)
        trunk = x
        for name in self._trunk:
            trunk = getattr(self, name)(trunk)
        return self.fuse(trunk, self.mask(x, trunk))
