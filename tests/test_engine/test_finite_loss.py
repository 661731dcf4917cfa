"""When a loss, a weight or a score that is no finite number ends a run."""

from types import SimpleNamespace

import pytest
import torch
from contract_cases import CASES
from mmpretrain.structures import DataSample

from mmlattn.engine.hooks.finite_loss import LEFT_OUT, FiniteLossHook
from mmlattn.engine.hooks.finite_scores import FiniteScoresHook
from mmlattn.utils.errors import UserError


def runner(scales):
    scaler = None if scales is None else SimpleNamespace(is_enabled=lambda: scales)
    wrapper = SimpleNamespace(loss_scaler=scaler, get_lr=lambda: dict(lr=[0.1, 0.01]))
    return SimpleNamespace(optim_wrapper=wrapper, iter=6, epoch=1)


def steps_taken(scales, losses, **settings):
    """After how many steps a training ends, None if it does not."""
    hook = FiniteLossHook(**settings)
    for number, loss in enumerate(losses, start=1):
        try:
            hook.after_train_iter(
                runner(scales), 0, outputs=dict(loss=torch.tensor(loss), accuracy=float('nan'))
            )
        except UserError as error:
            assert 'in iteration 7 (epoch 2) loss=' in str(error) and 'learning rate of 0.1,' in str(error)
            return number
    return None


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_the_first_ends_it_unless_losses_are_scaled_and_then_only_many_in_a_row(bad):
    for scales in (None, False):
        assert steps_taken(scales, [1.0, bad, 1.0]) == 2
    nearly = [bad] * (LEFT_OUT - 1)
    assert steps_taken(True, [*nearly, 1.0, *nearly]) is None
    assert steps_taken(True, [1.0, *nearly, bad]) == LEFT_OUT + 1
    for scales in (None, True):
        assert steps_taken(scales, [bad, bad, 1.0, bad, bad, bad], in_a_row=3) == 6


def test_weights_of_a_checkpoint_are_finite_but_for_masks():
    hook = FiniteLossHook()
    mask = torch.full((3, 3), float('-inf')).triu(1)
    weights = dict(
        fc=torch.ones(2), mask=mask, count=torch.tensor(3), none=torch.ones(0), layer_extra_state={}
    )
    hook.before_save_checkpoint(runner(None), dict(state_dict=weights))
    with pytest.raises(UserError, match=r'diverged: in iteration 6 .* fc holds NaN'):
        hook.before_save_checkpoint(
            runner(None), dict(state_dict=weights | dict(fc=torch.tensor([1.0, float('nan')])))
        )


@pytest.mark.parametrize('name', [name for name, case in CASES.items() if hasattr(case.build(), 'predict')])
def test_no_system_predicts_without_numbers(name):
    case = CASES[name]
    model, pictures, hook = case.build().eval(), case.pictures(3), FiniteScoresHook()
    samples = model.predict(pictures, [DataSample() for _ in pictures])
    hook.after_test_iter(None, 0, outputs=samples)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(float('nan'))
    samples = model.predict(pictures, [DataSample(metainfo=dict(img_path=f'{i}.jpg')) for i in range(3)])
    with pytest.raises(UserError, match=r'^0\.jpg: \d+ of \d+ scores are no finite numbers'):
        hook.after_val_iter(None, 0, outputs=samples)
    for other in ([], None, [dict(pred_score=1)]):
        hook.after_val_iter(None, 0, outputs=other)
