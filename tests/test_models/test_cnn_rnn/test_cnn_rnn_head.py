"""The CNN-RNN head against all label paths, listed one by one; its losses against sums by hand."""

import functools
import itertools
import math

import pytest
import torch
from mmpretrain.structures import DataSample
from reference.label_paths import all_paths, greedy, meets, path_log_prob
from reference.label_paths import marginals as marginals_of
from torch.nn.functional import nll_loss

from mmlattn.models import CNNRNNHead
from mmlattn.models.cnn_rnn.alignment import ALIGNMENTS, align_mla, align_pla, multi_order_loss
from mmlattn.models.cnn_rnn.paths import decode_freely

C, D = 4, 6
DECODERS = {
    'joint': 'joint',
    'paper cell': dict(type='joint', cell='paper', dropout=0.0),
    'init': dict(type='joint', image_into='init'),
    'attention': dict(type='attention', hidden_dims=16, embed_dims=8, attention_dims=4),
}

BEAM, THREE = dict(beam=4, max_len=4), dict(min_len=3, max_len=3, end_mode='compete')


def make(seed=0, **settings):
    """A head with weights large enough that paths differ, and no dropout."""
    torch.manual_seed(seed)
    head = CNNRNNHead(C, D, **(dict(label_freq=[3, 9, 1, 5]) | settings)).eval()
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.2 if 'cell' in name else 0.5))
    return head


def features(batch=3, seed=1):
    torch.manual_seed(seed)
    return (torch.randn(batch, D, 2, 3),)


def prefix_logits(head, feats, index):
    """``logits(prefix)`` of one picture: the decoder run anew from START for every prefix."""
    context = head.decoder.context(head.pre_logits((feats[-1][index : index + 1],)))

    @functools.cache
    def logits(prefix):
        state = head.decoder.start(context)
        for token in (C + 1, *prefix):
            scores, state = head.decoder.step(torch.tensor([[token]]), state, context)
        return scores[0, 0].tolist()

    return logits


@torch.no_grad()
@pytest.mark.parametrize('decoder', DECODERS.values(), ids=DECODERS)
def test_a_wide_beam_is_the_whole_truth(decoder):
    head, feats = make(decoder=decoder, test_cfg=dict(beam=65, fallback=0), with_evidence=True), features()
    for index, sample in enumerate(head.predict(feats)):
        paths = all_paths(prefix_logits(head, feats, index), C)
        assert len(paths) == 65
        assert sum(map(math.exp, paths.values())) == pytest.approx(1, abs=1e-5)
        best = max(paths, key=paths.get)
        assert tuple(sample.pred_label.tolist()) == tuple(sample.label_path.tolist()) == best
        assert sample.path_logprob.item() == pytest.approx(paths[best], abs=1e-4)
        assert sample.pred_score.tolist() == pytest.approx(marginals_of(paths, C), abs=1e-5)


@torch.no_grad()
def test_width_one_is_greedy_and_a_batch_is_its_pictures():
    head, feats = make(test_cfg=dict(beam=1)), features(batch=6)
    together = head.predict(feats)
    for index, sample in enumerate(together):
        assert tuple(sample.pred_label.tolist()) == greedy(prefix_logits(head, feats, index), C)
    for beam in (1, 3):
        head = make(test_cfg=dict(beam=beam))
        alone = torch.cat([head((feats[-1][i : i + 1],)) for i in range(6)])
        torch.testing.assert_close(head(feats), alone)


@torch.no_grad()
@pytest.mark.parametrize(('score', 'expected'), [('first', None), ('step_max', max), ('noisy_or', 'or')])
def test_scores_along_the_best_path(score, expected):
    head, feats = make(test_cfg=dict(score=score, beam=65)), features()
    for index, sample in enumerate(head.predict(feats)):
        logits, path = prefix_logits(head, feats, index), sample.pred_label.tolist()
        steps = []
        for t in range(len(path) + 1 if len(path) < C else C):
            scores = logits(tuple(path[:t]))
            open_ids = [i for i in range(C + 1) if i not in path[:t]]
            whole = sum(math.exp(scores[i]) for i in open_ids)
            steps.append([math.exp(scores[c]) / whole if c in open_ids else 0 for c in range(C)])
        columns = list(zip(*steps, strict=True))
        if expected is max:
            expected_scores = [max(column) for column in columns]
        elif expected == 'or':
            expected_scores = [1 - math.prod(1 - p for p in column) for column in columns]
        else:
            expected_scores = steps[0]
        assert sample.pred_score.tolist() == pytest.approx(expected_scores, abs=1e-5)


