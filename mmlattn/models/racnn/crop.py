"""Zooming in on a square of a picture, batched, between pixels, with a gradient by the square (CVPR 2017)."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmlattn.models.layers.closed_form import gradient_is_needed
from mmlattn.models.layers.precision import widen
from mmlattn.models.layers.spatial_transformer import sample_regions
from mmlattn.utils.arguments import check_choice, check_number, complete_options, whole_numbers
from mmlattn.utils.errors import UserError

from .boxcar import Boxcar, boxcar_gradient
from .squares import squares_to_theta

CROP_GRADIENTS = ('boxcar', 'sampler')
"""Where the gradient by the square comes from."""


def zoom(x: Tensor, theta: Tensor, size: int | tuple[int, int], antialias: bool = False) -> Tensor:
    """Read a region of each picture at another size by bilinear interpolation.

    Pixels are cells, as for ``cv2.INTER_LINEAR``; at the border of the region the real neighbours are read, at the
    border of the picture the outermost pixel.

    Args:
        x (Tensor): Pictures, shape (B, C, H, W).
        theta (Tensor): Regions, shape (B, 4), float32, see ``layers/spatial_transformer.py``.
        size (int | tuple[int, int]): (height, width) in pixels of the result, (B, C, height, width).
        antialias (bool): Whether, where several pixels fall on one, their mean is taken: blended from x halved once,
            twice and so on (mip maps). At a whole power of two it is the mean over these pixels.
    """
    region = sample_regions(x.to(theta.dtype), theta, size, padding_mode='border')
    if antialias:
        height, width = (size, size) if isinstance(size, int) else size
        coarsest = max(x.shape[-2] / height, x.shape[-1] / width)
        pixels = theta[:, :2].abs() * theta.new_tensor((x.shape[-1] / width, x.shape[-2] / height))
        halvings = pixels.amax(dim=1).clamp(min=1).log2()
        for level in range(math.ceil(math.log2(max(coarsest, 1)))):
            x = _halve(x)
            coarser = sample_regions(x.to(theta.dtype), theta, size, padding_mode='border')
            region = region.lerp(coarser, (halvings - level).clamp(0, 1)[:, None, None, None])
    return region.to(x.dtype)


def _halve(x: Tensor) -> Tensor:
    height, width = (int(side) for side in x.shape[-2:])
    if height % 2 == 0 and width % 2 == 0:
        return F.avg_pool2d(x, 2)
    # Exporters know it for some sizes only.
    return F.adaptive_avg_pool2d(x, (-(-height // 2), -(-width // 2)))


def attention_crop(
    x: Tensor,
    squares: Tensor,
    size: int | tuple[int, int],
    grad: str = 'sampler',
    boxcar: Boxcar = Boxcar(),  # noqa: B008
    theta: Tensor | None = None,
    frame_size: tuple[int, int] | None = None,
    loss_scale: 'LossScale | None' = None,
    antialias: bool = False,
) -> Tensor:
    """Zoom in on a square of each picture.

    Args:
        x (Tensor): Pictures, shape (B, C, H, W).
        squares (Tensor): Shape (B, 3), at least float32, see ``squares.py``.
        size (int | tuple[int, int]): (height, width) in pixels of the result, (B, C, height, width).
        grad (str): The gradient by the square: 'sampler' is that of the interpolation, 'boxcar' that of the authors'
            released layer, see ``boxcar.py``. The gradient by the picture is always the interpolation's.
        boxcar (Boxcar): Settings of 'boxcar'.
        theta (Tensor, optional): What to read of x, shape (B, 4), where the squares lie in a part of x. By default
            they lie in x.
        frame_size (tuple[int, int], optional): (height, width) in pixels at which that part was looked at.
        loss_scale (LossScale, optional): What the loss is multiplied by, which 'boxcar' cannot see by itself.
        antialias (bool): As for :func:`zoom`.
    """
    if theta is None:
        theta = squares_to_theta(squares)
    if grad == 'sampler':
        return zoom(x, theta, size, antialias)
    crop = zoom(x, theta.detach(), size, antialias)
    if not gradient_is_needed(squares):
        return crop
    lend = _lend_scaled_gradient if loss_scale else _LendGradient.apply
    return lend(crop, squares, frame_size or tuple(x.shape[-2:]), boxcar, loss_scale or LossScale())


class LossScale:
    """The factor between a loss and what is differentiated: of mixed precision, of accumulated steps.

    The boxcar gradient is normalised, so it would lose that factor, by which the optimizer divides again. ``weight``
    is the weight of the loss, a constant factor on top.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight
        self.value: Tensor | float = weight

    @torch.compiler.disable
    def watch(self, loss: Tensor) -> None:
        """Take the gradient that arrives at a loss, a scalar, during the backward pass."""
        if loss.requires_grad:
            loss.register_hook(self._note)

    def _note(self, grad: Tensor) -> None:
        self.value = self.weight * grad.detach().float()


