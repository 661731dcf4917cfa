"""The decoders against their equations, written out with loops and plain numbers."""

import math

import pytest
import torch

from mmlattn.models.cnn_rnn.attention_decoder import AttentionDecoder
from mmlattn.models.cnn_rnn.joint_decoder import JointDecoder, LabelEmbedding, SingleStateCell
from mmlattn.models.cnn_rnn.paths import (
    DEAD,
    decode_freely,
    follow_paths,
    label_attention,
    path_attention,
    path_log_probs,
)

C, D, E, H = 5, 7, 6, 8
END, START = C, C + 1


def sigmoid(x):
    return 1 / (1 + (-x).exp())


def lstm_step(cell, w, out, state):
    """PyTorch's own cell with our weights."""
    theirs = torch.nn.LSTMCell(w.shape[-1], out.shape[-1]).double()
    theirs.weight_ih, theirs.weight_hh = cell.input.weight, cell.hidden.weight
    theirs.bias_ih, theirs.bias_hh = cell.input.bias, torch.nn.Parameter(torch.zeros_like(cell.input.bias))
    out, state = theirs(w[None], (out[None], state[None]))
    return out[0], state[0]


def paper_step(cell, w, _, r):
    """The printed recurrence, gate by gate."""
    rows = cell.input.weight @ w + cell.input.bias + cell.hidden.weight @ r
    n = len(r)
    i, f, o = sigmoid(rows[:n]), sigmoid(rows[n : 2 * n]), sigmoid(rows[3 * n :])
    x = rows[2 * n : 3 * n].clamp(min=0)
    r = torch.stack([f[k] * r[k] + i[k] * x[k] for k in range(n)])
    return r * o, r


STEPS = dict(lstm=lstm_step, paper=paper_step)


def joint_reference(decoder, cell, image_into, feature, tokens):
    """Logits of one picture along one path, by the equations."""
    table, zeros = decoder.labels.table.weight, torch.zeros(H).double()
    image = decoder.picture.weight @ feature
    out, state = zeros, zeros
    if image_into == 'init':
        out, state = image.tanh()[:H], image.tanh()[H:]
    if image_into == 'input':
        out, state = STEPS[cell](decoder.cell, image, out, state)
    rows = []
    for token in tokens:
        out, state = STEPS[cell](decoder.cell, table[token], out, state)
        x = decoder.history.weight @ out
        if image_into == 'joint':
            x = x + image
        x = x.clamp(min=0)
        rows.append(torch.stack([table[c] @ x for c in range(C + 1)]))
    return torch.stack(rows)


@pytest.mark.parametrize('image_into', ['joint', 'init', 'input'])
@pytest.mark.parametrize('cell', ['lstm', 'paper'])
def test_joint_decoder_is_its_equations(cell, image_into):
    torch.manual_seed(0)
    decoder = JointDecoder(C, D, embed_dims=E, hidden_dims=H, cell=cell, image_into=image_into)
    decoder = decoder.double().eval()
    features = torch.randn(3, D).double()
    tokens = torch.tensor([[START, 0, 3, 1], [START, 4, 2, END], [START, END, END, END]])
    with torch.no_grad():
        got = follow_paths(decoder, tokens, decoder.context(features))
        for row, feature, path in zip(got, features, tokens, strict=True):
            expected = joint_reference(decoder, cell, image_into, feature, path)
            torch.testing.assert_close(row, expected)


def test_paths_of_one_picture_are_stepped_side_by_side():
    torch.manual_seed(0)
    decoder = JointDecoder(C, D, embed_dims=E, hidden_dims=H).eval()
    feature = torch.randn(2, D)
    context, tokens = decoder.context(feature), torch.tensor([[0, 4, 1], [3, 2, 2]])
    state = tuple(torch.randn(2, 3, H) for _ in range(2))
    with torch.no_grad():
        logits, after = decoder.step(tokens, state, context)
        for w in range(3):
            alone, state_alone = decoder.step(
                tokens[:, w : w + 1], tuple(s[:, w : w + 1] for s in state), context
            )
            torch.testing.assert_close(logits[:, w], alone[:, 0])
            for ours, theirs in zip(after, state_alone, strict=True):
                torch.testing.assert_close(ours[:, w], theirs[:, 0])


def test_scores_of_the_paper_in_numbers():
    """Two labels and END; after label 0 was emitted it is out, and the others share what is left."""
    labels = LabelEmbedding(2, 2)
    with torch.no_grad():
        labels.table.weight[:3] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
        logits = labels.score(torch.tensor([[[2.0, 1.0], [2.0, 1.0]]]))
    assert logits[0, 0].tolist() == [2.0, 1.0, 1.5]
    before = torch.tensor([[[False, False], [True, False]]])
    probs = path_log_probs(logits, before).exp()[0]
    assert probs[0].tolist() == pytest.approx([0.506480, 0.186324, 0.307196], abs=1e-6)
    assert probs[1].tolist() == pytest.approx([0.0, 0.377541, 0.622459], abs=1e-6)


def test_what_may_not_come_is_dead_whatever_its_score():
    """Also where nothing may come, of which the softmax alone makes equal shares."""
    logits = torch.tensor([[[300.0, -300.0, 200.0, 1.0]] * 3])
    before = torch.tensor([[[True, False, True], [True, True, True], [True, True, True]]])
    assert path_log_probs(logits, before)[0].tolist()[:2] == [[DEAD, -301, DEAD, 0], [DEAD, DEAD, DEAD, 0]]
    assert (
        path_log_probs(logits, before, may_end=False)[0].tolist()
        == [[DEAD, 0, DEAD, DEAD]] + [[DEAD] * 4] * 2
    )


