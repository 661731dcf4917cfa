"""Deletion and insertion of a model on pictures: is what it says it looked at what its scores rest on?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmpretrain.structures import DataSample
from rich.progress import track
from torch import Tensor

from mmlattn.evaluation.functional.deletion import (
    FILLS,
    area_under,
    cell_order,
    exchanged,
    nearness,
    relevance,
    sampled_means,
    stand_in,
    taken_cells,
    taken_counts,
)
from mmlattn.structures.evidence import EVIDENCE_KINDS, read_places
from mmlattn.structures.labels import listed_labels
from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError

from .grad_cam import GradCAMMaps
from .inferencer import MultiLabelInferencer
from .prediction_run import evidence_of

#: What is measured, and in which orders cells are taken; the first is the model's own evidence.
MEASURES, ORDERS = ('deletion', 'insertion'), ('evidence', 'random', 'centre', 'gradcam')
LABELS = ('present', 'predicted')


@dataclass(frozen=True)
class Pair:
    """A picture and a class of it: for each order the scores (2, S + 1) of deletion and insertion."""

    picture: int
    name: str
    label: int
    curves: Mapping[str, np.ndarray]


class DeletionTest:
    """Deletion and insertion (Petsiuk et al., BMVC 2018) of a model with evidence, in the frame of its input.

    Scores are ``pred_score`` as the model gives it, without a stored decision. Orders that all classes of a picture
    share are walked once for all of them, so a picture with n pairs takes 3 + 2 (S - 1) (2 + 2 n) passes with all
    four orders, and one each for the evidence and for the feature map of Grad-CAM.

    Args:
        inferencer (MultiLabelInferencer): The model.
        orders (Sequence[str]): Orders to compare with, of ``ORDERS[1:]``.
        evidence (str): One of ``EVIDENCE_KINDS``.
        labels (str): 'present': the pairs are the classes that a picture has; 'predicted': those that are predicted.
        steps (int): S.
        grid (int): G, cells in each direction; see ``evaluation/functional/deletion.py``.
        fill (str): What stands in the place of what deletion takes, one of ``FILLS``.
        insertion_fill (str): What insertion begins with.
        sigma (float): Of the blur, in pixels.
        batch_size (int): Pictures in a pass.
        amp (bool): Take the scores of the states under autocast, in bfloat16.
        seed (int): Of the random order, and of equals in any order.
    """

    def __init__(
        self,
        inferencer: MultiLabelInferencer,
        *,
        orders: Sequence[str] = ORDERS[1:],
        evidence: str = 'auto',
        labels: str = 'present',
        steps: int = 14,
        grid: int = 14,
        fill: str = 'zero',
        insertion_fill: str = 'blur',
        sigma: float = 10.0,
        batch_size: int = 64,
        amp: bool = False,
        seed: int = 0,
    ) -> None:
        for order in orders:
            check_choice('orders', order, ORDERS[1:])
        check_choice('evidence', evidence, EVIDENCE_KINDS)
        check_choice('labels', labels, LABELS)
        check_choice('fill', fill, FILLS)
        check_choice('insertion_fill', insertion_fill, FILLS)
        for name, value in dict(grid=grid, batch_size=batch_size).items():
            check_whole(name, value, 1)
        check_whole('seed', seed, 0)
        check_number('sigma', sigma, least=0.1)
        taken_cells(np.arange(grid**2), steps)  # refuses more steps than cells
        # On a CPU the convolutions of mobile networks take half the time in this layout.
        self.inferencer, self.model = inferencer, inferencer.model.to(memory_format=torch.channels_last)
        self.orders, self.evidence, self.labels = ('evidence', *orders), evidence, labels
        self.steps, self.grid, self.batch_size, self.seed = steps, grid, batch_size, seed
        self.fill, self.insertion_fill, self.sigma, self.amp = fill, insertion_fill, sigma, amp
        self.grad_cam = GradCAMMaps(self.model) if 'gradcam' in orders else None
        # The states in between are asked for no evidence.
        self._plain = dict(with_evidence=False) if evidence_of(self.model)[0] else {}
        self.pictures = self.passes = self.without_evidence = 0

    @property
    def shares(self) -> np.ndarray:
        """Share of the picture that is taken at each point of a curve, (S + 1,)."""
        return taken_counts(self.grid**2, self.steps) / self.grid**2

    def run(self, items: Iterable[dict], total: int | None = None) -> list[Pair]:
        """Measure items of a data set, as its test pipeline gives them.

        Pairs whose class was seen nowhere, such as one that a decoder did not emit, are left out, and counted in
        ``without_evidence``.

        Raises:
            UserError: If there is no pair at all.
        """
        pairs = []
        for number, item in enumerate(track(items, 'deleting', total=total)):
            pairs += self.measure(number, item)
        if not pairs:
            missing = f', {self.without_evidence} of them without evidence' if self.without_evidence else ''
            raise UserError(f'no picture has a class that is {self.labels} and was seen somewhere{missing}')
        return pairs

    def measure(self, number: int, item: dict) -> list[Pair]:
        """The pairs of one item; ``number`` decides what is random."""
        self.pictures += 1
        batch = pseudo_collate([item])
        truth = batch['data_samples'][0]
        if self.labels == 'present' and not any(name in truth for name in ('gt_label', 'gt_score')):
            raise UserError(
                'the data set tells no labels, so none is present: take the predicted ones, --labels predicted'
            )
        sample = self.inferencer.forward(batch, with_evidence=True)[0]
        self.passes += 1
        labels = (listed_labels([truth])[0] if self.labels == 'present' else sample.pred_label).tolist()
        maps = {label: self._relevance(sample, label) for label in labels}
        labels = [label for label in labels if maps[label] is not None]
        self.without_evidence += len(maps) - len(labels)
        if not labels:
            return []
        with torch.no_grad():
            picture = self.model.data_preprocessor(batch, False)['inputs'][0]
        orders = self._orders(number, picture, {label: maps[label] for label in labels})
        curves = dict(zip(orders, self.walk(picture, list(orders.values())), strict=True))
        name = str(sample.get('img_path', number))
        return [
            Pair(
                number,
                name,
                label,
                {
                    order: curves[order, label if (order, label) in curves else None][..., label]
                    for order in self.orders
                },
            )
            for label in labels
        ]

    def _relevance(self, sample: DataSample, label: int) -> np.ndarray | None:
        return relevance(
            read_places(sample, self.evidence), label, self.grid, zooms_in='region_names' in sample
        )

    def _orders(self, number: int, picture: Tensor, maps: Mapping[int, np.ndarray]) -> dict:
        """Orders of cells by name and class; those without a class are for all."""
        grid, flat = self.grid, np.zeros((self.grid, self.grid))
        values: dict[tuple[str, Any], np.ndarray] = {
            ('evidence', label): values for label, values in maps.items()
        }
        if 'random' in self.orders:
            values['random', None] = flat
        if 'centre' in self.orders:
            values['centre', None] = nearness(grid)
        if self.grad_cam is not None:
            found = self.grad_cam(picture[None], list(maps))
            self.passes += 1
            for row, label in enumerate(maps):
                # All zero where nothing speaks for the class: then nothing says where to begin.
                resampled = relevance(dict(attention_maps=found), row, grid)
                values['gradcam', label] = flat if resampled is None else resampled
        generator = np.random.default_rng((self.seed, number))
        return {key: cell_order(value, generator) for key, value in values.items()}

    @torch.no_grad()
    def walk(self, picture: Tensor, orders: Sequence[np.ndarray]) -> np.ndarray:
        """Scores (O, 2, S + 1, C) of deletion and insertion in O orders."""
        away = stand_in(picture, self.fill, self.sigma)
        back = stand_in(picture, self.insertion_fill, self.sigma)
        taken = torch.from_numpy(np.stack([taken_cells(order, self.steps)[1:-1] for order in orders]))
        taken = taken.reshape(-1, self.grid, self.grid).to(picture.device)
        whole, empty, begun = self._scores(torch.stack((picture, away, back)))
        curves = []
        for start, end, first, last in ((picture, away, whole, empty), (back, picture, begun, whole)):
            # Cells are exchanged batch by batch: all states at once would take up hundreds of pictures.
            parts = taken.split(self.batch_size) if len(taken) else ()
            scores = [self._scores(exchanged(start, end, part)) for part in parts]
            between = np.array([row for part in scores for row in part], np.float32)
            between = between.reshape(len(orders), self.steps - 1, len(whole))
            ends = (np.broadcast_to(row, (len(orders), 1, len(row))) for row in (first, last))
            curves.append(np.concatenate((next(ends), between, next(ends)), axis=1))
        return np.stack(curves, axis=1)

    def _scores(self, pictures: Tensor) -> np.ndarray:
        self.passes += len(pictures)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        with torch.autocast(pictures.device.type, torch.bfloat16, enabled=self.amp):
            samples = self.model.predict(pictures, **self._plain)
        return torch.stack([sample.pred_score for sample in samples]).float().cpu().numpy()


def summary_of(
    pairs: Sequence[Pair], shares: np.ndarray, rounds: int = 2000, seed: int = 0
) -> dict[str, dict[str, dict[str, float]]]:
    """Areas under the curves, by measure and order.

    Returns:
        dict: Under each of ``MEASURES`` for each order ``area``, the mean over pairs, and ``low`` and ``high``, its
        95 % bootstrap interval (pictures drawn with replacement). For orders other than 'evidence' also
        ``difference``, evidence less order pair by pair, with ``difference_low`` and ``difference_high``, and
        ``better``, the share of pairs in which the evidence does better (deletion lower, insertion higher; a tie
        counts half).
    """
    orders = list(pairs[0].curves)
    pictures = [pair.picture for pair in pairs]
    found = {}
    for row, measure in enumerate(MEASURES):
        areas = np.array(
            [[area_under(pair.curves[order][row], shares) for order in orders] for pair in pairs]
        )
        apart = areas[:, :1] - areas[:, 1:]
        sampled = sampled_means(np.concatenate((areas, apart), axis=1), pictures, rounds, seed)
        low, high = np.percentile(sampled, (2.5, 97.5), axis=0)
        found[measure] = {
            order: dict(area=areas[:, k].mean(), low=low[k], high=high[k]) for k, order in enumerate(orders)
        }
        # Equal orders in other places of a batch differ by rounding alone.
        wins = np.sign(apart.round(6)) * (1 if measure == 'insertion' else -1)
        for k, order in enumerate(orders[1:]):
            at = len(orders) + k
            found[measure][order] |= dict(
                difference=apart[:, k].mean(),
                difference_low=low[at],
                difference_high=high[at],
                better=((wins[:, k] + 1) / 2).mean(),
            )
    return found
