"""The contract of every system, third part: what tools of mmpretrain and torch ask of a model works on each."""

import copy
import io
import pickle
from types import SimpleNamespace

import pytest
import torch
from contract_cases import CASES
from mmengine.analysis import get_model_complexity_info
from mmpretrain import FeatureExtractor
from test_contract_export import Asked
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmlattn.utils.errors import UserError

CLASSIFIERS = [name for name, case in CASES.items() if hasattr(case.build(), 'extract_feat')]


@pytest.mark.parametrize('stage', ['backbone', 'neck', 'pre_logits'])
@pytest.mark.parametrize('name', CLASSIFIERS)
def test_features_come_apart_picture_by_picture(name, stage):
    """Mmpretrain's own ``FeatureExtractor``: those of a picture are the same beside others."""
    case = CASES[name]
    model, x = case.build().eval(), case.pictures(3)
    as_it_is = SimpleNamespace(extract_feat=model.extract_feat, data_preprocessor=lambda data, training: data)
    extractor = SimpleNamespace(model=as_it_is)
    together = FeatureExtractor.forward(extractor, dict(inputs=x), stage=stage)
    for i, feats in enumerate(together):
        (alone,) = FeatureExtractor.forward(extractor, dict(inputs=x[i : i + 1]), stage=stage)
        assert type(alone) is type(feats)
        pairs = [(alone, feats)] if isinstance(feats, torch.Tensor) else zip(alone, feats, strict=True)
        for a, b in pairs:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_stock_flops(name):
    """As mmpretrain's ``get_flops.py`` counts: what torch's counter finds, and operators that this leaves out."""
    case = CASES[name]
    model = case.build().eval()
    model.forward = model.extract_feat
    counted = get_model_complexity_info(model, case.shape)['flops']
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(case.pictures(1))
    assert counted >= counter.get_total_flops() / 2 > 0


@pytest.mark.parametrize('name', CASES)
def test_copies_pickles_and_whole_files_compute_the_same(name):
    """Also after a training step."""
    case = CASES[name]
    model, x, file = case.build().train(), case.pictures(2), io.BytesIO()
    case.loss(model, x, case.labels(0)).backward()
    torch.save(model.eval(), file)
    file.seek(0)
    copies = [
        copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)
    ]  # fmt: skip
    with torch.no_grad():
        expected = case.outputs(model, x)
        for again in copies:
            assert all(map(torch.equal, case.outputs(again, x), expected))


@pytest.mark.parametrize('name', CASES)
def test_dynamic_quantisation_comes_close(name):
    """Of all linear layers, to 8 bit: scores within a tenth, and nine of ten decisions that are not on the edge."""
    case = CASES[name]
    model, x = case.build().eval(), case.pictures(16)
    quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear, nn.LSTMCell})
    assert not any(type(layer) is nn.Linear for layer in quantised.modules())
    with torch.no_grad():
        for ours, expected in zip(case.outputs(quantised, x), case.outputs(model, x), strict=True):
            assert (ours - expected).norm() < 0.1 * expected.norm()
        if hasattr(model, 'predict'):
            pairs = list(zip(quantised.predict(x), model.predict(x), strict=True))
            same = [set(q.pred_label.tolist()) == set(p.pred_label.tolist()) for q, p in pairs]
            assert sum(same) >= 0.9 * len(same)


@pytest.mark.export
@pytest.mark.slow
@pytest.mark.parametrize('name', CASES)
def test_traces_without_no_grad(name):
    """As people write it: ``torch.jit.trace(model.eval(), x)``; it is saved, loaded and given other pictures."""
    case = CASES[name]
    model, file, other = Asked(case).eval(), io.BytesIO(), case.pictures(3, seed=1)
    torch.jit.save(torch.jit.trace(model, (case.pictures(2),)), file)
    file.seek(0)
    with torch.no_grad():
        torch.testing.assert_close(
            tuple(torch.jit.load(file)(other)), tuple(model(other)), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_whole_models_in_half_precision(name, dtype):
    case = CASES[name]
    model, x = case.build().eval(), case.pictures(4)
    with torch.no_grad():
        expected = case.outputs(model, x)
        low = copy.deepcopy(model).to(dtype)
        for ours, exact in zip(case.outputs(low, x.to(dtype)), expected, strict=True):
            assert (ours.float() - exact).norm() < 0.02 * exact.norm()
        if hasattr(low, 'predict'):
            assert all(sample.pred_score.isfinite().all() for sample in low.predict(x.to(dtype)))


@pytest.mark.parametrize('name', CASES)
def test_channels_last(name):
    case = CASES[name]
    model, x = case.build().eval(), case.pictures(2)
    last = dict(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = case.outputs(model, x)
        got = case.outputs(copy.deepcopy(model).to(**last), x.to(**last))
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
    case.loss(model.to(**last).train(), x.to(**last), case.labels(0)).backward()


@pytest.mark.parametrize('name', CASES)
def test_synchronised_normalisation_and_back(name):
    case = CASES[name]
    model, x = case.build().eval(), case.pictures(2)
    names = set(model.state_dict())
    with torch.no_grad():
        expected = case.outputs(model, x)
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model).eval()
        assert set(model.state_dict()) == names
        torch.testing.assert_close(case.outputs(model, x), expected)


@pytest.mark.parametrize('name', [name for name, case in CASES.items() if hasattr(case.build(), 'loss')])
def test_no_pictures(name):
    """A batch of none is refused in one line in training; mmpretrain's own pooling cannot pool none."""
    case = CASES[name]
    model, none = case.build().eval(), case.pictures(2)[:0]
    if not getattr(model, 'with_neck', False) or name.startswith(('ST-LSTM', 'RA-CNN')):
        with torch.no_grad():
            assert model.predict(none) == [] and model.predict(none, []) == []
        with pytest.raises(UserError, match='a batch without pictures'):
            case.loss(model.train(), none, [])


@pytest.mark.parametrize('name', CASES)
def test_trains_with_all_weights_frozen_or_one_picture(name):
    case = CASES[name]
    model = case.build().train()
    case.loss(model, case.pictures(1), case.labels(0)[:1]).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    loss = case.loss(model.requires_grad_(False), case.pictures(2), case.labels(0))
    assert loss.isfinite() and not loss.requires_grad
