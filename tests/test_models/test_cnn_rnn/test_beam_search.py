"""The beam search against every path listed one by one, on models whose logits depend on the whole prefix."""

import math

import pytest
import reference.label_paths as reference
import torch

from mmlattn.models.cnn_rnn import beam_search as search_module
from mmlattn.models.cnn_rnn.beam_search import beam_search
from mmlattn.models.cnn_rnn.constraints import LabelConstraints, implied
from mmlattn.models.cnn_rnn.paths import DEAD
from mmlattn.models.cnn_rnn.scores import marginals

BUCKETS = 1009


class PrefixModel:
    """Random logits for every image and prefix; each part of the state alone knows half of what decides them."""

    def __init__(self, images, num_classes, scale=1.5, seed=0, dtype=torch.float64):
        generator = torch.Generator().manual_seed(seed)
        shape = (2, images, BUCKETS, num_classes + 1)
        self.tables = torch.randn(shape, generator=generator, dtype=dtype) * scale
        self.num_classes, self.calls = num_classes, 0

    def start(self):
        images = self.tables.shape[1]
        tokens = torch.full((images, 1), self.num_classes + 1)
        return tokens, (torch.zeros_like(tokens), torch.zeros(images, 1, 2, 3, dtype=torch.long))

    def step(self, tokens, state):
        self.calls += 1
        first = (state[0] * 31 + tokens + 1) % BUCKETS
        second = (state[1] * 37 + (tokens * tokens + 3)[..., None, None]) % BUCKETS
        rows = torch.arange(tokens.shape[0])[:, None]
        return self.tables[0][rows, first] + self.tables[1][rows, second[..., 1, 2]], (first, second)

    def logits(self, image):
        """The same for one image and one prefix."""

        def of(prefix):
            first = second = 0
            for token in (self.num_classes + 1, *prefix):
                first = (first * 31 + token + 1) % BUCKETS
                second = (second * 37 + token * token + 3) % BUCKETS
            return (self.tables[0, image, first] + self.tables[1, image, second]).tolist()

        return of

    def search(self, **options):
        return beam_search(self.step, *self.start(), self.num_classes, **options)


def masks(rows, num_classes):
    """Lists of labels as (B, C) bool."""
    out = torch.zeros(len(rows), num_classes, dtype=torch.bool)
    for row, labels in zip(out, rows, strict=True):
        row[list(labels)] = True
    return out


def rules(images, num_classes, present=None, absent=None, exclusive=(), parents=None):
    """Constraints from lists for each image, pairs, and a dict from labels to all they need."""
    none = [()] * images
    partners = [
        [*(b for a, b in exclusive if a == i), *(a for a, b in exclusive if b == i)]
        for i in range(num_classes)
    ]
    needed = [(parents or {}).get(i, ()) for i in range(num_classes)]
    constraints = LabelConstraints(
        *(masks(rows or none, num_classes) for rows in (present, absent)),
        *(masks(rows, num_classes) for rows in (partners, needed)),
    )
    return implied(constraints)


def found(beams, image):
    """Paths of one image with their log-probabilities, dead ones left out."""
    rows = zip(
        beams.paths[image].tolist(),
        beams.lengths[image].tolist(),
        beams.log_probs[image].tolist(),
        strict=True,
    )
    return {tuple(path[:n]): log_prob for path, n, log_prob in rows if log_prob > DEAD / 10}


def as_sets(beams):
    """Checks that paths, lengths and label sets say the same, best first, nothing in dead ones."""
    end = beams.labels.shape[-1]
    assert torch.equal(beams.log_probs, beams.log_probs.sort(dim=1, descending=True).values)
    for paths, lengths, log_probs, labels in zip(*beams, strict=True):
        for path, n, log_prob, row in zip(
            paths.tolist(), lengths.tolist(), log_probs.tolist(), labels, strict=True
        ):
            assert all(i < end for i in path[:n]) and all(i == end for i in path[n:])
            assert row.nonzero().flatten().tolist() == sorted(set(path[:n]))
            assert log_prob > -1e3 or (log_prob == DEAD and n == 0)


