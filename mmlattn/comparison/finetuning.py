"""The whole network end to end from the original pictures, starting from a head that was trained on stored features.

``OUT_DIR/runs/NAME/lr0.001_seed0/finetuned_lr0.0001_3e`` has ``run.json``, ``val.npz`` and ``test.npz`` once it is
done; until then its checkpoints, with which an interrupted run goes on.
"""

import copy
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Subset

from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import keep_checkpoints_safe, make_reproducible, preprocessor_of
from mmlattn.utils.launch.explain import explain_config
from mmlattn.utils.launch.resume import newest_checkpoint
from mmlattn.utils.launch.runner import run
from mmlattn.utils.whole_files import whole_file

from .candidates import Candidate
from .cost import measure_cost
from .data import SplitData
from .features import Extractor, frozen_backbone
from .grid import (
    Comparison,
    Outcome,
    done,
    mean_average_precision,
    read_cost,
    read_head,
    read_predictions,
    run_folder,
    write_predictions,
    write_record,
)
from .training import CollectPredictions, Predictions, cosine_schedule, optimizer_config, tell_evidence


def check_names(wanted: str, compared: Sequence[str]) -> None:
    """Raises ``UserError`` for heads to fine-tune that are neither 'best' nor names of compared ones."""
    names = [name for name in wanted.split(',') if name]
    if wanted != 'best' and (not names or set(names) - set(compared)):
        raise UserError(
            f'--finetune must be best, or names of heads that are compared, got {wanted!r}; compared are '
            f'{", ".join(compared)}'
        )


def choose(outcomes: Sequence[Outcome], comparison: Comparison, wanted: str) -> list[str]:
    """Names of the heads to fine-tune: 'best', by mAP on val over all seeds, or those of :func:`check_names`."""
    if wanted != 'best':
        return list(dict.fromkeys(name for name in wanted.split(',') if name))
    targets = comparison.data['val'].targets
    values = {
        outcome.name: sum(mean_average_precision(found.scores, targets) for found in outcome.val)
        for outcome in outcomes
    }
    return [max(values, key=values.__getitem__)]


def finetune(
    comparison: Comparison,
    candidate: Candidate,
    outcome: Outcome,
    cfg: Config,
    extractor: Extractor,
    epochs: int,
    lr: float,
) -> Outcome:
    """Train on from the first seed's head at its chosen rate, and test.

    Args:
        comparison (Comparison): Whose data and budget of a step it has.
        candidate (Candidate): The head.
        outcome (Outcome): What came of it on stored features.
        cfg (Config): Of pictures and backbone.
        extractor (Extractor): The backbone that the features are of.
        epochs (int): Over the original pictures, half of them mirrored.
        lr (float): Highest learning rate of all weights.
    """
    start = run_folder(comparison, candidate.name, outcome.rate, comparison.seeds[0])
    folder = start / f'finetuned_lr{lr:g}_{epochs}e'
    settings = dict(
        candidate=candidate.settings(),
        budget=asdict(comparison.budget),
        backbone=extractor.identity,
        data={split: found.identity for split, found in comparison.data.items()},
    )
    if not done(folder, 'run.json', settings):
        _train_and_test(comparison, candidate, cfg, extractor, epochs, lr, start, folder, settings)
    val, test = (read_predictions(folder / f'{split}.npz') for split in ('val', 'test'))
    found = mean_average_precision(val.scores, comparison.data['val'].targets)
    cost = read_cost(folder / 'run.json')
    return Outcome(f'{candidate.name}, fine-tuned', lr, {lr: found}, [val], [test], cost)


