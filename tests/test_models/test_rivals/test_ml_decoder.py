"""ML-Decoder against timm's, which others wrote, and against the paper's formulas in numpy."""

import pytest
import torch
from reference.transformers import ml_decoder
from timm.layers.ml_decoder import MLDecoder
from torch import nn

from mmlattn.models import MLDecoderHead
from mmlattn.models.layers.group_linear import GroupLinear
from mmlattn.utils.errors import UserError

D, SMALL = 6, dict(embed_dims=16, feedforward_dims=24)
# Of timm's names; its decoder is a list of one layer.
NAMES = {
    'embed_standart': 'embed', 'query_embed.weight': 'queries', 'decoder.layers.0.norm1': 'norm',
    'decoder.layers.0.multihead_attn': 'look.attention', 'decoder.layers.0.norm2': 'look.norm',
    'decoder.layers.0.linear1': 'feed_forward.widen', 'decoder.layers.0.linear2': 'feed_forward.narrow',
    'decoder.layers.0.norm3': 'feed_forward.norm', 'duplicate_pooling_bias': 'classify.bias',
    'duplicate_pooling': 'classify.weight',
}  # fmt: skip


def head(num_classes=7, **settings):
    torch.manual_seed(0)
    return MLDecoderHead(num_classes, D, **SMALL | settings).eval()


def scattered(module):
    """Random weights, since some start at 0 or 1."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.eval()


class Layers(nn.Module):
    """In the place of torch's ``TransformerDecoder``, which since 2.0 asks of a layer what timm's does not have."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, queries, memory):
        for layer in self.layers:
            queries = layer(queries, memory)
        return queries


def timms(*args):
    made = MLDecoder(*args)
    made.decoder = Layers(made.decoder.layers)
    return made


def from_timm(state):
    for theirs, ours in NAMES.items():
        state = {name.replace(theirs, ours): value for name, value in state.items()}
    return {f'decoder.{name}': value for name, value in state.items()}


def count(module):
    return sum(p.numel() for p in module.parameters())


# One query each, groups that come out even, and those that do not: in the last a query speaks for no class.
@pytest.mark.parametrize(('classes', 'groups'), [(7, 7), (12, 4), (11, 4), (10, 6)])
def test_computes_what_timm_does(classes, groups):
    """From its own weights: logits and gradients, 2048 hidden units and 8 heads as its settings are."""
    theirs = scattered(timms(classes, groups, 16, D))
    ours = head(classes, num_groups=groups, feedforward_dims=2048)
    ours.load_state_dict(from_timm(theirs.state_dict()))
    pictures = [torch.randn(3, D, 4, 5, requires_grad=True) for _ in range(2)]
    pictures[1].data = pictures[0].data.clone()
    outputs = [theirs(pictures[0]), ours((pictures[1],))]
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    weights = torch.randn(3, classes)
    for out in outputs:
        (out * weights).sum().backward()
    torch.testing.assert_close(pictures[0].grad, pictures[1].grad, rtol=1e-4, atol=1e-5)
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.requires_grad}
    got = {name: p.grad for name, p in ours.named_parameters() if p.requires_grad}
    torch.testing.assert_close(got, from_timm(expected), rtol=1e-4, atol=1e-4)


def test_starts_as_timm_does():
    """Each tensor with the same spread, the last classifier's over three axes included."""
    theirs = from_timm(MLDecoder(40, 20, 64, D).state_dict())
    ours = head(40, num_groups=20, embed_dims=64, feedforward_dims=2048).state_dict()
    del ours['stored_settings']
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert abs(value.mean() - theirs[name].mean()) < 0.1 and value.shape == theirs[name].shape, name
        torch.testing.assert_close(value.std(), theirs[name].std(), rtol=0.15, atol=0.02, msg=name)


