"""Residual units: what trunk and mask of a residual attention network are made of.

Wang et al., "Residual Attention Network for Image Classification", CVPR 2017, https://arxiv.org/abs/1704.06904.
The widths, the places of normalisation and stride and the projections are those of the authors' Caffe files
(github.com/fwang91/residual-attention-network @ bc207a8); :class:`InceptionUnit` is ours, for they released none.

No convolution has a bias, and a unit has a projection only where shapes differ, so no parameter is ever unused.

Every unit takes x of shape (B, C_in, h, w) to (B, C, h / stride, w / stride), rounded up. Its arguments are
``in_channels``, C_in; ``channels``, C; ``stride``; and ``norm``, which makes a normalisation layer for a number of
channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmlattn.models.layers.closed_form import gradient_is_needed
from mmlattn.utils.arguments import check_whole
from mmlattn.utils.errors import UserError

Norm = Callable[[int], nn.Module]
"""Makes a normalisation layer for a number of channels."""

Unit = Callable[[int, int], nn.Module]
"""Makes a residual unit from C_in to C channels."""


def stack(unit: Unit, channels: int, count: int) -> nn.Sequential:
    """``count`` units that keep their number of channels, one after the other."""
    return nn.Sequential(*(unit(channels, channels) for _ in range(count)))


class ResidualUnit(nn.Module, ABC):
    """x -> residual(x) + shortcut(x)."""

    preactivation: bool
    """Whether the unit normalises and rectifies its input by itself and leaves its output a plain sum."""

    with_cp = False
    """Whether the unit is computed anew in the backward pass, in place of keeping what it computed.

    Outputs, gradients and running statistics stay the same to the last bit. Without effect under torch.compile, which
    decides by itself what to keep.
    """

    @abstractmethod
    def transform(self, x: Tensor) -> Tensor:
        """The unit's function."""

    def forward(self, x: Tensor) -> Tensor:
        if self.with_cp and gradient_is_needed(x) and not torch.compiler.is_compiling():
            return checkpoint(self.transform, x, use_reentrant=False, context_fn=self._passes)
        return self.transform(x)

    def _share(self, channels: int, part: int, whole: int) -> int:
        """``channels * part / whole``."""
        if channels < whole or channels % whole:
            raise UserError(
                f'{type(self).__name__} splits its channels in {whole} parts, got channels={channels}: take a '
                f'multiple of {whole}'
            )
        return channels * part // whole

    def _passes(self) -> tuple:
        """What surrounds the forward pass and its repetition, which must not count the batch a second time."""
        return nullcontext(), _UnchangedStatistics(self)


class PreActUnit(ResidualUnit):
    """Bottleneck of width C/4 with pre-activation: the unit of Attention-56 and Attention-92.

    With a = ReLU(BN(x)), the result is conv1x1(conv3x3(conv1x1(a))) + shortcut, BN and ReLU between the
    convolutions; the shortcut is x, or a 1x1 convolution of a (not of x) where channels or stride change. The stride
    is that of the 3x3 convolution, and C is a multiple of 4.
    """

    preactivation = True

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, *, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        width = self._share(channels, 1, 4)
        self.norm1, self.conv1 = norm(in_channels), _conv(in_channels, width, 1)
        self.norm2, self.conv2 = norm(width), _conv(width, width, 3, stride)
        self.norm3, self.conv3 = norm(width), _conv(width, channels, 1)
        self.projection = None
        if in_channels != channels or stride != 1:
            self.projection = _conv(in_channels, channels, 1, stride)
        self.relu = nn.ReLU(inplace=True)

    def transform(self, x: Tensor) -> Tensor:
        a = self.relu(self.norm1(x))
        shortcut = x if self.projection is None else self.projection(a)
        y = self.conv1(a)
        y = self.conv2(self.relu(self.norm2(y)))
        y = self.conv3(self.relu(self.norm3(y)))
        return y.add_(shortcut)