def test_dropout_is_on_both_projections_into_the_joint_space():
    """With a probability of 1 nothing of them is left."""
    torch.manual_seed(0)
    feature, tokens = torch.randn(2, D, 2, 3), torch.tensor([[0], [3]])
    state, picture = tuple(torch.randn(2, 1, H) for _ in range(2)), torch.randn(2, 1, E)
    joint = JointDecoder(C, D, embed_dims=E, hidden_dims=H, dropout=1.0)
    assert not joint.context(feature[..., 0, 0]).any()
    scores = joint.step(tokens, state, picture)[0]
    torch.testing.assert_close(scores, joint.labels.score(picture.relu()))
    attention = AttentionDecoder(C, D, embed_dims=E, hidden_dims=H, attention_dims=4, dropout=1.0)
    assert not attention.step(tokens, state, attention.context(feature))[0].any()


def test_literal_gates_are_relu():
    cell = SingleStateCell(2, 1, gate_act='relu')
    with torch.no_grad():
        cell.input.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, -1.0]]))
        cell.hidden.weight.copy_(torch.tensor([[0.0], [0.0], [0.5], [4.0]]))
        out, r = cell(torch.tensor([1.0, 1.0]), (torch.zeros(1), torch.tensor([2.0])))
    # i = 1, f = 2, x = 3 + 1 = 4, o = -1 + 8 = 7; r' = 2 * 2 + 1 * 4
    assert (out.item(), r.item()) == (56.0, 8.0)


def test_attention_decoder_is_its_equations():
    torch.manual_seed(0)
    decoder = AttentionDecoder(C, D, embed_dims=E, hidden_dims=H, attention_dims=4).double().eval()
    maps = torch.randn(2, D, 2, 3).double()
    tokens = torch.tensor([[START, 1, 4], [START, 0, END]])
    with torch.no_grad():
        context = decoder.context(maps)
        got, looks = follow_paths(decoder, tokens, context), path_attention(decoder, tokens, context)
        for index in range(2):
            places = [maps[index, :, y, x] for y in range(2) for x in range(3)]
            first = decoder.first_state.weight @ (sum(places) / 6) + decoder.first_state.bias
            h, c = first.tanh()[:H], first.tanh()[H:]
            for t, token in enumerate(tokens[index]):
                energies = [
                    decoder.energy.weight[0]
                    @ (decoder.key.weight @ m + decoder.key.bias + decoder.query.weight @ h).tanh()
                    for m in places
                ]
                total = sum(math.exp(e) for e in energies)
                weights = [math.exp(e) / total for e in energies]
                assert looks[index, t].tolist() == pytest.approx(weights, rel=1e-9)
                z = sum(a * m for a, m in zip(weights, places, strict=True))
                z = sigmoid(decoder.gate.weight @ h + decoder.gate.bias) * z
                w = torch.cat((decoder.labels.table.weight[token], z))
                h, c = lstm_step(decoder.cell, w, h, c)
                x = (decoder.history.weight @ h + decoder.picture.weight @ z).clamp(min=0)
                scores = decoder.labels.table.weight[: C + 1] @ x
                torch.testing.assert_close(got[index, t], scores)


def test_a_label_was_seen_where_the_step_looked_that_was_first_to_emit_it():
    """Label 2 comes twice, END in between; labels 1 and 3 never."""
    looks = torch.tensor([[[0.7, 0.3], [0.2, 0.8], [0.5, 0.5], [1.0, 0.0]]])
    got = label_attention(looks, torch.tensor([[2, 0, 4, 2]]), 4)
    torch.testing.assert_close(got, torch.tensor([[[0.2, 0.8], [0.0, 0.0], [0.7, 0.3], [0.0, 0.0]]]))


def test_free_run_feeds_its_own_best_label():
    torch.manual_seed(1)
    decoder = JointDecoder(C, D, embed_dims=E, hidden_dims=H).eval()
    features = torch.randn(4, D) * 3
    context, start = decoder.context(features), torch.full((4, 1), START)
    run = decode_freely(decoder, context, C, 4)
    tokens = torch.cat((start, run.emitted[:, :-1]), dim=1)
    torch.testing.assert_close(run.logits, follow_paths(decoder, tokens, context))
    for row in range(4):
        emitted = []
        for t in range(4):
            scores = run.logits[row, t, :C].tolist()
            assert run.before[row, t].nonzero().flatten().tolist() == sorted(set(emitted))
            open_ = [c for c in range(C) if c not in emitted]
            assert run.emitted[row, t] == max(open_, key=lambda c: scores[c])
            emitted.append(int(run.emitted[row, t]))
    assert all(len(set(path.tolist())) == 4 for path in run.emitted)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(cell='gru'), "cell must be one of 'lstm', 'paper'"),
        (dict(image_into='output'), 'image_into must be one of'),
        (dict(gate_act='tanh', cell='paper'), 'gate_act must be one of'),
        (dict(hidden_dims=0), 'hidden_dims must be a whole number'),
        (dict(dropout=-1), r'dropout must lie in \[0, 1\], got -1'),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        JointDecoder(C, D, **settings)
