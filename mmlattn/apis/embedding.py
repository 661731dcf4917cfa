"""What the last layer of a classifier reads of each picture, and a map of the pictures by it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import Subset

from mmlattn.models.layers.feature_layout import last_output
from mmlattn.models.racnn.classifier import RACNN
from mmlattn.structures.labels import label_matrix, listed_labels
from mmlattn.utils.errors import UserError

from .loading import class_names
from .pictures import evenly_spread
from .tested import batches_of, split_dataset

#: Fewer pictures make no map.
FEWEST = 10


class Features(NamedTuple):
    """Of N pictures."""

    values: np.ndarray
    """(N, D)."""
    labels: np.ndarray
    """(N, C): 1 present, 0 absent, -1 unknown."""
    paths: list[str]
    classes: tuple[str, ...]


def picture_features(model: BaseModel, inputs: Tensor) -> Tensor:
    """One vector for each of B normalised pictures, (B, D).

    The last output before the head, averaged over places; of necks that return several, as ``STLSTM``, that which
    stock heads read; of RA-CNN what the fusion of its scales reads.
    """
    if isinstance(model, RACNN):
        return model.extract_feat(inputs, stage='pre_logits').float()
    found = last_output(model.extract_feat(inputs))
    # (B, D, h, w), tokens (B, N, D), or vectors.
    axes = {4: (2, 3), 3: (1,)}.get(found.dim())
    return (found.mean(dim=axes) if axes else found).float()


@torch.no_grad()
def collect_features(model: BaseModel, cfg: Config, split: str, limit: int, batch_size: int) -> Features:
    """Features of the pictures of a split, with the test pipeline; of more than ``limit``, evenly spaced ones.

    Raises:
        UserError: If there are fewer than ten, or they make no batch.
    """
    dataset = split_dataset(cfg, split)
    if len(dataset) < FEWEST:
        raise UserError(f'the {split} data set has {len(dataset)} pictures; {FEWEST} or more make a map')
    chosen = Subset(dataset, evenly_spread(len(dataset), limit))
    values, samples = [], []
    for batch in batches_of(chosen, batch_size, 'looking'):
        data = model.data_preprocessor(batch, False)
        values.append(picture_features(model, data['inputs']).cpu().numpy())
        samples += data['data_samples']
    names = class_names(model) or tuple((dataset.metainfo or {}).get('classes') or ())
    count = len(names) or _class_count(samples)
    return Features(
        np.concatenate(values),
        label_matrix(samples, count).numpy(),
        [str(sample.get('img_path', number)) for number, sample in enumerate(samples)],
        tuple(names) or tuple(map(str, range(count))),
    )


def _class_count(samples: Sequence[DataSample]) -> int:
    """C of the samples' scores; where they have none, as many as make room for their labels."""
    if samples[0].get('gt_score') is not None:
        return len(samples[0].gt_score)
    return 1 + max((label for row in listed_labels(samples) for label in row.tolist()), default=0)


def map_of(values: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Places (N, 2) by t-SNE (van der Maaten and Hinton, 2008), scikit-learn's, from principal components.

    Raises:
        UserError: For a perplexity that is not below the number of pictures.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if not 0 < perplexity < len(values):
        raise UserError(
            f'--perplexity must be above 0 and below the {len(values)} pictures, got {perplexity:g}'
        )
    reduced = PCA(min(50, *values.shape), random_state=seed).fit_transform(values)
    return TSNE(perplexity=perplexity, init='pca', random_state=seed).fit_transform(reduced)


def shown_classes(found: Features, asked: Sequence[str] | None, most: int) -> list[int]:
    """The classes to draw: those asked for, or the most frequent.

    Raises:
        UserError: For a name that no class has, or too many.
    """
    if asked:
        if unknown := sorted(set(asked) - set(found.classes)):
            raise UserError(f'--classes: the model has no {", ".join(unknown)}')
        if len(asked) > most:
            raise UserError(f'--classes: at most {most} are drawn, got {len(asked)}')
        return [found.classes.index(name) for name in asked]
    counts = (found.labels == 1).sum(axis=0)
    return [c for c in np.argsort(-counts, kind='stable').tolist() if counts[c]][:most]
