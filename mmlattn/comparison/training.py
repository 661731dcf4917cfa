"""One training of one candidate on stored features, and what it says of a split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.device import get_device
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch import nn
from torch.utils.data import DataLoader

from mmlattn.evaluation.metrics.localization import PointingGame
from mmlattn.structures.labels import label_sets, listed_labels
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import type_name
from mmlattn.utils.launch.explain import explain_config

from .candidates import Candidate
from .data import SplitData
from .stored import whole_batch


@dataclass(frozen=True)
class Budget:
    """What every training gets.

    Attributes:
        epochs (int): Over the training pictures, one view of each.
        batch_size (int): Pictures of a step.
        amp (bool): Whether losses are computed in mixed precision, bfloat16 on a CPU.
        warm_up (float): Share of the steps in which the learning rate rises; then it falls by a cosine to 0.
    """

    epochs: int = 10
    batch_size: int = 32
    amp: bool = False
    warm_up: float = 0.1


class Predictions(NamedTuple):
    """Of a split: ``scores`` (N, C) float32, ``own`` (N, C) bool by the head's own rule, and the pointing game."""

    scores: np.ndarray
    own: np.ndarray
    pointing: dict[str, float] | None


def train_head(
    candidate: Candidate,
    data: SplitData,
    lr: float,
    seed: int,
    budget: Budget,
    work_dir: Path,
) -> Runner:
    """Train from scratch; returns the Runner with the trained model.

    Args:
        candidate (Candidate): What to train.
        data (SplitData): What on.
        lr (float): The highest learning rate.
        seed (int): Of all that is random.
        budget (Budget): How long.
        work_dir (Path): For the log.
    """
    sampler = DefaultSampler(data.dataset, shuffle=True, seed=seed)
    loader = DataLoader(data.dataset, budget.batch_size, sampler=sampler, collate_fn=whole_batch)
    with explain_config(f' ({candidate.name})'):
        runner = _runner(
            candidate,
            data,
            work_dir,
            train_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=budget.epochs),
            optim_wrapper=optimizer_config(candidate, lr, budget.amp),
            param_scheduler=cosine_schedule(len(loader) * budget.epochs, budget.warm_up),
            randomness=dict(seed=seed),
        )
    runner.train()
    return runner


def cosine_schedule(steps: int, warm_up: float) -> list[dict]:
    """The learning rate over the steps of a run: up over that share of them, then down to 0."""
    warm = max(round(steps * warm_up), 1)
    return [
        dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=warm),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=warm, end=steps, T_max=max(steps - warm, 1)),
    ]


def optimizer_config(candidate: Candidate, lr: float, amp: bool) -> dict:
    """The config of ``optim_wrapper``.

    Raises:
        UserError: Where mixed precision would take the place of a wrapper of the config's own.
    """
    wrapper = candidate.optimizer(lr)
    if amp:
        if type_name(wrapper) != 'OptimWrapper':
            raise UserError(
                f'{candidate.name}: --amp would take the place of optim_wrapper.type={type_name(wrapper)!r}: leave '
                '--amp out'
            )
        wrapper['type'] = 'mmlattn.MixedPrecisionOptimWrapper' if get_device() == 'cpu' else 'AmpOptimWrapper'
    return wrapper


def predict(
    candidate: Candidate, weights: dict, data: SplitData, batch_size: int, work_dir: Path
) -> Predictions:
    """What a trained head says of a split."""
    loader = DataLoader(
        data.dataset,
        batch_size,
        sampler=DefaultSampler(data.dataset, shuffle=False),
        collate_fn=whole_batch,
    )
    metric = CollectPredictions(data.targets.shape[1], data.boxed)
    runner = _runner(
        candidate, data, work_dir, test_dataloader=loader, test_evaluator=[metric], test_cfg=dict()
    )
    tell_evidence(runner.model, data.boxed)
    runner.model.load_state_dict(weights)
    runner.test()
    return metric.predictions()


def tell_evidence(model: nn.Module, boxed: bool) -> None:
    """Leave evidence out where there are no boxes that it could be held against; it takes time."""
    if not boxed and hasattr(model.head, 'with_evidence'):
        model.head.with_evidence = False


def _runner(candidate: Candidate, data: SplitData, work_dir: Path, **settings: Any) -> Runner:
    return Runner(
        model=model_config(candidate, data),
        work_dir=str(work_dir),
        default_hooks=dict(checkpoint=None, logger=dict(type='LoggerHook', interval=10**9)),
        custom_hooks=list(candidate.hooks),
        default_scope='mmpretrain',
        log_level='WARNING',
        experiment_name=f'{candidate.name}-{uuid4().hex}',
        cfg=Config(),
        **settings,
    )


def model_config(candidate: Candidate, data: SplitData) -> dict:
    """The config of the classifier on stored features."""
    prepare = dict(type='ClsDataPreprocessor', to_onehot=True, num_classes=data.targets.shape[1])
    return candidate.model(dict(type='mmlattn.StoredFeaturesBackbone'), prepare)


def build_model(candidate: Candidate, data: SplitData, weights: Mapping) -> nn.Module:
    """The classifier on stored features with trained weights, where mmengine trains."""
    model = MODELS.build(model_config(candidate, data))
    model.load_state_dict(weights)
    return model.to(get_device())


class CollectPredictions(BaseMetric):
    """Keeps scores and labels of every picture, and plays the pointing game where there are boxes and evidence.

    Args:
        num_classes (int): C.
        boxed (bool): Whether the samples have boxes.
    """

    def __init__(self, num_classes: int, boxed: bool) -> None:
        super().__init__(prefix='comparison')
        self.num_classes = num_classes
        self.pointing = PointingGame() if boxed else None
        self.scores, self.labels = [], []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep a batch."""
        self.scores += [sample['pred_score'].float().cpu() for sample in data_samples]
        listed = listed_labels(data_samples, self.num_classes, 'pred_label')
        self.labels += [labels.tolist() for labels in listed]
        seen = [sample for sample in data_samples if 'attention_maps' in sample or 'region_scores' in sample]
        if self.pointing is not None and seen:
            self.pointing.process(data_batch, seen)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Nothing: see :meth:`predictions`."""
        return {}

    def evaluate(self, size: int) -> dict[str, float]:
        """Nothing: see :meth:`predictions`."""
        return {}

    def predictions(self) -> Predictions:
        """Of all pictures, in order.

        Raises:
            UserError: If a score is not finite.
        """
        scores = torch.stack(self.scores).numpy()
        if not np.isfinite(scores).all():
            raise UserError('the trained head gives scores that are not finite: try smaller --lrs')
        own = label_sets(self.labels, self.num_classes)
        pointing = None
        if self.pointing is not None and self.pointing.results:
            pointing = self.pointing.compute_metrics(self.pointing.results)
        return Predictions(scores, own, pointing)


def trained_weights(model: nn.Module) -> dict:
    """Weights of neck and head, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
