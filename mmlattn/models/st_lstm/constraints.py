"""What keeps regions apart, small and upright: the terms of the localisation loss of Wang et al., ICCV 2017.

Each function gives one number for each region, shape (..., K), from theta = (s_x, s_y, t_x, t_y), shape (..., K, 4),
see ``layers/spatial_transformer.py``. Overlap is not the paper's.
"""

import torch
from torch import Tensor

from mmlattn.models.layers.spatial_transformer import theta_to_boxes


def scale_penalty(theta: Tensor, alpha: float = 0.5) -> Tensor:
    """l_S = max(|s_x| - alpha, 0)^2 + max(|s_y| - alpha, 0)^2: regions should be no larger than alpha."""
    return (theta[..., :2].abs() - alpha).clamp(min=0).square().sum(dim=-1)


def anchor_penalty(theta: Tensor, anchors: Tensor, mask: Tensor) -> Tensor:
    """l_A = ((t_x - c_x)^2 + (t_y - c_y)^2) / 2: regions should look at different places.

    Args:
        theta (Tensor): Shape (..., K, 4).
        anchors (Tensor): The points c, shape (K, 2).
        mask (Tensor): Shape (K,), bool; regions where it is false pay 0.
    """
    return (theta[..., 2:] - anchors).square().sum(dim=-1) / 2 * mask


def positive_penalty(theta: Tensor, beta: float = 0.1) -> Tensor:
    """l_P = max(beta - s_x, 0) + max(beta - s_y, 0): regions should not be mirrored, nor vanish."""
    return (beta - theta[..., :2]).clamp(min=0).sum(dim=-1)


def overlap_penalty(theta: Tensor) -> Tensor:
    """The mean IoU of each region with the others of its picture; 0 for a single region."""
    iou = pairwise_iou(theta_to_boxes(theta))
    count = iou.shape[-1]
    others = 1 - torch.eye(count, dtype=iou.dtype, device=iou.device)
    return (iou * others).sum(dim=-1) / max(count - 1, 1)


def pairwise_iou(boxes: Tensor) -> Tensor:
    """Intersection over union of all boxes of a picture with each other; 0 for two boxes without area.

    ``torchvision.ops.box_iou`` takes the boxes of one picture only.

    Args:
        boxes (Tensor): Shape (..., K, 4), xyxy.

    Returns:
        Tensor: Shape (..., K, K).
    """
    a, b = boxes[..., :, None, :], boxes[..., None, :, :]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    intersection = sides.prod(dim=-1)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)
    union = area[..., :, None] + area[..., None, :] - intersection
    return intersection / union.clamp(min=torch.finfo(boxes.dtype).tiny)
