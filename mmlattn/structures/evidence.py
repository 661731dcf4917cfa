"""Evidence: where a model looked, as fields of mmpretrain's ``DataSample``.

A head or classifier built with ``with_evidence=True`` (or asked so in ``predict``) adds the fields it can
tell. The visualiser, the localisation metrics and the inferencer read them by these names and no others.

====================  ===================  ==================================================================
field                 shape, type          meaning
====================  ===================  ==================================================================
``attention_maps``    (C, h, w) float      where class c was read from; sums to 1 over h x w for each class,
                                           all zero for a class a decoder never emitted; the peak is the
                                           centre of the arg-max cell
``regions``           (K, 4) float         boxes looked at, in order, xyxy in [0, 1] of the network input
``region_scores``     (K, C) float         what each look said, row by row as ``regions``; a class was read from
                                           the row with its highest score, the first of equals
``fused_scores``      (K - 1, C) float     what looks that zoom in say together: row k is the first k + 2 looks
``label_path``        (n,) long            labels in the order a decoder emitted them
``path_logprob``      () float             log-probability of that path
``trunk_masks``       list of (C', h, w)   soft masks of attention modules, in network order; no attention maps:
                      float                they weigh features, not classes, and sum to nothing in particular
====================  ===================  ==================================================================

The metainfo ``trunk_mask_names`` names the modules of ``trunk_masks``. The metainfo ``region_names`` names the looks
of a model that zooms in: each region then lies in the one before it, the first is the whole picture, and each was
looked at enlarged.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmlattn.utils.errors import UserError

__all__ = ['EVIDENCE_FIELDS', 'attention_peaks', 'set_attention_maps', 'set_regions', 'set_trunk_masks']

EVIDENCE_FIELDS = (
    'attention_maps', 'regions', 'region_scores', 'fused_scores', 'label_path', 'path_logprob', 'trunk_masks',
)  # fmt: skip


def set_attention_maps(data_samples: Sequence, maps: Tensor) -> None:
    """Write one batch of attention maps to its data samples.

    Args:
        data_samples (Sequence[DataSample]): One sample per image; changed in place.
        maps (Tensor): Shape (B, C, h, w); each (h, w) sums to 1, or is all zero.

    Raises:
        UserError: If ``maps`` is not four-dimensional or the batch sizes differ.
    """
    if maps.dim() != 4 or len(maps) != len(data_samples):
        raise UserError(
            f'attention maps must have shape (B, C, h, w) with B = {len(data_samples)} samples, '
            f'got {tuple(maps.shape)}'
        )
    for sample, sample_maps in zip(data_samples, maps.detach().float(), strict=True):
        # A view would keep, and dump, the whole batch.
        sample.set_field(sample_maps.clone(), 'attention_maps')


def set_regions(
    data_samples: Sequence,
    regions: Tensor,
    scores: Tensor | None = None,
    *,
    names: Sequence[str] | None = None,
    fused_scores: Tensor | None = None,
) -> None:
    """Write one batch of regions to its data samples, clipped to the picture.

    Args:
        data_samples (Sequence[DataSample]): One sample per image; changed in place.
        regions (Tensor): Shape (B, K, 4), xyxy as fractions of the network input; may stick out of it.
        scores (Tensor, optional): Shape (B, K, C), what each region said.
        names (Sequence[str], optional): K names of looks that zoom in, the same for all samples.
        fused_scores (Tensor, optional): Shape (B, K - 1, C), what the first k + 2 regions say together.

    Raises:
        UserError: If the shapes differ from these or from each other, or there are not K names.
    """
    if regions.dim() != 3 or regions.shape[0] != len(data_samples) or regions.shape[2] != 4:
        raise UserError(
            f'regions must have shape (B, K, 4) with B = {len(data_samples)} samples, got {tuple(regions.shape)}'
        )
    if scores is not None and (scores.dim() != 3 or scores.shape[:2] != regions.shape[:2]):
        raise UserError(
            f'region scores must have shape (B, K, C) with (B, K) = {tuple(regions.shape[:2])}, got '
            f'{tuple(scores.shape)}'
        )
    batch, looks, _ = regions.shape
    if fused_scores is not None and (fused_scores.dim() != 3 or fused_scores.shape[:2] != (batch, looks - 1)):
        raise UserError(
            f'fused scores must have shape (B, K - 1, C) with (B, K - 1) = {(batch, looks - 1)}, got '
            f'{tuple(fused_scores.shape)}'
        )
    if names is not None and len(names) != looks:
        raise UserError(f'need a name for each of {looks} regions, got {tuple(names)}')
    told = dict(region_scores=scores, fused_scores=fused_scores)
    for index, sample in enumerate(data_samples):
        sample.set_field(regions[index].detach().float().clamp(0, 1), 'regions')
        for field, values in told.items():
            if values is not None:
                sample.set_field(values[index].detach().float().clone(), field)
        if names is not None:
            sample.set_metainfo(dict(region_names=tuple(names)))


def set_trunk_masks(data_samples: Sequence, masks: Mapping[str, Tensor]) -> None:
    """Write the soft masks of one batch to its data samples.

    Args:
        data_samples (Sequence[DataSample]): One sample per image; changed in place.
        masks (Mapping[str, Tensor]): By the name of the attention module, in network order, each of shape
            (B, C', h, w), as ``mmlattn.models.layers.record_masks`` yields them.

    Raises:
        UserError: If there are no masks, or one is not four-dimensional or of another batch size.
    """
    if not masks:
        raise UserError('there are no masks to write: record them while the model runs')
    for name, mask in masks.items():
        if mask.dim() != 4 or len(mask) != len(data_samples):
            raise UserError(
                f'the mask of {name} must have shape (B, C, h, w) with B = {len(data_samples)} samples, got '
                f'{tuple(mask.shape)}'
            )
    for index, sample in enumerate(data_samples):
        sample.set_field([mask[index].detach().float().clone() for mask in masks.values()], 'trunk_masks')
        sample.set_metainfo(dict(trunk_mask_names=tuple(masks)))


def attention_peaks(maps: Tensor) -> Tensor:
    """Centre of the arg-max cell of each map.

    Args:
        maps (Tensor): Shape (..., h, w).

    Returns:
        Tensor: Shape (..., 2), (x, y) in [0, 1] of the network input; ties go to the first cell in row-major
        order.
    """
    height, width = maps.shape[-2:]
    index = maps.flatten(-2).argmax(dim=-1)
    x = (index % width + 0.5) / width
    y = (torch.div(index, width, rounding_mode='floor') + 0.5) / height
    return torch.stack((x, y), dim=-1)
