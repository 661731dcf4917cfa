"""Zooming in on a square of a picture, batched, between pixels, with a gradient by the square."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmlattn.models.layers.spatial_transformer import compose_theta, sample_regions

from .boxcar import Boxcar, boxcar_gradient
from .squares import squares_to_theta

__all__ = ['CROP_GRADIENTS', 'LossScale', 'attention_crop', 'whole_picture', 'zoom']

CROP_GRADIENTS = ('boxcar', 'sampler')
"""Where the gradient by the square comes from."""


def zoom(
    x: Tensor,
    theta: Tensor,
    size: int | tuple[int, int],
    antialias: bool = False,
    align_corners: bool = False,
) -> Tensor:
    """Read a region of each picture at another size by bilinear interpolation.

    Pixels are cells, as for ``cv2.INTER_LINEAR``; at the border of the region the real neighbours are read, at the
    border of the picture the outermost pixel.

    Args:
        x (Tensor): Pictures, shape (B, C, H, W).
        theta (Tensor): Regions, shape (B, 4), float32, see ``spatial_transformer``.
        size (int | tuple[int, int]): (height, width) of the result, in pixels.
        antialias (bool): Whether, where several pixels fall on one, their mean is taken: blended from x halved once,
            twice and so on (mip maps). At a whole power of two it is the mean over these pixels.
        align_corners (bool): Whether pixels are points, the outermost of them on the region's border.

    Returns:
        Tensor: Shape (B, C, height, width), of the type of ``x``.
    """
    region = sample_regions(x.to(theta.dtype), theta, size, align_corners, 'border')
    if antialias:
        height, width = (size, size) if isinstance(size, int) else size
        coarsest = max(x.shape[-2] / height, x.shape[-1] / width)
        pixels = theta[:, :2].abs() * theta.new_tensor((x.shape[-1] / width, x.shape[-2] / height))
        halvings = pixels.amax(dim=1).clamp(min=1).log2()
        for level in range(math.ceil(math.log2(max(coarsest, 1)))):
            x = _halve(x)
            coarser = sample_regions(x.to(theta.dtype), theta, size, align_corners, 'border')
            region = region.lerp(coarser, (halvings - level).clamp(0, 1)[:, None, None, None])
    return region.to(x.dtype)


def _halve(x: Tensor) -> Tensor:
    height, width = (int(side) for side in x.shape[-2:])
    if height % 2 == 0 and width % 2 == 0:
        return F.avg_pool2d(x, 2)
    return F.adaptive_avg_pool2d(
        x, (-(-height // 2), -(-width // 2))
    )  # exporters know it for some sizes only


def attention_crop(
    x: Tensor,
    squares: Tensor,
    size: int | tuple[int, int],
    grad: str = 'sampler',
    boxcar: Boxcar = Boxcar(),  # noqa: B008
    outer: Tensor | None = None,
    outer_size: tuple[int, int] | None = None,
    loss_scale: 'LossScale | None' = None,
    antialias: bool = False,
    align_corners: bool = False,
) -> Tensor:
    """Zoom in on a square of each picture.

    Args:
        x (Tensor): Pictures, shape (B, C, H, W).
        squares (Tensor): Shape (B, 3), float32 at least, see ``attention_squares``.
        size (int | tuple[int, int]): (height, width) of the result, in pixels.
        grad (str): The gradient by the square: 'sampler' is that of the interpolation; 'boxcar' that of the
            authors' released layer, see ``boxcar``. The gradient by the picture is the interpolation's.
        boxcar (Boxcar): Settings of the latter.
        outer (Tensor, optional): Theta (B, 4) of the frame that the squares lie in, where that is a region of x and
            not x itself; it gets no gradient.
        outer_size (tuple[int, int], optional): (height, width) in pixels at which that frame was looked at.
        loss_scale (LossScale, optional): What the loss is multiplied by, which 'boxcar' cannot see by itself.
        antialias (bool): As for :func:`zoom`, as is ``align_corners``.

    Returns:
        Tensor: Shape (B, C, height, width).
    """
    theta = squares_to_theta(squares)
    if outer is not None:
        theta = compose_theta(outer.detach(), theta)
    if grad == 'sampler':
        return zoom(x, theta, size, antialias, align_corners)
    crop = zoom(x, theta.detach(), size, antialias, align_corners)
    if not (torch.is_grad_enabled() and squares.requires_grad):
        return crop
    settings = crop, squares, outer_size or tuple(x.shape[-2:]), boxcar
    if loss_scale is None:
        return _LendGradient.apply(*settings, LossScale())
    return _lend_scaled_gradient(*settings, loss_scale)


class LossScale:
    """The factor between a loss and what is differentiated: of mixed precision, of accumulated steps.

    The boxcar gradient is normalised, so it would lose that factor, by which the optimizer divides again.

    Args:
        weight (float): A factor of its own, on top.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight
        self._grad: Tensor | float = 1.0

    @torch.compiler.disable
    def watch(self, loss: Tensor) -> None:
        """Take the gradient that arrives at a loss, a scalar, during the backward pass."""
        if loss.requires_grad:
            loss.register_hook(self._note)

    def value(self) -> Tensor | float:
        """Of the backward pass under way."""
        return self.weight * self._grad

    def _note(self, grad: Tensor) -> None:
        self._grad = grad.detach().float()


@torch.compiler.disable  # a compiled backward pass would take the factor for a constant
def _lend_scaled_gradient(*settings) -> Tensor:
    return _LendGradient.apply(*settings)


class _LendGradient(torch.autograd.Function):
    """The crop itself, with the boxcar gradient by the squares."""

    @staticmethod
    def forward(
        ctx, crop: Tensor, squares: Tensor, outer_size: tuple[int, int], boxcar: Boxcar, loss_scale: LossScale
    ) -> Tensor:
        ctx.save_for_backward(squares)
        ctx.settings = outer_size, boxcar, loss_scale
        return crop.view_as(crop)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_crop: Tensor) -> tuple[Tensor | None, ...]:
        (squares,) = ctx.saved_tensors
        outer_size, boxcar, loss_scale = ctx.settings
        grad_squares = boxcar_gradient(grad_crop, squares, outer_size, boxcar) * loss_scale.value()
        return grad_crop, grad_squares.to(squares.dtype), None, None, None


def whole_picture(x: Tensor) -> Tensor:
    """Theta of whole pictures: (1, 1, 0, 0) for each of (B, ...), float32 at least."""
    theta = torch.tensor(
        (1.0, 1.0, 0.0, 0.0), device=x.device, dtype=torch.promote_types(x.dtype, torch.float32)
    )
    return theta.expand(x.shape[0], 4)  # len(x) would be a constant in an exported graph