@torch.no_grad()
def test_fallback_ranks_what_no_path_has():
    feats = features(batch=8)
    plain = make(test_cfg=dict(beam=1, max_len=2, fallback=0))(feats)
    step_max = make(test_cfg=dict(beam=1, max_len=2, score='step_max'))(feats)
    mixed = make(test_cfg=dict(beam=1, max_len=2, fallback=0.01))(feats)
    torch.testing.assert_close(mixed, 0.99 * plain + 0.01 * step_max)
    assert (plain == 0).sum() > 4
    assert (mixed > 0).all()
    assert (mixed <= 1).all()


def sample_of(labels):
    return DataSample().set_gt_label(torch.tensor(labels, dtype=torch.long))


def test_a_random_order_is_drawn_for_each_picture():
    """Which label the decoder reads first differs within a batch of pictures that have the same labels."""
    head, read = make(order='random'), []
    step = head.decoder.step
    head.decoder.step = lambda tokens, *rest: read.append(tokens) or step(tokens, *rest)
    head.loss(features(batch=64), [sample_of([0, 1, 3])] * 64)
    assert read[1].unique().tolist() == [0, 1, 3]


@torch.no_grad()
@pytest.mark.parametrize('align', ['multi', 'multi_masked'])
def test_a_step_that_just_reaches_the_threshold_is_on_the_path(align):
    (sample,) = make(align=align).predict(features(batch=1))
    thr, label = sample.pred_score.max(dim=0)
    (sample,) = make(align=align, test_cfg=dict(thr=thr.item())).predict(features(batch=1))
    assert sample.pred_label.tolist() == [label]


# Of label_freq = 3, 9, 1, 5: 1, 3, 0, 2 from the most to the least frequent.
@pytest.mark.parametrize(
    ('order', 'paths'),
    [
        ('freq', [(1, 3, 2), (), (0,)]),
        ('rare', [(2, 3, 1), (), (0,)]),
        ('given', [(3, 1, 2), (), (0,)]),
    ],
)
def test_loss_is_the_paths_log_probability(order, paths):
    head, feats = make(order=order), features()
    samples = [sample_of(labels) for labels in ([3, 1, 2], [], [0])]
    total = sum(-path_log_prob(prefix_logits(head, feats, i), path, C) for i, path in enumerate(paths))
    steps = sum(len(path) + 1 for path in paths)
    expected = total / steps
    assert head.loss(feats, samples)['loss_path'].item() == pytest.approx(expected, rel=1e-4)
    if order != 'given':
        samples[0] = sample_of([2, 3, 1])
        assert head.loss(feats, samples)['loss_path'].item() == pytest.approx(expected, rel=1e-4)


def test_random_orders():
    feats, samples = features(), [sample_of([3, 1, 2])] * 3
    fixed = make(order='random_fixed')
    assert len({fixed.loss(feats, samples)['loss_path'].item() for _ in range(8)}) == 1
    assert sorted(fixed.label_rank.tolist()) == list(range(C))
    paths = [all_paths(prefix_logits(fixed, feats, i), C) for i in range(3)]
    possible = {
        round(-sum(p[o] for p, o in zip(paths, orders, strict=True)) / 12, 4)
        for orders in itertools.product(itertools.permutations((1, 2, 3)), repeat=3)
    }
    anew = make(order='random')
    seen = {round(anew.loss(feats, samples)['loss_path'].item(), 4) for _ in range(8)}
    assert len(seen) > 4
    assert all(any(abs(loss - p) < 2e-4 for p in possible) for loss in seen)


