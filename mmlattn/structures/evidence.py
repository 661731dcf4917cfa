"""Evidence: where a model looked, as fields of mmpretrain's ``DataSample``.

A head or classifier built with ``with_evidence=True`` (or asked so in ``predict``) adds the fields it can
tell. The visualizer, the localisation metrics and the inferencer read them by these names and no others.

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
looked at enlarged. What is written or read with another shape is refused with a ``UserError``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmlattn.utils.arguments import check_choice
from mmlattn.utils.arrays import as_array
from mmlattn.utils.errors import UserError

from .labels import listed_labels

EVIDENCE_FIELDS = (
    'attention_maps', 'regions', 'region_scores', 'fused_scores', 'label_path', 'path_logprob', 'trunk_masks',
)  # fmt: skip
#: The two kinds of evidence that say where each class was seen, and the fields that each of them needs.
PLACES = dict(attention_maps=('attention_maps',), regions=('regions', 'region_scores'))
EVIDENCE_KINDS = ('auto', *PLACES)


def set_attention_maps(data_samples: Sequence, maps: Tensor) -> None:
    """Write attention maps (B, C, h, w), each of which sums to 1 or is all zero, to their B data samples."""
    _check_shape('attention maps', maps, len(data_samples), 'C', 'h', 'w')
    _set_rows(data_samples, 'attention_maps', maps)


def set_regions(
    data_samples: Sequence,
    regions: Tensor,
    scores: Tensor | None = None,
    *,
    names: Sequence[str] | None = None,
    fused_scores: Tensor | None = None,
) -> None:
    """Write one batch of regions to its B data samples, clipped to the picture.

    Args:
        data_samples (Sequence[DataSample]): B samples, changed in place.
        regions (Tensor): Shape (B, K, 4), xyxy as fractions of the network input; may stick out of it.
        scores (Tensor, optional): Shape (B, K, C), what each region said.
        names (Sequence[str], optional): K names of looks that zoom in, the same for all samples.
        fused_scores (Tensor, optional): Shape (B, K - 1, C), what the first k + 2 regions say together.
    """
    _check_shape('regions', regions, len(data_samples), 'K', 4)
    batch, looks, _ = regions.shape
    if names is not None and len(names) != looks:
        raise UserError(f'need a name for each of {looks} regions, got {tuple(names)}')
    _set_rows(data_samples, 'regions', regions.clamp(0, 1))
    for field, values, rows in (('region_scores', scores, looks), ('fused_scores', fused_scores, looks - 1)):
        if values is not None:
            _check_shape(field, values, batch, rows, 'C')
            _set_rows(data_samples, field, values)
    if names is not None:
        for sample in data_samples:
            sample.set_metainfo(dict(region_names=tuple(names)))


def set_trunk_masks(data_samples: Sequence, masks: Mapping[str, Tensor]) -> None:
    """Write the soft masks of one batch to its B data samples.

    ``masks`` holds (B, C', h, w) by the name of the attention module, in network order, as ``record_masks`` of
    ``mmlattn/models/ran/mask_recording.py`` yields them.
    """
    if not masks:
        raise UserError('there are no masks to write: record them while the model runs')
    for name, mask in masks.items():
        _check_shape(f'the mask of {name}', mask, len(data_samples), 'C', 'h', 'w')
    for index, sample in enumerate(data_samples):
        sample.set_field([mask[index].detach().float().clone() for mask in masks.values()], 'trunk_masks')
        sample.set_metainfo(dict(trunk_mask_names=tuple(masks)))


def _check_shape(name: str, values: Tensor, *shape: int | str) -> None:
    fits = all(isinstance(want, str) or want == got for want, got in zip(shape, values.shape, strict=False))
    if values.dim() != len(shape) or not fits:
        wanted = ', '.join(map(str, shape))
        raise UserError(f'{name} of {shape[0]} samples must have shape ({wanted}), got {tuple(values.shape)}')


def _set_rows(data_samples: Sequence, field: str, values: Tensor) -> None:
    for sample, row in zip(data_samples, values.detach().float(), strict=True):
        # A view would keep, and dump, the whole batch.
        sample.set_field(row.clone(), field)


def attention_peaks(maps: Tensor) -> Tensor:
    """Centre of the first cell of each map (..., h, w) with its maximum: (..., 2), (x, y) in [0, 1]."""
    height, width = maps.shape[-2:]
    index = maps.flatten(-2).argmax(dim=-1)
    y = torch.div(index, width, rounding_mode='floor')
    return torch.stack(((index % width + 0.5) / width, (y + 0.5) / height), dim=-1)


def read_places(sample: Any, evidence: str = 'auto') -> dict[str, np.ndarray]:
    """The evidence of a sample that says where each class was seen.

    Args:
        sample (DataSample | Mapping): With ``attention_maps``, or with ``regions`` and ``region_scores``.
        evidence (str): One of ``EVIDENCE_KINDS``; ``'auto'`` is the kind that the sample carries.

    Raises:
        UserError: If the sample does not carry the evidence, carries both kinds and ``evidence`` does not choose, or
            the evidence is empty, has other sizes than its parts or the sample's classes ask for, or holds NaN or
            infinity.
    """
    check_choice('evidence', evidence, EVIDENCE_KINDS)
    carried = [kind for kind in PLACES if kind in sample]
    found = [kind for kind in carried if evidence in ('auto', kind)]
    if not found:
        wanted = ' or '.join(PLACES) if evidence == 'auto' else evidence
        raise UserError(
            f'the data samples carry no {wanted} but {" and ".join(carried) or "no other evidence"}: set '
            'model.head.with_evidence=True (--cfg-options model.head.with_evidence=True) for a head that tells them, '
            'and average no views'
        )
    if len(found) > 1:
        choices = ' or '.join(f'evidence={kind!r}' for kind in found)
        raise UserError(f'the data samples carry {" and ".join(found)}: choose with {choices}')
    if not all(field in sample for field in PLACES[found[0]]):
        raise UserError(
            'the data samples carry regions without region_scores, so no class has one: use a head that scores '
            'regions, such as mmlattn.STLSTMHead'
        )
    places = {field: as_array(sample.get(field)) for field in PLACES[found[0]]}
    sizes = {field: values.shape for field, values in places.items()}
    classes = sizes['region_scores'][-1] if 'regions' in sizes else sizes['attention_maps'][0]
    if 'pred_score' in sample:
        classes = len(sample.get('pred_score'))
    for field in ('gt_label', 'pred_label'):
        if field in sample:
            classes = max([classes, *(listed_labels([sample], field=field)[0] + 1).tolist()])
    if 'regions' in sizes:
        rows = max(sizes['regions'][0], 1)
        expected = dict(regions=(rows, 4), region_scores=(rows, classes))
    else:
        cells = (*sizes['attention_maps'][1:], 1, 1)[:2]
        expected = dict(attention_maps=(classes, *(max(side, 1) for side in cells)))
    reason = (
        f'for the {classes} classes of its scores and labels: set model.head.num_classes to the number of classes of '
        'the data set, and give every region its row of scores'
    )
    return _check_read(sample, places, expected, reason)


def _check_read(
    sample: Any, found: dict[str, np.ndarray], expected: Mapping[str, tuple], reason: str
) -> dict[str, np.ndarray]:
    """What was found, if it has the sizes expected and is finite."""
    name, sizes = sample.get('img_path', 'a sample'), {field: values.shape for field, values in found.items()}
    if sizes != expected:
        got, wanted = (', '.join(f'{field} {size}' for field, size in x.items()) for x in (sizes, expected))
        raise UserError(f'{name} has {got or "no scores"}, expected {wanted} {reason}')
    for field, values in found.items():
        if not np.isfinite(values).all():
            raise UserError(f'the {field} of {name} hold NaN or infinity: has the model diverged?')
    return found


def read_scale_scores(sample: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (C,) of the output, (K, C) of K scales that zoom in, and (K - 1, C) of the first ones together."""
    looks, fields = len(read_scale_regions(sample)), ('pred_score', 'region_scores', 'fused_scores')
    found = {field: as_array(sample.get(field)) for field in fields if field in sample}
    classes = found.get('pred_score', np.empty(0)).size
    expected = dict(pred_score=(classes,), region_scores=(looks, classes), fused_scores=(looks - 1, classes))
    if looks == 1:
        # There is nothing to be said together.
        found.setdefault('fused_scores', np.empty((0, classes)))
    _check_read(sample, found, expected, f'for {looks} looks: use the predictions of one model')
    return tuple(found[field] for field in fields)


def read_scale_regions(sample: Any) -> np.ndarray:
    """The regions of K scales that zoom in, (K, 4)."""
    if 'regions' not in sample or 'region_names' not in sample:
        raise UserError(
            'the data samples do not tell where the scales of a model that zooms in looked: use mmlattn.RACNN and '
            'set model.with_evidence=True (--cfg-options model.with_evidence=True)'
        )
    regions = as_array(sample.get('regions'))
    expected = dict(regions=(max(len(regions), 1), 4))
    return _check_read(sample, dict(regions=regions), expected, 'for the scales that it looked at')['regions']
