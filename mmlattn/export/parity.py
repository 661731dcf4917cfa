"""What an exported file says, beside what ``predict`` of the model says."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmlattn.models.ran.mask_recording import record_masks

from .contract import MASK

#: Largest difference of a number, by precision.
TOLERANCE = dict(float32=1e-4, float16=3e-2)


@torch.no_grad()
def predicted(
    model: nn.Module, inputs: Tensor, names: Sequence[str]
) -> tuple[dict[str, np.ndarray], list[DataSample]]:
    """What ``predict`` says of a batch, by the names of a file's outputs, and its data samples.

    Args:
        model (nn.Module): A classifier.
        inputs (Tensor): Normalised pictures, (B, 3, H, W).
        names (Sequence[str]): Outputs of the file.
    """
    evidence = bool(
        {name for name in names if name not in ('scores', 'logits') and not name.startswith(MASK)}
    )
    masked = any(name.startswith(MASK) for name in names)
    with record_masks(model) if masked else nullcontext() as masks:
        samples = model.predict(inputs, None, **(dict(with_evidence=True) if evidence else {}))
    found = dict(scores=torch.stack([sample.pred_score for sample in samples]))
    if 'logits' in names:
        found['logits'] = model(inputs, mode='tensor')
    found |= {f'{MASK}{number}': mask for number, mask in enumerate(masks.values())} if masked else {}
    for name in set(names) - set(found):
        found[name] = _stacked([sample.get(name) for sample in samples])
    return {name: found[name].cpu().numpy() for name in names}, samples


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    """Rows as one tensor; shorter paths are filled up with -1."""
    if rows[0].dim() == 1 and not rows[0].is_floating_point():
        return pad_sequence(list(rows), batch_first=True, padding_value=-1)
    return torch.stack(list(rows))


def differences(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The largest difference of each output, infinite where shapes differ or something is not finite.

    Paths of labels are compared up to their end.
    """
    largest = {}
    for name, wanted in expected.items():
        got = found[name]
        if name == 'label_path':
            wanted, got = _same_length(wanted, got)
        if wanted.shape != got.shape or not np.isfinite(got).all():
            largest[name] = float('inf')
        else:
            largest[name] = float(np.abs(wanted.astype(np.float64) - got).max(initial=0))
    return largest


def _same_length(*paths: np.ndarray) -> list[np.ndarray]:
    longest = max(path.shape[1] for path in paths)
    return [np.pad(p, ((0, 0), (0, longest - p.shape[1])), constant_values=-1) for p in paths]