@pytest.mark.parametrize('end_mode', ['always', 'compete'])
@pytest.mark.parametrize(
    'limits',
    [dict(), dict(min_len=2), dict(max_len=3), dict(min_len=1, max_len=2), dict(min_len=3, max_len=3),
     dict(max_len=0), dict(min_len=4), dict(max_len=9)],
    ids=str,
)  # fmt: skip
def test_wide_enough_it_lists_all_paths(end_mode, limits):
    model = PrefixModel(3, 4)
    beams = model.search(width=66, end_mode=end_mode, **limits)
    as_sets(beams)
    for image in range(3):
        expected = reference.all_paths(model.logits(image), 4, **limits)
        assert math.fsum(map(math.exp, expected.values())) == pytest.approx(1, abs=1e-12)
        assert found(beams, image) == pytest.approx(expected, abs=1e-12)
        exact = torch.tensor(reference.marginals(expected, 4), dtype=torch.float64)
        torch.testing.assert_close(marginals(beams)[image].double(), exact)


@pytest.mark.parametrize('end_mode', ['always', 'compete'])
@pytest.mark.parametrize(('least', 'most'), [(0, 5), (1, 4), (0, 2), (3, 4), (2, 3)])
def test_under_constraints_it_lists_all_paths_that_meet_them(end_mode, least, most):
    """With other known labels for every image; two cannot be met, another not within two labels."""
    known = dict(
        present=[[], [2], [], [0, 4], [1], [3], [0, 1], [2, 3, 4]],
        absent=[[], [], [0, 3], [1], [], [2], [], []],
    )
    common = dict(exclusive=[(0, 1), (1, 3)], parents={3: [2], 4: [2, 3]})
    model = PrefixModel(8, 5)
    beams = model.search(
        width=330, end_mode=end_mode, min_len=least, max_len=most, constraints=rules(8, 5, **known, **common),
    )  # fmt: skip
    as_sets(beams)
    counts = []
    for image in range(8):
        paths = reference.all_paths(model.logits(image), 5, least, most)
        own = dict(present=known['present'][image], absent=known['absent'][image], **common)
        expected = {path: value for path, value in paths.items() if reference.meets(path, **own)}
        assert found(beams, image) == pytest.approx(expected, abs=1e-12)
        exact = torch.tensor(reference.marginals(expected, 5), dtype=torch.float64)
        torch.testing.assert_close(marginals(beams)[image], exact)
        counts.append(len(expected))
        assert expected or (beams.log_probs[image].eq(DEAD).all() and not beams.labels[image].any())
    assert any(counts[:5]) and counts[5:7] == [0, 0] and (counts[7] == 0) == (most == 2)
    assert all(counts[:5]) or (least, most) != (0, 5)


@pytest.mark.parametrize('end_mode', ['always', 'compete'])
@pytest.mark.parametrize(('width', 'max_len'), [(1, None), (2, None), (3, 4), (7, None)])
def test_narrow_it_is_the_beam_of_the_paper(width, max_len, end_mode):
    model = PrefixModel(6, 6, scale=0.8)
    beams = model.search(width=width, max_len=max_len, end_mode=end_mode)
    as_sets(beams)
    for image in range(6):
        expected = reference.beam(model.logits(image), 6, width, end_mode, max_len)
        assert found(beams, image) == pytest.approx(expected, abs=1e-12)
        if width == 1 and end_mode == 'compete':
            assert list(expected) == [reference.greedy(model.logits(image), 6, max_len=max_len)]


def test_one_image_at_a_time_is_the_same():
    """Constraints and how many known labels there are must not leak from one image to the next."""
    known = dict(present=[[], [5], [0, 1, 2], [4, 3]], absent=[[1, 2], [], [], [0]])
    common = dict(exclusive=[(0, 5)], parents={1: [0]})
    model = PrefixModel(4, 6, scale=0.7)
    whole = model.search(width=4, min_len=2, max_len=5, constraints=rules(4, 6, **known, **common))
    for i in range(4):
        alone = PrefixModel(4, 6, scale=0.7)
        alone.tables = alone.tables[:, i : i + 1]
        own = rules(1, 6, **{name: rows[i : i + 1] for name, rows in known.items()}, **common)
        beams = alone.search(width=4, min_len=2, max_len=5, constraints=own)
        assert found(whole, i) == pytest.approx(found(beams, 0), abs=1e-12) and found(whole, i)
        assert torch.equal(whole.paths[i], beams.paths[0])


@pytest.mark.parametrize('end_mode', ['always', 'compete'])
@pytest.mark.parametrize('known', [None, [[], [7], [3, 8], []]], ids=['free', 'known'])
def test_stopping_early_changes_nothing(known, end_mode, monkeypatch):
    """Against the search that never stops and, where nothing is known, the beam of the reference, which does not."""
    model = PrefixModel(4, 14)
    model.tables[..., -1] += 3.5  # ends often
    options = dict(width=4, end_mode=end_mode)
    if known:
        options |= dict(constraints=rules(4, 14, present=known))
    stopped, calls = model.search(**options), model.calls
    monkeypatch.setattr(search_module, 'CHECK_EVERY', 100)
    whole = model.search(**options)
    assert model.calls - calls == 14 and calls < 14
    for a, b in zip(stopped, whole, strict=True):
        assert torch.equal(a, b)
    for image in range(0 if known else 4):
        expected = reference.beam(model.logits(image), 14, 4, end_mode)
        assert found(stopped, image) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('end_mode', ['always', 'compete'])
