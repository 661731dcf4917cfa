"""The soft mask branch of a residual attention module.

Wang et al., "Residual Attention Network for Image Classification", CVPR 2017, https://arxiv.org/abs/1704.06904,
sections 3.1 and 3.2; structure and sampling as in the authors' Caffe files (github.com/fwang91/
residual-attention-network @ bc207a8). With n poolings, e_0 = x and r residual units at a time,

    e_l = down_l(pool(e_{l-1}))                       l = 1 .. n-1
    d   = bottom(pool(e_{n-1}))                       2r units
    d   = up_l(resize(d, e_l) + skip_l(e_l))          l = n-1 .. 1, skip_l one unit
    M   = activation(conv1x1(conv1x1(resize(d, T))))  T the trunk's output

``resize`` takes nothing but the size of its second argument, so any input size works. Nothing is added after the
last one: some ports add the encoder feature in every step and T at the end, having read Caffe's second input of the
interpolation as a summand. ``skip='port'`` does as they do, for the weights trained so.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmlattn.models.layers.precision import widen
from mmlattn.utils.arguments import check_choice, check_number, check_whole

from .residual_units import Norm

__all__ = [
    'FUSIONS',
    'MASK_ACTIVATIONS',
    'EncoderDecoder',
    'SoftMask',
    'attention_residual_learning',
    'channel_attention',
    'mixed_attention',
    'naive_attention_learning',
    'pooling',
    'spatial_attention',
]  # fmt: skip

Unit = Callable[[int, int], nn.Module]
"""Makes a residual unit from C_in to C channels."""


def attention_residual_learning(trunk: Tensor, mask: Tensor) -> Tensor:
    """H = (1 + M) T, equation 3: a mask of zeros leaves the trunk as it is."""
    if torch.is_grad_enabled() and (trunk.requires_grad or mask.requires_grad):
        return _ResidualFusion.apply(trunk, mask)
    return trunk.addcmul(mask, trunk)


class _ResidualFusion(torch.autograd.Function):
    """(1 + M) T with its gradients (1 + M) g and T g in one pass each.

    Autograd's own, of ``addcmul`` or of T + M T, takes two to four times as many over tensors that are among the
    largest of the network.
    """

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


def naive_attention_learning(trunk: Tensor, mask: Tensor) -> Tensor:
    """H = M T, equation 1: every module can only lessen what it passes on."""
    return mask * trunk


FUSIONS = dict(arl=attention_residual_learning, nal=naive_attention_learning)
"""How trunk and mask become the module's output."""


def mixed_attention(x: Tensor) -> Tensor:
    """f1, equation 4: the sigmoid of each position and channel."""
    return x.sigmoid()


def channel_attention(x: Tensor) -> Tensor:
    """f2, equation 5: x_i / |x_i|, with the Euclidean norm over the channels of position i.

    Args:
        x (Tensor): Shape (B, C, h, w).
    """
    return F.normalize(widen(x), dim=1).to(x.dtype)


def spatial_attention(x: Tensor, eps: float = 1e-5) -> Tensor:
    """f3, equation 6: the sigmoid of (x - mean) / std over the positions of each channel of each sample.

    Args:
        x (Tensor): Shape (B, C, h, w).
        eps (float): Added to the variance.
    """
    wide = widen(x)
    centred = wide - wide.mean(dim=(2, 3), keepdim=True)
    variance = centred.square().mean(dim=(2, 3), keepdim=True)
    return (centred * (variance + eps).rsqrt()).sigmoid().to(x.dtype)


MASK_ACTIVATIONS = dict(mixed=mixed_attention, channel=channel_attention, spatial=spatial_attention)
"""From mask logits to the mask, section 3.2."""


def pooling(style: str) -> nn.MaxPool2d:
    """Max pooling 3x3, stride 2.

    Args:
        style (str): ``'torch'`` pads by one pixel and rounds down; ``'caffe'`` pads nothing and rounds up, as the
            authors' files do, and needs at least two pixels. Sizes are equal for even inputs, values are not.
    """
    check_choice('pool_style', style, ('torch', 'caffe'))
    return nn.MaxPool2d(3, 2, padding=1) if style == 'torch' else nn.MaxPool2d(3, 2, ceil_mode=True)