@torch.no_grad()
def test_exactly_three_labels():
    head, feats = make(test_cfg=dict(min_len=3, max_len=3, fallback=0, beam=65)), features(batch=5)
    for sample in head.predict(feats):
        assert len(set(sample.pred_label.tolist())) == 3
        assert sample.pred_score.sum().item() == pytest.approx(3, abs=1e-4)


KNOWN = [
    (dict(present=[2]), {}),
    (dict(absent=[1, 3]), {}),
    (dict(count=2), {}),
    (dict(count=0), {}),
    (dict(count=3, present=[2]), dict(exclusive=[[0, 1]])),
    ({}, dict(exclusive=[[0, 1], [2, 3]])),
    ({}, dict(parents={0: [2], 1: [0]})),
    (dict(present=[1], absent=[3]), dict(exclusive=[[1, 2]], parents={0: [1]})),
]


@torch.no_grad()
@pytest.mark.parametrize(('known', 'rules'), KNOWN, ids=str)
def test_what_is_known_makes_the_models_posterior(known, rules):
    """The first picture has it known, the second has not; rules hold for both."""
    cfg = dict(beam=65, fallback=0, constraints=rules) if rules else dict(beam=65, fallback=0)
    head, feats = make(test_cfg=cfg), features(batch=2)
    first = DataSample()
    for name, value in known.items():
        first.set_field(value if name == 'count' else torch.tensor(value), f'label_{name}')
    pairs = [pair for group in rules.get('exclusive', ()) for pair in itertools.combinations(group, 2)]
    samples = head.predict(feats, [first, DataSample()])
    for index, (sample, own) in enumerate(zip(samples, (known, {}), strict=True)):
        paths = all_paths(prefix_logits(head, feats, index), C)
        needs = {1: [0, 2], 0: [2]} if rules.get('parents', {}).get(1) else rules.get('parents')
        paths = {
            path: log_prob
            for path, log_prob in paths.items()
            if meets(path, own.get('present', ()), own.get('absent', ()), pairs, needs)
            and own.get('count') in (None, len(path))
        }
        assert tuple(sample.pred_label.tolist()) == max(paths, key=paths.get)
        assert sample.pred_score.tolist() == pytest.approx(marginals_of(paths, C), abs=1e-5)


def test_contradictions_are_told():
    head = make(test_cfg=dict(constraints=dict(exclusive=[[0, 1]])))
    sample = DataSample(metainfo=dict(img_path='folder/a.jpg'))
    sample.set_field(torch.tensor([0, 1]), 'label_present')
    with pytest.raises(ValueError, match=r'no set of labels fits what is known of folder/a\.jpg'):
        head.predict(features(batch=1), [sample])


@torch.no_grad()
def test_settings_of_the_search_reach_it():
    """Each against what the listed paths say: limits of the length, END in the beam."""
    feats = features(batch=8)
    for limits in (dict(), dict(min_len=2), dict(max_len=1), dict(min_len=1, max_len=3)):
        head = make(test_cfg=dict(beam=65, **limits))
        for index, sample in enumerate(head.predict(feats)):
            paths = all_paths(prefix_logits(make(), feats, index), C, **limits)
            assert tuple(sample.pred_label.tolist()) == max(paths, key=paths.get)
    greedy_paths = [greedy(prefix_logits(make(), feats, index), C) for index in range(8)]
    competing = make(test_cfg=dict(beam=1, end_mode='compete')).predict(feats)
    assert [tuple(sample.pred_label.tolist()) for sample in competing] == greedy_paths


@torch.no_grad()
def test_a_set_from_marginals():
    feats = features(batch=8)
    scores = make(test_cfg=dict(beam=65))(feats)
    head = make(test_cfg=dict(beam=65, set_from='marginal', thr=0.3, topk=2))
    for sample, row in zip(head.predict(feats), scores.tolist(), strict=True):
        order = sorted(range(C), key=lambda c: -row[c])
        assert sample.pred_label.tolist() == [c for c in order[:2] if row[c] >= 0.3]
    known = DataSample()
    known.set_field(torch.tensor([0]), 'label_present')
    with pytest.raises(ValueError, match='keeps to no constraints'):
        head.predict(features(batch=1), [known])