def test_stopping_at_the_first_step_that_may_decide_changes_nothing(end_mode, monkeypatch):
    """One picture at a time, asked after every step: paths that still get among the finished ones are waited for."""
    saved = 0
    for seed in range(25):
        model = PrefixModel(1, 8, seed=seed)
        model.tables[..., -1] += 1.5
        found_by = []
        for every in (1, 100):
            monkeypatch.setattr(search_module, 'CHECK_EVERY', every)
            before = model.calls
            found_by.append(model.search(width=3, end_mode=end_mode))
            saved += (1 if every == 100 else -1) * (model.calls - before)
        for a, b in zip(*found_by, strict=True):
            assert torch.equal(a, b), seed
    assert saved > 25


def test_fixed_count():
    """Exactly three different labels, never END."""
    beams = PrefixModel(5, 9).search(width=4, min_len=3, max_len=3)
    assert beams.lengths.eq(3).all() and beams.paths.shape == (5, 4, 3)
    assert beams.labels.sum(-1).eq(3).all()


def test_worked_example():
    """U = [[1, 0], [0, 1], [.5, .5] for END], x = [2, 1]: p = .506480, .186324, .307196; then 0, .377541, .622459."""
    scores = torch.tensor([[1.0, 0], [0, 1], [0.5, 0.5]]) @ torch.tensor([2.0, 1])
    step = lambda tokens, state: (scores.expand(*tokens.shape, 3), state)  # noqa: E731
    beams = beam_search(step, torch.full((1, 1), 3), (), 2, width=5)
    expected = {
        (): 0.307196, (0,): 0.506480 * 0.622459, (0, 1): 0.506480 * 0.377541,
        (1,): 0.186324 * 0.377541, (1, 0): 0.186324 * 0.622459,
    }  # fmt: skip
    # After label 1: exp(2) / (exp(2) + exp(1.5)) = .622459 for 0.
    got = {path: math.exp(value) for path, value in found(beams, 0).items()}
    assert got == pytest.approx(expected, abs=1e-6)


def test_known_label_is_found_however_improbable():
    """A label of one in a million or less at every step, two beams, thirty labels; and what it needs."""
    model = PrefixModel(3, 30, scale=0.5)
    model.tables[..., 17] -= 12
    model.tables[..., 23] -= 12
    paths = {image: found(model.search(width=2), image) for image in range(3)}
    assert not any(17 in path for best in paths.values() for path in best)
    constraints = rules(3, 30, present=[[17], [17], []], parents={17: [23]})
    beams = model.search(width=2, max_len=4, constraints=constraints)
    for image in range(2):
        assert [{17, 23} <= set(path) for path in found(beams, image)] == [True, True]
        for path, value in found(beams, image).items():
            assert value == pytest.approx(reference.path_log_prob(model.logits(image), path, 30, max_len=4))
            assert value < 2 * math.log(1e-6)
    assert found(beams, 2) == found(model.search(width=2, max_len=4), 2)


@pytest.mark.parametrize('end_mode', ['always', 'compete'])
@pytest.mark.parametrize('most', [0, 2, 3])
def test_a_count_that_the_longest_path_does_not_reach_is_not_met(most, end_mode):
    """Of pictures that count 0 to 4 labels, those that count too many have no path; the others all of that length."""
    model = PrefixModel(5, 4)
    counted = rules(5, 4)._replace(count=torch.arange(5))
    beams = model.search(width=66, max_len=most, end_mode=end_mode, constraints=counted)
    as_sets(beams)
    for image in range(5):
        paths = reference.all_paths(model.logits(image), 4, max_len=most)
        expected = {path: value for path, value in paths.items() if len(path) == image}
        assert found(beams, image) == pytest.approx(expected, abs=1e-12)