@pytest.mark.parametrize(('classes', 'groups'), [(80, None), (9605, 200)])
def test_parameters_of_the_papers_settings(classes, groups):
    """COCO's 80 classes with a query each, Open Images' 9,605 with 200; fixed queries are counted, not learnt."""
    ours, d, wide, k = MLDecoderHead(classes, 2048, num_groups=groups), 768, 2048, groups or classes
    size = -(-classes // k)
    learnt = (
        (2048 + 1) * d
        + 4 * (d + 1) * d
        + (d + 1) * wide
        + (wide + 1) * d
        + 3 * 2 * d
        + k * d * size
        + classes
    )
    assert sum(p.numel() for p in ours.parameters() if p.requires_grad) == learnt
    assert count(ours) == learnt + k * d == count(MLDecoder(classes, groups or -1))


@pytest.mark.parametrize(('classes', 'groups'), [(5, None), (7, 3)])
def test_logits_and_maps_are_the_formulas(classes, groups):
    ours = scattered(head(classes, num_groups=groups, num_heads=4)).double()
    x = torch.randn(2, D, 3, 4, dtype=torch.double)
    found = ours.predict_tensors((x,), with_evidence=True)
    weights = {name: value.numpy() for name, value in ours.state_dict().items()}
    for row, picture in enumerate(x):
        logits, maps = ml_decoder(picture.numpy(), weights, 4, classes)
        torch.testing.assert_close(found['logits'][row], torch.from_numpy(logits))
        torch.testing.assert_close(found['attention_maps'][row], torch.from_numpy(maps))


def test_evidence_is_shared_in_a_group():
    ours = scattered(head(7, num_groups=3))
    x = torch.randn(2, D, 3, 4)
    for sample, alone in zip(ours.predict(x, with_evidence=True), x, strict=True):
        maps = sample.attention_maps
        assert maps.shape == (7, 3, 4) and maps.dtype == torch.float32
        torch.testing.assert_close(maps.sum(dim=(1, 2)), torch.ones(7))
        groups = [0, 0, 0, 1, 1, 1, 2]
        assert [[torch.equal(a, b) for b in maps] for a in maps] == [[a == b for b in groups] for a in groups]
        (again,) = ours.predict(alone[None], with_evidence=True)
        torch.testing.assert_close(again.attention_maps, maps)
    assert 'attention_maps' not in ours.predict(x)[0]


def test_queries_are_learnt_only_if_asked_for():
    for learnable in (False, True):
        ours = head(learnable_queries=learnable)
        ours(torch.randn(2, D, 3, 3)).square().sum().backward()
        queries = ours.decoder.queries
        assert queries.requires_grad == learnable == (queries.grad is not None)


def test_classes_of_a_query_that_speaks_for_none():
    """Ten classes for six queries make groups of two, so five queries are enough."""
    layer = GroupLinear(10, 6, 4)
    assert layer.group_size == 2
    torch.testing.assert_close(
        layer.of_classes(torch.arange(6)[None]), torch.tensor([[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]])
    )
    h = torch.randn(1, 6, 4, requires_grad=True)
    layer(h).square().sum().backward()
    assert h.grad[0, :5].ne(0).all() and h.grad[0, 5].eq(0).all()


def test_wrong_arguments():
    with pytest.raises(UserError, match='num_groups=8 queries can not share num_classes=7'):
        head(num_groups=8)
    with pytest.raises(UserError, match='num_groups must be a whole number of 1 or more, got 0'):
        head(num_groups=0)
    with pytest.raises(UserError, match=r'embed_dims=20 .* num_heads=8: set embed_dims to a multiple'):
        head(embed_dims=20)
    with pytest.raises(UserError, match=r'dropout must lie in \[0, 1\], got 2'):
        head(dropout=2)
    with pytest.raises(UserError, match=r'pooled features .* neck=None'):
        head()(torch.randn(2, D))
    with pytest.raises(UserError, match='trained with num_heads=8, this network has num_heads=4'):
        head(num_heads=4).load_state_dict(head().state_dict())