@torch.no_grad()
@pytest.mark.parametrize('score', ['marginal', 'first', 'noisy_or'])
def test_scores_say_what_is_known_and_what_follows(score):
    rules = dict(present=[0], parents={0: [1]}, exclusive=[[1, 2]])
    for sample in make(test_cfg=dict(score=score, constraints=rules)).predict(features()):
        assert sample.pred_score[:3].tolist() == [1, 1, 0]
        assert 0 < sample.pred_score[3] < 1


def test_losses_without_a_given_order():
    """The alignments against all orders of the labels; the multi-order loss and the auxiliary one as sums."""
    feats, samples = features(batch=2), [sample_of([3, 1, 2]), sample_of([])]
    for align in ('mla_masked', 'pla_masked'):
        head = make(align=align)
        context = head.decoder.context(head.pre_logits(feats))
        run = decode_freely(head.decoder, context, C, 4)
        total = -path_log_prob(prefix_logits(head, feats, 1), (), C)
        before, emitted = run.before[0].tolist(), run.emitted[0].tolist()
        logits = run.logits[0].detach().masked_fill(torch.tensor([[*row, False] for row in before]), -1e9)
        steps = logits.log_softmax(dim=-1).tolist()
        orders = list(itertools.permutations((1, 2, 3)))
        if align == 'pla_masked':
            fixed = {}
            for t, label in enumerate(emitted[:3]):
                if label in (1, 2, 3) and label not in fixed.values():
                    fixed[t] = label
            orders = [o for o in orders if all(o[t] == label for t, label in fixed.items())]
        total += min(-sum(steps[t][label] for t, label in enumerate(o)) for o in orders) - steps[3][C]
        loss = head.loss(feats, samples)['loss_path'].item()
        assert loss == pytest.approx(total / 5, rel=1e-4), align
    head = make(align='multi_masked', num_steps=3, aux_bce=0.5)
    run = decode_freely(head.decoder, head.decoder.context(head.pre_logits(feats)), C, 3)
    total = 0.0
    for index, labels in enumerate(({1, 2, 3}, set())):
        for t in range(3):
            for c in range(C):
                wanted = c in labels and not run.before[index, t, c]
                p = run.logits[index, t, c].sigmoid().item()
                total -= math.log(p if wanted else 1 - p)
    losses = head.loss(feats, samples)
    assert losses['loss_path'].item() == pytest.approx(total / 2, rel=1e-4)
    probs = head.aux(head.pre_logits(feats)).sigmoid().tolist()
    bce = [-math.log(p if c in labels else 1 - p) for row, labels in zip(probs, ({1, 2, 3}, ()), strict=True)
           for c, p in enumerate(row)]  # fmt: skip
    assert losses['loss_aux'].item() == pytest.approx(0.5 * sum(bce) / len(bce), rel=1e-4)


@pytest.mark.parametrize('align', ['mla', 'pla', 'multi'])
def test_losses_of_the_authors_let_the_decoder_repeat_itself(align):
    """Step by step: it reads the best of all its tokens, and no score is masked."""
    feats, samples = features(batch=2), [sample_of([3, 1, 2]), sample_of([])]
    head = make(align=align, num_steps=6)
    steps = 4 if align == 'mla' else head.num_steps
    context = head.decoder.context(head.pre_logits(feats))
    state, token = head.decoder.start(context), torch.full((2, 1), C + 1)
    logits, emitted = [], []
    for _ in range(steps):
        scores, state = head.decoder.step(token, state, context)
        token = (scores[..., :C] if align == 'multi' else scores).argmax(dim=-1)
        logits.append(scores.detach())
        emitted.append(token)
    logits, emitted = torch.cat(logits, dim=1), torch.cat(emitted, dim=1)
    assert any(len(set(row)) < steps for row in emitted.tolist())
    labels = torch.tensor([[False, True, True, True], [False] * C])
    if align == 'multi':
        assert steps == C
        before = torch.stack(
            [(emitted[:, :t, None] == torch.arange(C)).any(dim=1) for t in range(steps)], dim=1
        )
        expected = multi_order_loss(logits[..., :C], labels, before)
    else:
        log_probs = logits.log_softmax(dim=-1)
        targets = align_mla(log_probs, labels) if align == 'mla' else align_pla(log_probs, emitted, labels)
        expected = nll_loss(log_probs.flatten(0, 1), targets.flatten())
    assert head.loss(feats, samples)['loss_path'].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_given_ranking_holds_against_that_of_other_weights():
    other = make(label_freq=[1, 2, 3, 4]).state_dict()
    for settings, expected in ((dict(), [2, 0, 3, 1]), (dict(order='random_fixed', label_freq=None), None)):
        head = make(**settings)
        before = head.label_rank.tolist()
        head.load_state_dict(other)
        assert head.label_rank.tolist() == before == (expected or before)
    with torch.device('meta'):
        head = CNNRNNHead(C, D, label_freq=[3, 9, 1, 5])
    head.to_empty(device='cpu').init_weights()
    assert head.label_rank.tolist() == [2, 0, 3, 1]


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('label_count', 2.7, 'whole number of 0 to 4'),
        ('label_count', 7, 'whole number of 0 to 4'),
        ('label_present', torch.tensor([1.5]), 'indices of classes'),
        ('label_absent', torch.tensor([True, False, True, False]), 'indices of classes'),
        ('label_present', torch.tensor([4]), r'label_present holds \[4\] but the model scores 4 classes'),
    ],
)
def test_what_samples_say_is_checked(field, value, message):
    sample = DataSample()
    sample.set_field(value, field, dtype=None)
    with pytest.raises(ValueError, match=message):
        make().predict(features(batch=1), [sample])


