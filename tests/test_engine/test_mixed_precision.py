"""Mixed precision on a CPU: five systems learn, float16 scales its losses, a resumed run is the same bit for bit."""

import pytest
import torch
from contract_cases import CASES
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from tiny_run import differing, final_state, run_tool, write_tiny_run
from torch import nn

from mmlattn.utils.errors import UserError

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason='with a GPU it is mmengine itself')
SYSTEMS = ['CSRA', 'RAN', 'ST-LSTM', 'CNN-RNN', 'CNN-RNN, attention', 'RA-CNN', 'RA-CNN, glance']


def wrap(model: nn.Module, learning_rate: float = 0.1, **settings) -> OptimWrapper:
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    return OPTIM_WRAPPERS.build(
        dict(type='mmlattn.MixedPrecisionOptimWrapper', optimizer=optimizer, **settings)
    )


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
@pytest.mark.parametrize('name', SYSTEMS)
def test_two_steps_are_finite_and_move_the_weights(name, dtype):
    case = CASES[name]
    model = case.build().train()
    # The largest scale at which no gradient of these steps overflows is other for each system.
    wrapper = wrap(model, case.learning_rate, dtype=dtype, loss_scale=8.0)
    before = [p.detach().clone() for p in model.parameters()]
    losses = []
    for step in range(2):
        with wrapper.optim_context(model):
            loss = case.loss(model, case.pictures(2, seed=step), case.labels(0))
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert all(map(torch.isfinite, map(torch.tensor, losses)))
    assert all(p.isfinite().all() for p in model.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_products_are_rounded_and_weights_are_not(dtype):
    torch.manual_seed(0)
    layer, x, kind = nn.Linear(7, 5, bias=False), torch.randn(3, 7), getattr(torch, dtype)
    weight = layer.weight.detach().clone()
    wrapper = wrap(layer, 0.5, dtype=dtype, loss_scale=4.0)
    with wrapper.optim_context(layer):
        out = layer(x)
    assert out.dtype == kind
    torch.testing.assert_close(out, x.to(kind) @ weight.to(kind).T)
    wrapper.update_params(out.float().sum())
    expected = weight - 0.5 * x.to(kind).sum(dim=0).float()
    torch.testing.assert_close(layer.weight.detach(), expected.expand_as(weight), rtol=0, atol=0.05)
    assert layer.weight.dtype == torch.float32


def test_a_step_of_float16_that_overflows_is_left_out_and_the_scale_halved():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    wrapper = wrap(layer, dtype='float16', loss_scale=dict(init_scale=2.0**20))
    with wrapper.optim_context(layer):
        loss = (layer(torch.full((1, 1), 2.0)) ** 2).sum()
    wrapper.update_params(loss)
    assert layer.weight.item() == 1 and wrapper.loss_scaler.get_scale() == 2.0**19
    restored = wrap(layer, dtype='float16')
    restored.load_state_dict(wrapper.state_dict())
    assert restored.loss_scaler.get_scale() == 2.0**19


def test_a_run_without_a_scale_is_taken_up_with_one():
    layer = nn.Linear(1, 1)
    for other in (wrap(layer), OptimWrapper(torch.optim.SGD(layer.parameters(), lr=0.3))):
        wrapper = wrap(layer, dtype='float16')
        wrapper.load_state_dict(other.state_dict())
        assert wrapper.loss_scaler.get_scale() == 2.0**16
        assert wrapper.get_lr()['lr'] == other.get_lr()['lr']


@pytest.mark.parametrize(
    ('settings', 'message'),
    [(dict(dtype='float64'), 'optim_wrapper.dtype'), (dict(loss_scale='static'), 'optim_wrapper.loss_scale')],
)
def test_other_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        wrap(nn.Linear(1, 1), **settings)


@pytest.mark.slow
@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_a_resumed_run_goes_on_bit_for_bit(tmp_path, dtype):
    config = write_tiny_run(tmp_path)
    args = [config, '--amp', '--cfg-options', f'optim_wrapper.dtype={dtype}']
    for folder in ('whole', 'part'):
        done = run_tool('train.py', *args, '--work-dir', tmp_path / folder, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    expected = final_state(tmp_path / 'whole' / 'epoch_3.pth')
    (tmp_path / 'part' / 'epoch_3.pth').unlink()
    (tmp_path / 'part' / 'last_checkpoint').write_text(str(tmp_path / 'part' / 'epoch_2.pth'))
    done = run_tool('train.py', *args, '--work-dir', tmp_path / 'part', '--resume', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert differing(expected, final_state(tmp_path / 'part' / 'epoch_3.pth')) == []
    done = run_tool('test.py', config, tmp_path / 'part' / 'epoch_3.pth', '--amp', cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_config_that_asks_for_it_is_trained_and_another_wrapper_is_not_lost(tmp_path):
    config = write_tiny_run(tmp_path)
    asking = ['--cfg-options', 'optim_wrapper.type=AmpOptimWrapper', 'train_cfg.max_epochs=1']
    done = run_tool('train.py', config, *asking, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config.write_text(config.read_text() + "optim_wrapper['type'] = 'OptimWrapperDict'\n")
    done = run_tool('train.py', config, '--amp', cwd=tmp_path)
    assert done.returncode == 1 and 'optim_wrapper.type' in done.stderr.splitlines()[-1]