class _PostActUnit(ResidualUnit):
    """ReLU(branch(x) + shortcut(x)), the shortcut x itself or a 1x1 convolution with its normalisation."""

    preactivation = False

    def __init__(self, in_channels: int, channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.projection = None
        if in_channels != channels or stride != 1:
            self.projection = nn.Sequential(_conv(in_channels, channels, 1, stride), norm(channels))
        self.relu = nn.ReLU(inplace=True)

    @abstractmethod
    def branch(self, x: Tensor) -> Tensor:
        """What is added to the shortcut, before the last ReLU."""

    def transform(self, x: Tensor) -> Tensor:
        shortcut = x if self.projection is None else self.projection(x)
        return self.relu(self.branch(x).add_(shortcut))


class ResNeXtUnit(_PostActUnit):
    """Grouped bottleneck of width C/2, post-activation: the unit of AttentionNeXt.

    conv1x1 - BN - ReLU - conv3x3 in groups - BN - ReLU - conv1x1 - BN, plus the shortcut, then ReLU. The stride is
    that of the 3x3 convolution, and C/2 is a multiple of ``groups``.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        groups: int = 32,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__(in_channels, channels, stride, norm)
        width = self._share(channels, 1, 2)
        check_whole('groups', groups, 1)
        if width % groups:
            raise UserError(
                f'ResNeXtUnit with {channels} channels convolves {width} of them in groups={groups}, which does not '
                f"divide {width}; choose other channels or fewer groups, e.g. unit=dict(type='resnext', groups=4)"
            )
        self.conv1, self.norm1 = _conv(in_channels, width, 1), norm(width)
        self.conv2, self.norm2 = _conv(width, width, 3, stride, groups), norm(width)
        self.conv3, self.norm3 = _conv(width, channels, 1), norm(channels)

    def branch(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.relu(self.norm2(self.conv2(y)))
        return self.norm3(self.conv3(y))


class InceptionUnit(_PostActUnit):
    """Three branches, concatenated and expanded: our unit of AttentionInception, which the paper only names.

    Branches of 1x1 -> 9C/64; 1x1 -> 3x3 of C/8 each; 1x1 of C/16 -> 3x3 -> 3x3 of C/8 each; every convolution with
    BN and ReLU, the stride on the last of each branch. Their concatenation goes through conv1x1 - BN to C channels,
    plus the shortcut, then ReLU. C is a multiple of 64. The widths are chosen so that AttentionInception-56 has the
    31.9 million parameters (running statistics counted) and 6.3 billion multiply-adds that the paper prints.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, *, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__(in_channels, channels, stride, norm)
        narrow, single, wide = (self._share(channels, part, 64) for part in (4, 9, 8))

        def cell(c_in: int, c_out: int, kernel: int, cell_stride: int = 1) -> nn.Sequential:
            return nn.Sequential(_conv(c_in, c_out, kernel, cell_stride), norm(c_out), nn.ReLU(inplace=True))

        self.branch1 = cell(in_channels, single, 1, stride)
        self.branch2 = nn.Sequential(cell(in_channels, wide, 1), cell(wide, wide, 3, stride))
        deep = cell(in_channels, narrow, 1), cell(narrow, wide, 3), cell(wide, wide, 3, stride)
        self.branch3 = nn.Sequential(*deep)
        self.expand = nn.Sequential(_conv(single + 2 * wide, channels, 1), norm(channels))

    def branch(self, x: Tensor) -> Tensor:
        return self.expand(torch.cat([self.branch1(x), self.branch2(x), self.branch3(x)], dim=1))


def _conv(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)


class _UnchangedStatistics:
    """Batch normalisation runs as ever, but updates copies of its running statistics, which are then dropped.

    Turning ``track_running_stats`` off instead would make it save fewer tensors than the pass it repeats, which
    PyTorch's checkpointing refuses. It can be entered again and again, as a graph can be walked more than once.
    """

    def __init__(self, module: nn.Module) -> None:
        self.norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]

    def __enter__(self) -> None:
        tracking = [norm for norm in self.norms if norm.training and norm.track_running_stats]
        self.kept = [(norm, dict(norm.named_buffers(recurse=False))) for norm in tracking]
        for norm, buffers in self.kept:
            for name, buffer in buffers.items():
                setattr(norm, name, buffer.clone())

    def __exit__(self, *error) -> None:
        for norm, buffers in self.kept:
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
