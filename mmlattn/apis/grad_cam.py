"""Grad-CAM of a classifier's last feature map, by the package ``grad-cam``: what our evidence is compared with."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mmlattn.models.layers.feature_layout import last_output
from mmlattn.utils.errors import UserError


class GradCAMMaps:
    """Maps by Grad-CAM (Selvaraju et al., ICCV 2017) where a backbone ends and neck and head begin.

    Args:
        model (ImageClassifier): With ``backbone`` and ``head``, in evaluation mode; the head's ``forward`` gives
            scores (B, C) that have a gradient.

    Raises:
        UserError: Without the package, or for a model that is not made of these parts.
    """

    def __init__(self, model: nn.Module) -> None:
        try:
            from pytorch_grad_cam import GradCAM
            from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
        except ImportError as error:
            raise UserError(
                f'Grad-CAM needs the package grad-cam ({error}): pip install --no-deps -r requirements/grad-cam.txt'
            ) from error
        parts = dict(model.named_children())
        if 'backbone' not in parts or 'head' not in parts:
            raise UserError(
                f'{type(model).__name__} is not made of a backbone and a head, between which Grad-CAM looks: compare '
                'with other orders alone, --orders random centre'
            )
        self.backbone, self.target = parts['backbone'], ClassifierOutputTarget
        self.rest = _AfterBackbone(parts.get('neck'), parts['head'])
        self.cam = GradCAM(self.rest, [self.rest.features])

    def __call__(self, inputs: Tensor, labels: Sequence[int]) -> np.ndarray:
        """Maps (n, h, w) of n classes of one picture, each from 0 to 1 or all zero, from its input (1, 3, H, W)."""
        with torch.no_grad():
            features = last_output(self.backbone(inputs))
        if features.dim() != 4:
            raise UserError(
                f'Grad-CAM reads a feature map (B, D, h, w), the backbone gives {tuple(features.shape)}: compare '
                'with other orders alone, --orders random centre'
            )
        with torch.enable_grad():
            repeated = features.repeat(len(labels), 1, 1, 1).requires_grad_()
            if not self.rest(repeated[:1]).requires_grad:
                raise UserError(
                    f'the scores of {type(self.rest.head).__name__} have no gradient, which Grad-CAM needs: compare '
                    'with other orders alone, --orders random centre'
                )
            return self.cam(repeated, [self.target(label) for label in labels])


class _AfterBackbone(nn.Module):
    """From a feature map (B, D, h, w) to scores (B, C)."""

    def __init__(self, neck: nn.Module | None, head: nn.Module) -> None:
        super().__init__()
        self.features = nn.Identity()  # what the package hooks
        self.neck, self.head = neck, head

    def forward(self, x: Tensor) -> Tensor:
        feats = (self.features(x),)
        return self.head(feats if self.neck is None else self.neck(feats))