def _train_and_test(
    comparison: Comparison,
    candidate: Candidate,
    cfg: Config,
    extractor: Extractor,
    epochs: int,
    lr: float,
    start: Path,
    folder: Path,
    settings: Mapping,
) -> None:
    training = folder / 'training'
    run_cfg = finetuning_config(comparison, candidate, cfg, epochs, lr, training)
    folder.mkdir(exist_ok=True)
    begin = folder / 'start.pth'
    if not begin.exists():
        _write_start(extractor, start, begin)
    last = newest_checkpoint(str(training)) if training.exists() else None
    run_cfg.load_from, run_cfg.resume = last or str(begin), last is not None
    print(f'{candidate.name}: fine-tuning {"goes on" if last else "begins"}', flush=True)
    with explain_config(f' ({candidate.name}, fine-tuned)'):
        runner = Runner.from_cfg(run_cfg)
    # On a CPU a third faster for networks of depthwise convolutions.
    runner.model.to(memory_format=torch.channels_last)
    run(runner, 'train')
    loading = run_cfg.train_dataloader
    for split in ('val', 'test'):
        data = comparison.data[split]
        found = _predict(runner.model, data, loading.batch_size, loading.num_workers)
        write_predictions(folder / f'{split}.npz', found)
        if split == 'val':
            value = 100 * mean_average_precision(found.scores, data.targets)
            print(f'{candidate.name}, fine-tuned: mAP {value:.2f} on val', flush=True)
    batch = next(iter(runner.train_loop.dataloader))
    cost = measure_cost(runner.model, batch, repeats=3)
    write_record(folder / 'run.json', settings=settings, cost=cost._asdict())
    shutil.rmtree(training)
    begin.unlink()


def finetuning_config(
    comparison: Comparison, candidate: Candidate, cfg: Config, epochs: int, lr: float, work_dir: Path
) -> Config:
    """The config of the run: mmpretrain's, reproducible and resumable as ``tools/train.py`` makes it."""
    data = comparison.data['train']
    num_classes = data.targets.shape[1]
    prepare = dict(preprocessor_of(cfg), to_onehot=True, num_classes=num_classes)
    backbone = dict(frozen_backbone(cfg.model.backbone), init_cfg=None)  # weights come by load_from
    dataset = copy.deepcopy(cfg.train_dataloader.dataset)
    dataset.pipeline = _augmented(cfg.test_dataloader.dataset.pipeline)
    if len(data.dataset) < len(data.dataset.source):
        dataset.indices = data.dataset.indices.tolist()
    size = comparison.budget.batch_size
    steps = epochs * -(-len(data.dataset) // size)
    loader = dict(
        batch_size=size,
        num_workers=int((cfg.train_dataloader.get('num_workers') or 0) > 0),
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    made = Config(
        dict(
            model=candidate.model(backbone, prepare),
            train_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=optimizer_config(candidate, lr, comparison.budget.amp),
            param_scheduler=cosine_schedule(steps, comparison.budget.warm_up),
            default_hooks=dict(
                checkpoint=dict(
                    type='CheckpointHook',
                    interval=max(steps // epochs // 4, 1),
                    by_epoch=False,
                    max_keep_ckpts=1,
                ),
                logger=dict(type='LoggerHook', interval=20),
            ),
            custom_hooks=list(candidate.hooks),
            default_scope='mmpretrain',
            launcher='none',
            work_dir=str(work_dir),
            randomness=dict(seed=comparison.seeds[0]),
            log_level='WARNING',
        )
    )
    make_reproducible(made)
    keep_checkpoints_safe(made)
    return made


def _augmented(pipeline: list) -> list:
    """The test pipeline with mirror images, for training."""
    *transforms, _ = copy.deepcopy(list(pipeline))
    packed = dict(type='PackInputs', algorithm_keys=('gt_label_ignore',))
    return [*transforms, dict(type='RandomFlip', prob=0.5, direction='horizontal'), packed]


def _write_start(extractor: Extractor, run: Path, file: Path) -> None:
    state = {
        name: value for name, value in extractor.model.state_dict().items() if name.startswith('backbone.')
    }
    with whole_file(file) as draft:
        torch.save(dict(state_dict=state | read_head(run)), draft)


def _predict(model: nn.Module, data: SplitData, batch_size: int, workers: int) -> Predictions:
    """What the fine-tuned network says of the original pictures of a split."""
    pictures = Subset(data.dataset.source, data.dataset.indices.tolist())
    loader = DataLoader(pictures, batch_size, num_workers=workers, collate_fn=default_collate)
    metric = CollectPredictions(data.targets.shape[1], data.boxed)
    tell_evidence(model, data.boxed)
    model.eval()
    for batch in loader:
        with torch.no_grad():
            samples = model.test_step(batch)
        metric.process(batch, [sample.to_dict() for sample in samples])
    return metric.predictions()
