"""The outputs of CNN and transformer backbones in one layout, (B, D, h, w)."""

import math
from collections.abc import Sequence

from torch import Tensor

from mmlattn.utils.errors import UserError


def last_output(feats: Sequence[Tensor] | Tensor) -> Tensor:
    """What heads and necks read: the last of a backbone's outputs, or its only one."""
    return feats[-1] if isinstance(feats, (tuple, list)) else feats


def to_feature_map(
    x: Tensor, channels: int, num_extra_tokens: int = 0, token_grid: tuple[int, int] | None = None
) -> Tensor:
    """A backbone's output as a feature map (B, D, h, w); nothing is copied.

    Args:
        x (Tensor): (B, D, h, w), (B, h, w, D) or tokens (B, N, D), the extra tokens first and then the patches
            in row-major order. Where both four-dimensional readings fit, axis 1 is the channels.
        channels (int): D.
        num_extra_tokens (int): How many leading tokens are no patches (class token, registers).
        token_grid (tuple[int, int], optional): (h, w) of the patches; the square grid when None.

    Raises:
        UserError: If the shape cannot be read so.
    """
    shape = tuple(x.shape)
    if x.dim() == 4:
        if x.shape[1] == channels:
            return x
        if x.shape[3] == channels:
            return x.permute(0, 3, 1, 2)
        raise UserError(
            f'neither axis 1 nor axis 3 of the feature map {shape} has in_channels={channels} entries: set '
            'in_channels to what the backbone gives, or read another of its outputs'
        )
    if x.dim() == 2:
        raise UserError(
            f'expected a feature map (B, D, h, w), (B, h, w, D) or tokens (B, N, D), got pooled features '
            f"{shape}. Keep the locations: neck=None; for ViT and DINOv2 out_type='featmap'; for "
            'ConvNeXt gap_before_final_norm=False; for timm backbones features_only=True'
        )
    if x.dim() != 3:
        raise UserError(f'expected (B, D, h, w), (B, h, w, D) or (B, N, D), got {shape}')
    if x.shape[2] != channels:
        raise UserError(f'axis 2 of the tokens {shape} must have in_channels={channels} entries')
    count = x.shape[1] - num_extra_tokens
    side = math.isqrt(max(count, 0))
    height, width = (side, side) if token_grid is None else token_grid
    if count < 1 or height * width != count:
        raise UserError(
            f'{x.shape[1]} tokens less num_extra_tokens={num_extra_tokens} leave {count} patches, which do not '
            f"form a {height} x {width} grid; set out_type='featmap' of the backbone, or of the head "
            'num_extra_tokens (1 with a class token, 2 for distilled DeiT) or token_grid=(h, w)'
        )
    return x[:, num_extra_tokens:].transpose(1, 2).reshape(-1, channels, height, width)