class _LendGradient(torch.autograd.Function):
    """The crop itself, with the boxcar gradient by the squares."""

    @staticmethod
    def forward(
        ctx, crop: Tensor, squares: Tensor, frame_size: tuple[int, int], boxcar: Boxcar, loss_scale: LossScale
    ) -> Tensor:
        ctx.save_for_backward(squares)
        ctx.settings = frame_size, boxcar, loss_scale
        return crop.view_as(crop)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_crop: Tensor) -> tuple[Tensor | None, ...]:
        (squares,) = ctx.saved_tensors
        frame_size, boxcar, loss_scale = ctx.settings
        grad_squares = boxcar_gradient(grad_crop, squares, frame_size, boxcar) * loss_scale.value
        return grad_crop, grad_squares.to(squares.dtype), None, None, None


# A compiled backward pass would take the scale for a constant.
_lend_scaled_gradient = torch.compiler.disable(_LendGradient.apply)


def whole_picture(x: Tensor) -> Tensor:
    """Theta of whole pictures: (1, 1, 0, 0) for each of (B, ...), at least float32."""
    theta = widen(torch.tensor((1.0, 1.0, 0.0, 0.0), device=x.device, dtype=x.dtype))
    # len(x) would be a constant in an exported graph.
    return theta.expand(x.shape[0], 4)


def crop_options(
    crop: Mapping | None, glance: int | Sequence[int] | None
) -> tuple[dict, str, tuple[int, int] | None]:
    """From the arguments ``crop`` and ``glance`` of ``RACNN`` to those of :func:`attention_crop`, ``resample_from``,
    and (height, width) of the glance.

    Raises:
        UserError: For a wrong option.
    """
    defaults = dict(size=224, grad='boxcar', resample_from='parent', antialias=False, **Boxcar()._asdict())
    options = complete_options('crop', crop or {}, defaults)
    check_choice('crop.grad', options['grad'], CROP_GRADIENTS)
    check_choice('crop.resample_from', options['resample_from'], ('parent', 'image'))
    options['size'] = _read_size('crop.size', options['size'])
    if glance is not None and options['resample_from'] == 'parent':
        raise UserError(
            f'glance={glance} shows the first scale a smaller picture, in which there is nothing more to be seen by '
            "zooming: set crop=dict(resample_from='image')"
        )
    for name in Boxcar._fields:
        check_number(f'crop.{name}', options[name], least=0)
    options['boxcar'] = Boxcar(**{name: options.pop(name) for name in Boxcar._fields})
    resample_from = options.pop('resample_from')
    return options, resample_from, None if glance is None else _read_size('glance', glance)


def _read_size(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) from one or two whole numbers."""
    numbers = whole_numbers(name, size, 1)
    if len(numbers) > 2:
        raise UserError(f'{name} must be a side, or (height, width), got {size!r}')
    return (numbers * 2)[:2]