@torch.no_grad()
def test_attention_is_told_of_emitted_labels_alone():
    head = make(decoder=DECODERS['attention'], with_evidence=True, test_cfg=dict(min_len=1))
    samples = head.predict(features(batch=8))
    assert len({len(sample.label_path) for sample in samples}) > 1
    for sample in samples:
        assert sample.attention_maps.shape == (C, 2, 3)
        totals = sample.attention_maps.sum(dim=(1, 2)).tolist()
        emitted = sample.label_path.tolist()
        assert totals == pytest.approx([float(c in emitted) for c in range(C)], abs=1e-5)
    assert 'label_path' not in head.predict(features(), with_evidence=False)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('decoder', 'align'),
    [('joint', None), ('joint', 'mla'), ('joint', 'multi_masked'), ('attention', None), ('attention', 'pla')],
)
def test_learns_16_pictures_by_heart(decoder, align):
    """Random vectors with random sets of labels."""
    torch.manual_seed(0)
    settings = dict(type=decoder, hidden_dims=32, embed_dims=16, dropout=0.0)
    head = CNNRNNHead(6, 16, decoder=settings, align=align, label_freq=[1] * 6, num_steps=5)
    x = torch.randn(16, 16, 1, 1)
    truth = torch.rand(16, 6) < 0.35
    samples = [sample_of(row.nonzero().flatten().tolist()) for row in truth]
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        sum(head.loss((x,), samples).values()).backward()
        optimizer.step()
    with torch.no_grad():
        for sample, row in zip(head.eval().predict((x,)), truth, strict=True):
            assert sorted(sample.pred_label.tolist()) == row.nonzero().flatten().tolist()


@torch.no_grad()
@pytest.mark.parametrize(
    ('settings', 'shape'),
    [
        (dict(decoder='joint', test_cfg=BEAM), (6,)),
        (dict(decoder=dict(type='attention', attention_dims=4), test_cfg=BEAM), (6, 2, 3)),
        (dict(decoder=dict(type='joint', cell='paper'), test_cfg=BEAM | THREE), (6,)),
        (dict(decoder='joint', align='multi', num_steps=3), (6,)),
    ],
)
def test_bfloat16_decodes_the_same(settings, shape):
    """Log-probabilities add up in float32; scores stay within what rounding of the logits moves."""
    torch.manual_seed(0)
    head = CNNRNNHead(5, 6, label_freq=[1] * 5, **settings)
    for parameter in head.eval().parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    x = torch.randn(64, *shape)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        low, samples = head((x,)), head.predict((x,))
    assert low.dtype == torch.float32
    assert (low - head((x,))).abs().mean() < 0.01
    pairs = zip(samples, head.predict((x,)), strict=True)
    assert sum(a.pred_label.tolist() == b.pred_label.tolist() for a, b in pairs) >= 60


