"""What the places of ST-LSTM's regions are worth: its scores with the regions elsewhere."""

from collections.abc import Sequence

import numpy as np
import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from mmlattn.evaluation.functional import average_precision
from mmlattn.evaluation.functional.multi_label import mean_defined
from mmlattn.models.st_lstm.neck import STLSTM
from mmlattn.structures.labels import check_sets, label_matrix
from mmlattn.utils.errors import UserError

OWN, START, OTHER = "the model's own", 'where they began', "another picture's"
RANDOM, WANTED = 'moved by {:g} at random', 'moved by {:g} as the labels want it'


def judge_places(
    model: ImageClassifier, loader: DataLoader, distances: Sequence[float], seed: int = 0
) -> dict[str, float]:
    """MAP in per cent with the regions in several places.

    They are the model's own; where regions were before training; those of another picture, another one of the
    batch or, for the only one of a batch, the last one before it, which say nothing of this one; the model's own
    with the centre of each region moved by each of the ``distances``, where 1 is half a side of the picture: in a
    direction drawn for each region, and in that in which the loss of its true labels falls. The last one looks at
    the labels: no model could do so, it is what there is to be gained.

    Args:
        model (ImageClassifier): With the neck ``STLSTM`` and a head with a loss.
        loader (DataLoader): Batches of pictures, in an order that says nothing.
        distances (Sequence[float]): Of the moves.
        seed (int): Of the directions drawn.

    Raises:
        UserError: If the model has no such neck, labels are soft, or the first batch has one picture.
    """
    if not isinstance(getattr(model, 'neck', None), STLSTM):
        raise UserError(
            "the places of regions are those of the neck STLSTM: set model.neck=dict(type='mmlattn.STLSTM', ...)"
        )
    model.eval()
    rng = torch.Generator().manual_seed(seed)
    scores: dict[str, list] = {}
    targets, before = [], None
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        truth = label_matrix(data['data_samples'], model.head.num_classes).cpu()
        check_sets(truth, 'the judgement of places')
        targets.append(truth.numpy().astype(np.int8))
        with torch.no_grad():
            feature_map = model.extract_feat(data['inputs'], stage='backbone')
            own = model.neck(feature_map).theta
        if len(own) == 1 and before is None:
            raise UserError(
                "another picture's regions come from the same batch: set test_dataloader.batch_size=32, or 2 or more"
            )
        drawn = torch.randn(own[..., 2:].shape, generator=rng).to(own)
        wanted = -_pull(model, feature_map, own, data['data_samples'])
        places = {
            OWN: own,
            START: model.neck.start_places().to(own).expand_as(own),
            OTHER: own.roll(1, dims=0) if len(own) > 1 else before,
        }
        before = own[-1:]
        for distance in distances:
            places[RANDOM.format(distance)] = _moved(own, drawn, distance)
            places[WANTED.format(distance)] = _moved(own, wanted, distance)
        for name, theta in places.items():
            scores.setdefault(name, []).append(_scores(model, feature_map, theta))
    truth = np.concatenate(targets)
    return {
        name: 100 * mean_defined(average_precision(np.concatenate(parts), truth))
        for name, parts in scores.items()
    }


def _pull(model: ImageClassifier, feature_map, places: Tensor, samples: list[DataSample]) -> Tensor:
    """The derivative (B, K, 2) of the loss of scores by the centres of the regions."""
    places = places.detach().requires_grad_()
    losses = model.head.loss(model.neck(feature_map, places), samples)
    (gradient,) = torch.autograd.grad(losses['loss_cls'], places)
    return gradient[..., 2:]


def _moved(theta: Tensor, direction: Tensor, distance: float) -> Tensor:
    """Theta with each centre moved; not where there is no direction."""
    step = torch.nn.functional.normalize(direction, dim=-1) * distance
    return torch.cat((theta[..., :2], theta[..., 2:] + step), dim=-1)


@torch.no_grad()
def _scores(model: ImageClassifier, feature_map, theta: Tensor) -> np.ndarray:
    found = model.head.predict(model.neck(feature_map, theta), None)
    return torch.stack([sample.pred_score for sample in found]).float().cpu().numpy()
