"""The residual attention module: trunk, soft mask and their fusion.

Wang et al., "Residual Attention Network for Image Classification", CVPR 2017, https://arxiv.org/abs/1704.06904,
section 3 and figure 2.
"""

from torch import Tensor, nn

from mmlattn.utils.arguments import check_choice, check_whole

from .soft_mask import FUSIONS, SoftMask, Unit

__all__ = ['AttendedStage', 'AttentionModule']


class AttentionModule(nn.Module):
    """p units, then t units beside the mask, then their fusion, then p units.

        x = pre(x)
        H = (1 + M(x)) T(x)
        post(H)

    Args:
        channels (int): C of input and output.
        p (int): Units before the split and after the fusion.
        t (int): Units of the trunk.
        mask (SoftMask): M.
        unit (Callable): Makes a residual unit from C_in to C channels.
        learning (str): ``'arl'`` for (1 + M) T, ``'nal'`` for M T.
    """

    def __init__(
        self, channels: int, p: int = 1, t: int = 2, *, mask: SoftMask, unit: Unit, learning: str = 'arl'
    ) -> None:
        super().__init__()
        check_choice('learning', learning, FUSIONS)
        check_whole('p', p, 0)
        check_whole('t', t, 1)
        self.pre = nn.Sequential(*(unit(channels, channels) for _ in range(p)))
        self.trunk = nn.Sequential(*(unit(channels, channels) for _ in range(t)))
        self.mask = mask
        self.post = nn.Sequential(*(unit(channels, channels) for _ in range(p)))
        self.fuse = FUSIONS[learning]

    def forward(self, x: Tensor) -> Tensor:
        x = self.pre(x)
        trunk = self.trunk(x)
        return self.post(self.fuse(trunk, self.mask(x, trunk)))


class AttendedStage(nn.Module):
    """A stage of another network whose first blocks are ``pre`` and whose rest is the trunk of an attention module.

    The blocks keep their names, so that the stage's weights load as before; the mask is one more child. It is no
    sequence any more: whoever took the last item of the stage for its output would miss the fusion.

    Args:
        blocks (nn.Sequential): The stage, at least ``pre`` + 1 blocks.
        mask (SoftMask): M, for the channels of the stage.
        pre (int): Blocks before the split: those that change channels or resolution.
        learning (str): See :class:`AttentionModule`.
    """

    def __init__(self, blocks: nn.Sequential, *, mask: SoftMask, pre: int = 1, learning: str = 'arl') -> None:
        super().__init__()
        check_choice('learning', learning, FUSIONS)
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