def test_every_weight_takes_part():
    for decoder, align in itertools.product(DECODERS.values(), (None, *ALIGNMENTS)):
        head = make(decoder=decoder, align=align, aux_bce=0.5).train()
        samples = [sample_of(labels) for labels in ([3, 1], [], [0])]
        sum(head.loss(features(), samples).values()).backward()
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), (decoder, align, name)


def test_rank_and_settings_travel_with_the_weights():
    head = make(decoder=dict(type='joint', cell='paper'))
    assert head.label_rank.tolist() == [2, 0, 3, 1]
    again = CNNRNNHead(C, D, decoder=dict(type='joint', cell='paper'))
    assert again.label_rank.tolist() == [-1] * C
    again.load_state_dict(head.state_dict())
    assert again.label_rank.tolist() == [2, 0, 3, 1]
    with pytest.raises(ValueError, match="trained with cell='paper', this network has cell='lstm'"):
        CNNRNNHead(C, D, decoder=dict(type='joint', cell='lstm')).load_state_dict(head.state_dict())


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(order='alphabetical'), 'order must be one of'),
        (dict(align='none'), 'align must be one of'),
        (dict(label_freq=[1, 2]), 'label_freq must be 4 numbers'),
        (dict(label_freq=['abc']), 'label_freq must be 4 numbers'),
        (dict(decoder='gru'), 'gru'),
        (dict(decoder=dict(cell='lstm')), 'decoder needs a type'),
        (dict(decoder=3), "decoder needs a type, 'joint' or 'attention', got 3"),
        (
            dict(test_cfg=dict(beams=3)),
            r"test_cfg must be a dict with some of beam, min_len.* got \{'beams': 3\}",
        ),
        (dict(test_cfg=dict(min_len=5)), 'min_len <= max_len <= num_classes'),
        (dict(test_cfg=dict(score='mean')), 'test_cfg.score must be one of'),
        (dict(test_cfg=dict(thr=2)), r'test_cfg.thr must lie in \[0, 1\]'),
        (dict(test_cfg=dict(constraints=dict(present=[9]))), '9'),
        (dict(aux_bce=-1), 'aux_bce must be'),
        (dict(label_freq='/none.json'), 'label_freq must be 4 numbers'),
        (dict(decoder='transformer'), "'joint', 'attention' or a registered class"),
        (dict(decoder=dict(type='joint', hidden=3)), 'hidden'),
        (dict(decoder=dict(type='joint', gate_act='relu')), "of cell='paper'"),
        (dict(align='multi', test_cfg=dict(beam=5)), 'has no beam search'),
        (dict(test_cfg='beam'), 'test_cfg must be a dict'),
        (dict(test_cfg=dict(set_from='marginal', min_len=2)), 'keeps to no min_len'),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises((ValueError, KeyError), match=message):
        CNNRNNHead(C, D, **settings)


def test_input_that_cannot_be_read_is_refused():
    head, samples = make(), [sample_of([0])] * 3
    with pytest.raises(ValueError, match='in_channels=6, the features have 5'):
        head((torch.randn(2, 5),))
    with pytest.raises(ValueError, match='feature map'):
        make(decoder='attention')((torch.randn(2, D),))
    with pytest.raises(ValueError, match='LabelFrequencyHook'):
        CNNRNNHead(C, D).loss(features(), samples)
    with pytest.raises(ValueError, match='Mixup'):
        soft = DataSample().set_gt_score(torch.tensor([0.3, 0, 0.7, 0]))
        head.loss(features(), [soft] * 3)
    with pytest.raises(ValueError, match=r'gt_label holds \[4\] but the model scores 4 classes'):
        head.loss(features(), [sample_of([4])] * 3)
    with pytest.raises(ValueError, match='num_classes'):
        head.loss(features(), [DataSample().set_gt_score(torch.zeros(7))] * 3)
    with pytest.raises(ValueError, match='keeps to no constraints'):
        known = DataSample()
        known.set_field(torch.tensor([0]), 'label_present')
        make(align='multi').predict(features(batch=1), [known])
