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

Shapes: x, T and M have (B, C, h, w). Arguments that recur: ``unit`` makes a residual unit from C_in to C channels,
``norm`` a normalisation layer for a number of channels, ``channels`` is C, and ``depth`` is n; the paper's rule is to
pool until 7x7 at an input of 224.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mmlattn.models.layers.precision import widen
from mmlattn.utils.arguments import check_whole

from .residual_units import Norm, Unit, stack

LOCAL_UNITS = 3
"""Units of a mask without sampling, the paper's comparison in section 4.1."""


def mixed_attention(x: Tensor) -> Tensor:
    """f1, equation 4: the sigmoid of each position and channel."""
    return x.sigmoid()


def channel_attention(x: Tensor) -> Tensor:
    """f2, equation 5: x_i / |x_i|, with the Euclidean norm over the channels of position i."""
    return F.normalize(widen(x), dim=1).to(x.dtype)


def spatial_attention(x: Tensor) -> Tensor:
    """f3, equation 6: the sigmoid of (x - mean) / std over the positions of each channel of each sample."""
    wide = widen(x)
    centred = wide - wide.mean(dim=(2, 3), keepdim=True)
    variance = centred.square().mean(dim=(2, 3), keepdim=True)
    return (centred * (variance + 1e-5).rsqrt()).sigmoid().to(x.dtype)


MASK_ACTIVATIONS = dict(mixed=mixed_attention, channel=channel_attention, spatial=spatial_attention)
"""From mask logits to the mask, section 3.2."""


def pooling(style: str) -> nn.MaxPool2d:
    """Max pooling 3x3, stride 2.

    ``'torch'`` pads by one pixel and rounds down; ``'caffe'`` pads nothing and rounds up, as the authors' files do,
    and needs at least two pixels. Sizes are equal for even inputs, values are not.
    """
    return nn.MaxPool2d(3, 2, padding=1) if style == 'torch' else nn.MaxPool2d(3, 2, ceil_mode=True)


class EncoderDecoder(nn.Module):
    """Units at ever lower resolutions and back: everything of the mask but its head.

    A ``depth`` of 0 keeps the resolution and has the bottom's units alone. ``skip='port'`` adds e_l itself as well.
    The authors align the corners of the bilinear interpolation.
    """

    def __init__(
        self, channels: int, depth: int, r: int = 1, *, unit: Unit, pool_style: str = 'torch',
        align_corners: bool = True, skip: str = 'official',
    ) -> None:  # fmt: skip
        super().__init__()
        levels = range(depth - 1)
        self.down = nn.ModuleList(stack(unit, channels, r) for _ in levels)
        self.bottom = stack(unit, channels, 2 * r)
        self.skip = nn.ModuleList(unit(channels, channels) for _ in levels)
        self.up = nn.ModuleList(stack(unit, channels, r) for _ in levels)
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


class MaskHead(nn.Module):
    """Two 1x1 convolutions from the width of the branch to mask logits, with BN and ReLU between them.

    ``preactivation`` puts BN and ReLU before the first convolution too, as pre-activated units need; ``bias`` gives
    the last one a bias that starts at this value.
    """

    def __init__(
        self, width: int, channels: int, *, norm: Norm, preactivation: bool, bias: float | None = None
    ) -> None:
        super().__init__()
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
    """M(x), the soft mask for a trunk T(x); arguments that recur are explained at the top of this file.

    Args:
        r (int): Units between one pooling and the next.
        preactivation (bool): Whether the units leave their output unnormalised.
        attention (str): Key of ``MASK_ACTIVATIONS``.
        structure (str): ``'encdec'``, or ``'conv'`` for three units without any sampling.
        skip (str): ``'official'`` or ``'port'``; the latter adds the trunk before the head, if there is a pooling.
        width (int, optional): Channels inside the branch if they shall be fewer; a 1x1 convolution enters it.
        bias (float, optional): See :class:`MaskHead`.
        **sampling: ``pool_style`` and ``align_corners`` of :class:`EncoderDecoder`.
    """

    def __init__(
        self, channels: int, depth: int, r: int = 1, *, unit: Unit, norm: Norm, preactivation: bool,
        attention: str = 'mixed', structure: str = 'encdec', skip: str = 'official', width: int | None = None,
        bias: float | None = None, **sampling,
    ) -> None:  # fmt: skip
        super().__init__()
        check_whole('the depth of a mask', depth, 0)
        width = channels if width is None else width
        self.enter = nn.Conv2d(channels, width, 1, bias=False) if width != channels else nn.Identity()
        if structure == 'encdec':
            self.body = EncoderDecoder(width, depth, r, unit=unit, skip=skip, **sampling)
        else:
            self.body = stack(unit, width, LOCAL_UNITS)
        self.head = MaskHead(width, channels, norm=norm, preactivation=preactivation, bias=bias)
        self.resizes = structure == 'encdec' and depth > 0
        self.adds_trunk = self.resizes and skip == 'port'
        self.activation = MASK_ACTIVATIONS[attention]

    def forward(self, x: Tensor, trunk: Tensor) -> Tensor:
        """The mask; of ``trunk`` only the size is used, unless ``skip='port'``."""
        d = self.body(self.enter(x))
        if self.resizes:
            d = self.body.resize(d, trunk)
        if self.adds_trunk:
            d = d + trunk
        return self.activation(self.head(d))
