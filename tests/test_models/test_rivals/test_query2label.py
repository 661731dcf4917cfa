"""Query2Label against the formulas of its paper and DETR's in numpy, and its layers against torch's own."""

import numpy as np
import pytest
import torch
from reference.transformers import query2label, sine_position
from torch import nn

from mmlattn.models import Query2LabelHead
from mmlattn.models.query2label.positions import sine_positions
from mmlattn.models.query2label.transformer import DecoderLayer, EncoderLayer
from mmlattn.utils.errors import UserError

C, D = 5, 8


def head(**settings):
    torch.manual_seed(0)
    made = Query2LabelHead(C, D, **dict(feedforward_dims=12, num_heads=2) | settings).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(embed_dims=12, num_heads=3),
        dict(self_attention=True, num_decoder_layers=3),
        dict(embed_dims=4, num_encoder_layers=0, num_decoder_layers=1),
    ],
    ids=['published', 'projected', 'self-attention', 'one layer'],
)
def test_logits_and_maps_are_the_formulas(settings):
    ours = head(**settings).double()
    x = torch.randn(2, D, 3, 5, dtype=torch.double)
    found = ours.predict_tensors((x,), with_evidence=True)
    sizes = [settings.get(*pair) for pair in (('num_encoder_layers', 1), ('num_decoder_layers', 2))]
    weights = {name: value.numpy() for name, value in ours.state_dict().items()}
    for row, picture in enumerate(x):
        logits, maps = query2label(picture.numpy(), weights, settings.get('num_heads', 2), C, *sizes)
        torch.testing.assert_close(found['logits'][row], torch.from_numpy(logits))
        torch.testing.assert_close(found['attention_maps'][row], torch.from_numpy(maps))
    torch.testing.assert_close(ours.float()((x.float(),)), found['logits'].float(), rtol=1e-5, atol=1e-5)


def test_layers_are_torchs_own_where_there_are_no_positions():
    """``TransformerEncoderLayer`` and ``TransformerDecoderLayer`` from the same weights, to 1e-5."""
    torch.manual_seed(0)
    memory, found = torch.randn(2, 6, D), torch.randn(2, C, D)
    sizes = dict(d_model=D, nhead=2, dim_feedforward=12, batch_first=True)
    ours = EncoderLayer(D, 12, 2, 0.1).eval()
    theirs = nn.TransformerEncoderLayer(**sizes).train(False)
    names = {
        'look.attention': 'self_attn', 'look.norm': 'norm1', 'feed_forward.norm': 'norm2',
        'feed_forward.widen': 'linear1', 'feed_forward.narrow': 'linear2',
    }  # fmt: skip
    theirs.load_state_dict(renamed(ours, names))
    torch.testing.assert_close(ours(memory, torch.zeros(6, D)), theirs(memory), rtol=1e-5, atol=1e-5)
    ours = DecoderLayer(D, 12, 2, 0.1, self_attention=True).eval()
    theirs = nn.TransformerDecoderLayer(**sizes).train(False)
    names |= {
        'confer.attention': 'self_attn', 'confer.norm': 'norm1', 'look.attention': 'multihead_attn',
        'look.norm': 'norm2', 'feed_forward.norm': 'norm3',
    }  # fmt: skip
    theirs.load_state_dict(renamed(ours, names))
    got, _ = ours(found, torch.zeros(C, D), memory, torch.zeros(6, D))
    torch.testing.assert_close(got, theirs(found, memory), rtol=1e-5, atol=1e-5)


def renamed(module, names):
    state = module.state_dict()
    for ours, theirs in names.items():
        state = {name.replace(ours, theirs): value for name, value in state.items()}
    return state


@pytest.mark.parametrize(('height', 'width', 'dims'), [(3, 5, 16), (1, 1, 4), (14, 7, 12)])
def test_positions_are_sines_and_cosines(height, width, dims):
    got = sine_positions(height, width, dims, like=torch.zeros(1, dtype=torch.double))
    expected = [sine_position(i, j, height, width, dims) for i in range(height) for j in range(width)]
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12, atol=1e-12)
    half = sine_positions(height, width, dims, like=torch.zeros(1, dtype=torch.float16))
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.double(), got, rtol=0, atol=1e-3)


def test_parameters_of_the_papers_settings():
    """80 classes, ResNet-101's 2,048 channels, 8,192 hidden units, one encoder and two decoder layers."""
    d, wide, classes = 2048, 8192, 80
    attention, feed_forward = 4 * (d + 1) * d + 2 * d, (d + 1) * wide + (wide + 1) * d + 2 * d
    expected = 3 * (attention + feed_forward) + 2 * d + classes * (d + d + 1)
    with torch.device('meta'):
        ours = {
            name: sum(p.numel() for p in Query2LabelHead(80, 2048, **settings).parameters())
            for name, settings in dict(
                published={}, projected=dict(embed_dims=2048), confer=dict(self_attention=True)
            ).items()
        }
    assert ours == dict(
        published=expected, projected=expected + (d + 1) * d, confer=expected + attention
    ) | dict(published=151_406_672)


def test_evidence_sums_to_one_and_sizes_may_change():
    ours = head()
    for size in ((3, 4), (6, 2)):
        x = torch.randn(2, D, *size)
        for sample, alone in zip(ours.predict(x, with_evidence=True), x, strict=True):
            assert sample.attention_maps.shape == (C, *size)
            torch.testing.assert_close(sample.attention_maps.sum(dim=(1, 2)), torch.ones(C))
            (again,) = ours.predict(alone[None])
            torch.testing.assert_close(again.pred_score, sample.pred_score)
            assert 'attention_maps' not in again


def test_positions_matter_and_dropout_is_for_training():
    ours = head()
    x = torch.randn(1, D, 4, 4)
    assert not torch.allclose(ours(x), ours(x.flip(-1)), atol=1e-3)
    assert torch.equal(ours(x), ours(x)) and not torch.equal(ours.train()(x), ours(x))


def test_wrong_arguments():
    with pytest.raises(UserError, match='embed_dims=6 must be a multiple of 4'):
        head(embed_dims=6)
    with pytest.raises(UserError, match='num_decoder_layers must be a whole number of 1 or more'):
        head(num_decoder_layers=0)
    with pytest.raises(UserError, match=r'self_attention=True with num_decoder_layers=1.*to 2 or more'):
        head(self_attention=True, num_decoder_layers=1)
    with pytest.raises(UserError, match='trained with num_heads=2, this network has num_heads=4'):
        head(num_heads=4).load_state_dict(head().state_dict())
    with pytest.raises(UserError, match='has in_channels=8 entries'):
        head()(torch.randn(1, 3, 4, 4))
