"""Soft masks read while a model runs, without a change to what it returns."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from mmlattn.utils.errors import UserError

from .soft_mask import SoftMask


def soft_masks(model: nn.Module) -> dict[str, SoftMask]:
    """The soft masks inside a model, in network order, by the name of the attention module that holds each."""
    named = ((name, module) for name, module in model.named_modules() if isinstance(module, SoftMask))
    # The model itself may be that module.
    return {
        name.removeprefix('_orig_mod.').removesuffix('mask').removesuffix('.') or 'attention': module
        for name, module in named
    }


def backbone_masks(model: nn.Module) -> dict[str, SoftMask]:
    """Those that are evidence: a backbone that sees parts of the picture, as in RA-CNN, has masks of parts alone."""
    return {name: mask for name, mask in soft_masks(model).items() if name.startswith('backbone.')}


@contextmanager
def record_masks(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the soft masks of every attention module inside a model.

    Yields:
        dict[str, Tensor]: The masks of the latest forward pass, detached, (B, C', h, w), by the name of the attention
        module (``'backbone.stage1.attention1'``), in network order. Compiled models run eagerly meanwhile.

    Raises:
        UserError: If the model has no soft mask.

    Example:
        >>> import torch
        >>> from mmlattn.models import ResidualAttentionNet
        >>> from mmlattn.models.ran.mask_recording import record_masks
        >>> model = ResidualAttentionNet(dict(channels=(32, 32, 32, 32)))
        >>> with record_masks(model) as masks, torch.no_grad():
        ...     features = model(torch.zeros(2, 3, 64, 64))
        >>> masks['stage1.attention1'].shape
        torch.Size([2, 32, 16, 16])
    """
    named = soft_masks(model)
    if not named:
        raise UserError(
            f'{type(model).__name__} has no soft mask to record; attention modules are in ResidualAttentionNet and '
            'in stages that ResidualAttentionWrapper attends to'
        )
    masks: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, args: tuple, mask: Tensor) -> None:
        masks[name] = mask.detach()

    handles = []
    for owner, module in named.items():
        handles.append(module.register_forward_hook(partial(keep, owner)))
    try:
        # What was compiled before would run without the hooks.
        with torch.compiler.set_stance('force_eager'):
            yield masks
    finally:
        for handle in handles:
            handle.remove()