class EncoderDecoder(nn.Module):
    """Units at ever lower resolutions and back: everything of the mask but its head.

    Args:
        channels (int): C of every level.
        depth (int): n, number of poolings; 0 keeps the resolution and has the bottom's units alone.
        r (int): Units between one pooling and the next.
        unit (Callable): Makes a residual unit from C_in to C channels.
        pool_style (str): See :func:`pooling`.
        align_corners (bool): Convention of the bilinear interpolation; the authors' is True.
        skip (str): ``'official'``, or ``'port'`` to add e_l itself as well.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        r: int = 1,
        *,
        unit: Unit,
        pool_style: str = 'torch',
        align_corners: bool = True,
        skip: str = 'official',
    ) -> None:
        super().__init__()
        check_whole('r', r, 1)
        check_choice('skip', skip, ('official', 'port'))
        levels = range(depth - 1)
        self.down = nn.ModuleList(_units(unit, channels, r) for _ in levels)
        self.bottom = _units(unit, channels, 2 * r)
        self.skip = nn.ModuleList(unit(channels, channels) for _ in levels)
        self.up = nn.ModuleList(_units(unit, channels, r) for _ in levels)
        self.pool = pooling(pool_style) if depth else nn.Identity()
        self.align_corners = align_corners
        self.adds_encoder = skip == 'port'

    def resize(self, x: Tensor, like: Tensor) -> Tensor:
        """``x`` at the height and width of ``like``, bilinear."""
        return F.interpolate(x, size=like.shape[-2:], mode='bilinear', align_corners=self.align_corners)

    def forward(self, x: Tensor) -> Tensor:
        encoded = []
        for down in self.down:
            x = down(self.pool(x))
            encoded.append(x)
        x = self.bottom(self.pool(x))
        for e, skip, up in reversed(list(zip(encoded, self.skip, self.up, strict=True))):
            x = self.resize(x, e) + skip(e)
            x = up(x + e if self.adds_encoder else x)
        return x


class LocalConvolutions(nn.Sequential):
    """Residual units at the resolution of the trunk: the paper's comparison without sampling, section 4.1.

    Args:
        channels (int): C.
        units (int): Their number.
        unit (Callable): Makes a residual unit from C_in to C channels.
    """

    def __init__(self, channels: int, units: int, *, unit: Unit) -> None:
        super().__init__(*(unit(channels, channels) for _ in range(units)))


class MaskHead(nn.Module):
    """Two 1x1 convolutions to mask logits, with BN and ReLU between them.

    Args:
        width (int): Channels of the branch.
        channels (int): Channels of the mask.
        norm (Callable): Makes a normalisation layer for a number of channels.
        preactivation (bool): BN and ReLU before the first convolution too, as pre-activated units need.
        bias (float, optional): Gives the last convolution a bias of this value at the start.
    """

    def __init__(
        self, width: int, channels: int, *, norm: Norm, preactivation: bool, bias: float | None = None
    ) -> None:
        super().__init__()
        if bias is not None:
            check_number('bias', bias)
        self.norm1 = norm(width) if preactivation else None
        self.conv1 = nn.Conv2d(width, width, 1, bias=False)
        self.norm2 = norm(width)
        self.conv2 = nn.Conv2d(width, channels, 1, bias=bias is not None)
        self.relu = nn.ReLU(inplace=True)
        self.initial_bias = bias

    def init_logits(self, zero: bool) -> None:
        """Set the bias, if there is one, and the weight to 0 where ``zero``: M = sigmoid(bias) everywhere."""
        if zero:
            nn.init.zeros_(self.conv2.weight)
        if self.conv2.bias is not None:
            nn.init.constant_(self.conv2.bias, self.initial_bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.norm1 is not None:
            x = self.relu(self.norm1(x))
        return self.conv2(self.relu(self.norm2(self.conv1(x))))


class SoftMask(nn.Module):
    """M(x), the soft mask for a trunk T(x).

    Args:
        channels (int): C of x, of the trunk and of the mask.
        depth (int): Poolings of the encoder; the paper's rule is until 7x7 at an input of 224.
        r (int): Units between one pooling and the next.
        unit (Callable): Makes a residual unit from C_in to C channels.
        norm (Callable): Makes a normalisation layer for a number of channels.
        preactivation (bool): Whether the units leave their output unnormalised.
        attention (str): ``'mixed'``, ``'channel'`` or ``'spatial'``, see :data:`MASK_ACTIVATIONS`.
        structure (str): ``'encdec'``, or ``'conv'`` for ``conv_units`` units without any sampling.
        conv_units (int): Units of the structure ``'conv'``.
        pool_style (str): See :func:`pooling`.
        align_corners (bool): See :class:`EncoderDecoder`.
        skip (str): ``'official'`` or ``'port'``; the latter adds the trunk before the head, if there is a pooling.
        width (int, optional): Channels inside the branch if they shall be fewer; a 1x1 convolution enters it.
        bias (float, optional): See :class:`MaskHead`.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        r: int = 1,
        *,
        unit: Unit,
        norm: Norm,
        preactivation: bool,
        attention: str = 'mixed',
        structure: str = 'encdec',
        conv_units: int = 3,
        pool_style: str = 'torch',
        align_corners: bool = True,
        skip: str = 'official',
        width: int | None = None,
        bias: float | None = None,
    ) -> None:
        super().__init__()
        check_choice('attention', attention, MASK_ACTIVATIONS)
        check_choice('structure', structure, ('encdec', 'conv'))
        check_whole('the depth of a mask', depth, 0)
        width = channels if width is None else width
        check_whole('the width of a mask', width, 1)
        self.enter = nn.Conv2d(channels, width, 1, bias=False) if width != channels else nn.Identity()
        sampling = dict(pool_style=pool_style, align_corners=align_corners, skip=skip)
        if structure == 'encdec':
            self.body = EncoderDecoder(width, depth, r, unit=unit, **sampling)
        else:
            self.body = LocalConvolutions(width, conv_units, unit=unit)
        self.head = MaskHead(width, channels, norm=norm, preactivation=preactivation, bias=bias)
        self.resizes = structure == 'encdec' and depth > 0
        self.adds_trunk = self.resizes and skip == 'port'
        self.activation = MASK_ACTIVATIONS[attention]

    def forward(self, x: Tensor, trunk: Tensor) -> Tensor:
        """The mask, with the shape of ``trunk`` (B, C, h, w); of ``trunk`` itself only the size is used, unless
        ``skip='port'``.
        """
        d = self.body(self.enter(x))
        if self.resizes:
            d = self.body.resize(d, trunk)
        if self.adds_trunk:
            d = d + trunk
        return self.activation(self.head(d))


def _units(unit: Unit, channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(unit(channels, channels) for _ in range(count)))
