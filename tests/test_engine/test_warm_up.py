"""The authors' warm-up of CSRA, as the config has it, iteration by iteration."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

import mmlattn.engine  # noqa: F401

LENGTH = 7


def schedulers(optimizer, repo_root):
    cfg = Config.fromfile(repo_root / 'configs' / '_base_' / 'schedules' / 'csra_sgd_30e.py')
    built = []
    for settings in cfg.param_scheduler:
        converted = settings.pop('convert_to_iter_based', False)
        build = PARAM_SCHEDULERS.get(settings.pop('type'))
        build = build.build_iter_from_epoch if converted else build
        built.append(
            build(optimizer=optimizer, **settings, **(dict(epoch_length=LENGTH) if converted else {}))
        )
    return built


def test_learning_rates_of_the_authors(repo_root, resumed_at=LENGTH + 3):
    """The rate t / n of its own from 0 over two epochs, then a tenth every fifth epoch; the same after a resume."""

    def optimizer():
        weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
        groups = [dict(params=weights[:1], lr=0.01), dict(params=weights[1:], lr=0.1)]
        return torch.optim.SGD(groups, lr=0.01)

    sgd = optimizer()
    built = schedulers(sgd, repo_root)
    for iteration in range(12 * LENGTH):
        epoch = iteration // LENGTH
        factor = iteration / (2 * LENGTH) if epoch < 2 else 0.1 ** (epoch // 5)
        assert [group['lr'] for group in sgd.param_groups] == pytest.approx([0.01 * factor, 0.1 * factor])
        sgd.step()
        for scheduler in built:
            if not scheduler.by_epoch or (iteration + 1) % LENGTH == 0:
                scheduler.step()
        if iteration + 1 == resumed_at:
            states = sgd.state_dict(), [scheduler.state_dict() for scheduler in built]
            sgd = optimizer()
            built = schedulers(sgd, repo_root)
            sgd.load_state_dict(states[0])
            for scheduler, state in zip(built, states[1], strict=True):
                scheduler.load_state_dict(state)
