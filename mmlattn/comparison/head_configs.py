"""The heads that were compared as configs, for every other tool."""

import copy
from collections.abc import Sequence

from mmengine.config import Config

from mmlattn.utils.launch.config import preprocessor_of
from mmlattn.utils.whole_files import whole_file

from .candidates import Candidate
from .features import frozen_backbone
from .grid import Comparison, Outcome
from .training import cosine_schedule


def write_configs(
    comparison: Comparison, cfg: Config, candidates: Sequence[Candidate], outcomes: Sequence[Outcome]
) -> None:
    """Write ``OUT_DIR/configs/NAME.py`` for each head, with the rate that was chosen.

    What is there stays: where it says another rate, chosen from fewer, the new one is ``NAME_lr0.001.py``.

    Each trains the head as the comparison did, with pictures and backbone in the loop, and is the config of what
    ``tools/model_converters/complete_weights.py`` makes of ``weights.pth``.
    """
    folder = comparison.folder / 'configs'
    folder.mkdir(exist_ok=True)
    for candidate, outcome in zip(candidates, outcomes, strict=True):
        file = folder / f'{candidate.name}.py'
        if file.exists() and Config.fromfile(file).optim_wrapper.optimizer.lr != outcome.rate:
            file = file.with_stem(f'{candidate.name}_lr{outcome.rate:g}')
            print(f'{candidate.name}: the config with the rate chosen now is {file}', flush=True)
        if not file.exists():
            with whole_file(file) as draft:
                head_config(comparison, cfg, candidate, outcome.rate).dump(str(draft))


def head_config(comparison: Comparison, cfg: Config, candidate: Candidate, lr: float) -> Config:
    """The config of data and backbone with a head, its optimizer, hooks and budget."""
    made = copy.deepcopy(cfg)
    train, budget = comparison.data['train'], comparison.budget
    made.data_preprocessor = dict(preprocessor_of(made), to_onehot=True, num_classes=train.targets.shape[1])
    frozen = dict(type='mmlattn.FrozenBackbone', backbone=frozen_backbone(made.model.backbone))
    made.model = candidate.model(frozen)
    made.optim_wrapper = candidate.optimizer(lr)
    steps = budget.epochs * -(-len(train.dataset) // budget.batch_size)
    made.param_scheduler = cosine_schedule(steps, budget.warm_up)
    made.train_dataloader.batch_size = budget.batch_size
    made.train_dataloader.setdefault('sampler', dict(type='DefaultSampler', shuffle=True))
    for split in ('val', 'test'):
        made[f'{split}_dataloader'].setdefault('sampler', dict(type='DefaultSampler', shuffle=False))
        made.setdefault(f'{split}_cfg', dict())
        made.setdefault(f'{split}_evaluator', [dict(type='mmlattn.MultiLabelReport')])
    made.train_cfg = dict(by_epoch=True, max_epochs=budget.epochs, val_interval=budget.epochs)
    made.custom_hooks = list(candidate.hooks)
    made.setdefault('default_scope', 'mmpretrain')
    return made