def test_impossible_is_dead_and_nothing_else_is():
    """A length that the rules do not allow, of one image or all, and no beam that could be mistaken for a path."""
    constraints = rules(2, 4, exclusive=[(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
    counted = constraints._replace(count=torch.tensor([2, -1]))
    beams = PrefixModel(2, 4).search(width=6, constraints=counted)
    as_sets(beams)
    assert found(beams, 0) == {} and len(found(beams, 1)) == 5
    assert marginals(beams)[0].eq(0).all() and marginals(beams)[1].gt(0).all()
    longer = PrefixModel(2, 4).search(width=6, min_len=2, constraints=constraints)
    as_sets(longer)
    assert found(longer, 0) == found(longer, 1) == {} and marginals(longer).eq(0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_sums_are_single_precision_or_better(dtype):
    """The same logits in another type, and under autocast with constraints, whose counts are matrix products."""
    model = PrefixModel(3, 8, dtype=torch.float32)
    model.tables = model.tables.to(dtype)
    options = dict(width=5, constraints=rules(3, 8, present=[[1], [], [6]], parents={6: [2, 3]}))
    with torch.autocast('cpu', torch.bfloat16):
        beams = model.search(**options)
    assert beams.log_probs.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    step = model.step
    model.step = lambda tokens, state: (lambda logits, state: (logits.double(), state))(*step(tokens, state))
    exact = model.search(**options)
    assert torch.equal(beams.paths, exact.paths)
    torch.testing.assert_close(beams.log_probs.double(), exact.log_probs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(width=0), 'width must be a whole number of 1 or more, got 0'),
        (dict(min_len=3, max_len=2), 'min_len must not be above max_len .* 2, got 3'),
        (dict(min_len=5), 'min_len must not be above .* 4, got 5'),
        (dict(max_len=-1), 'max_len must be a whole number'),
        (dict(end_mode='never'), "end_mode must be one of 'always', 'compete'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        PrefixModel(1, 4).search(**(dict(width=2) | options))


class Scorer(torch.nn.Module):
    """A recurrent cell as step function; paths, log-probabilities, label sets and marginals from a feature (B, 7)."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.cell = torch.nn.Embedding(6, 5), torch.nn.GRUCell(5, 7)
        self.score, self.options = torch.nn.Linear(7, 5), options

    def step(self, tokens, state):
        hidden = self.cell(self.embedding(tokens).flatten(0, 1), state[0].flatten(0, 1))
        hidden = hidden.reshape(-1, tokens.shape[1], 7)
        return 4 * self.score(hidden), (hidden,)

    def forward(self, x):
        start = torch.full_like(x[:, :1], 5, dtype=torch.long)
        beams = beam_search(self.step, start, (x[:, None],), 4, **self.options)
        return *beams, marginals(beams)


@pytest.mark.export
@pytest.mark.parametrize('end_mode', ['always', 'compete'])
@torch.no_grad()
def test_compiles_without_graph_breaks(end_mode):
    """More beams than labels, so that the first step has dead ones."""
    torch._dynamo.reset()
    net, x = Scorer(width=5, min_len=1, end_mode=end_mode), torch.randn(3, 7)
    compiled = torch.compile(net, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.export
@pytest.mark.parametrize(('end_mode', 'dynamo'), [('always', False), ('compete', False), ('always', True)])
@torch.no_grad()
def test_onnx_with_dynamic_batch(tmp_path, end_mode, dynamo):
    onnx, ort = pytest.importorskip('onnx'), pytest.importorskip('onnxruntime')
    if dynamo:
        pytest.importorskip('onnxscript')
    # The loop is unrolled: a first and a last step, and one between where that is cheap.
    net = Scorer(width=5, min_len=1, max_len=2 if dynamo else 4, end_mode=end_mode).eval()
    path = str(tmp_path / 'net.onnx')
    batch = dict(dynamic_shapes=dict(x={0: 'batch'})) if dynamo else dict(dynamic_axes=dict(x={0: 'batch'}))
    args, opset = (torch.randn(2, 7),), 18 if dynamo else 17
    torch.onnx.export(net, args, path, input_names=['x'], dynamo=dynamo, opset_version=opset, **batch)
    written = {entry.domain: entry.version for entry in onnx.load(path).opset_import}
    assert written[''] >= 18 if dynamo else written[''] == 17
    session = ort.InferenceSession(path, providers=['CPUExecutionProvider'])
    for batch_size in (1, 2, 5):
        x = torch.randn(batch_size, 7)
        got = [torch.from_numpy(out) for out in session.run(None, {'x': x.numpy()})]
        torch.testing.assert_close(got, list(net(x)), rtol=0, atol=1e-5)


@pytest.mark.export
def test_what_decides_by_values_is_not_exported():
    with pytest.raises(ValueError, match='constraints cannot be compiled or exported'):
        torch.jit.trace(Scorer(width=2, constraints=rules(2, 4)), (torch.randn(2, 7),))
