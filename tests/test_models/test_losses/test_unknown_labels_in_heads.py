"""Every head leaves unknown labels out of its losses, or takes them for absent; alone and in several processes."""

import itertools

import pytest
import torch
import torch.multiprocessing as mp
from mmpretrain.models import ImageClassifier
from mmpretrain.models.heads import MultiLabelLinearClsHead
from mmpretrain.structures import DataSample
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmlattn.models import (
    STLSTM,
    CNNRNNHead,
    CSRAHead,
    LinearMultiLabelHead,
    MLDecoderHead,
    Query2LabelHead,
    STLSTMHead,
)
from mmlattn.models.cnn_rnn.alignment import ALIGNMENTS
from mmlattn.models.cnn_rnn.paths import follow_paths, path_inputs, path_loss, path_targets
from mmlattn.structures.labels import training_targets
from mmlattn.utils.errors import UserError

B, C, D = 3, 5, 6
BCE = dict(type='mmpretrain.CrossEntropyLoss', use_sigmoid=True)
ASL = dict(type='mmpretrain.AsymmetricLoss')
SMALL = dict(embed_dims=8, feedforward_dims=8)
PRESENT, UNKNOWN = [[0, 3], [], [1, 2, 4]], [[2, 4], [1], []]
HEADS = {
    'csra': lambda **k: CSRAHead(C, D, 2, 0.3, **k),
    'csra, mean': lambda **k: CSRAHead(C, D, 1, 0.3, loss_reduction='mean', loss=ASL, **k),
    'linear': lambda **k: LinearMultiLabelHead(C, D, **k),
    'linear, ours': lambda **k: LinearMultiLabelHead(C, D, dict(type='mmlattn.MaskedFocalLoss'), **k),
    'ml-decoder': lambda **k: MLDecoderHead(C, D, num_groups=2, **SMALL, **k),
    'query2label': lambda **k: Query2LabelHead(C, D, **SMALL, **k),
    'st-lstm': lambda **k: STLSTMHead(C, D, loss=BCE, score_norm='sigmoid', aux_step_weight=0.5, **k),
    'st-lstm, softmax': lambda **k: STLSTMHead(C, D, aux_step_weight=0.5, **k),
    'cnn-rnn': lambda **k: CNNRNNHead(C, D, aux_bce=0.5, label_freq=[3, 9, 1, 5, 2], **k),
} | {f'cnn-rnn, {align}': lambda align=align, **k: CNNRNNHead(C, D, align=align, **k) for align in ALIGNMENTS}


def make(name, **settings):
    torch.manual_seed(0)
    head = HEADS[name](**settings).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    return head


def features(name, seed=1):
    torch.manual_seed(seed)
    return (torch.randn(B, D) if name.startswith('linear') else torch.randn(B, D, 2, 3),)


def samples(unknown=UNKNOWN, field='gt_label_ignore', onehot=True):
    made = []
    for labels, ignored in zip(PRESENT, unknown, strict=True):
        sample = DataSample().set_gt_label(labels)
        if onehot:  # as ClsDataPreprocessor leaves it
            sample.set_gt_score(torch.zeros(C).index_fill_(0, sample.gt_label, 1))
        sample.set_field(ignored, field)
        made.append(sample)
    return made


def total(head, feats, data_samples):
    return sum(head.loss(feats, data_samples).values())


def shifted(head, by):
    """Add to the scores of unknown labels of every picture, wherever a head makes scores."""
    unknown = torch.zeros(B, C)
    for row, labels in enumerate(UNKNOWN):
        unknown[row, labels] = by

    def add(function, places):
        def call(*args, **kwargs):
            out = function(*args, **kwargs)
            scores = out[0] if isinstance(out, tuple) else out
            extra = torch.zeros_like(scores)
            extra[..., :C] = unknown.reshape(B, *[1] * (scores.dim() - 2), C)
            scores = scores + extra
            return (scores, *out[1:]) if isinstance(out, tuple) else scores

        return call

    if isinstance(head, CNNRNNHead):
        head.decoder.step = add(head.decoder.step, 'BTC')
        if head.aux is not None:
            head.aux.forward = add(head.aux.forward, 'BC')
    elif isinstance(head, STLSTMHead):
        head.step_scores = add(head.step_scores, 'BKC')
    elif isinstance(head, LinearMultiLabelHead):
        head.fc.forward = add(head.fc.forward, 'BC')
    elif isinstance(head, MLDecoderHead | Query2LabelHead):
        head.network.classify.forward = add(head.network.classify.forward, 'BC')
    else:
        head._logits = add(head._logits, 'BC')
    return head


@pytest.mark.parametrize('name', HEADS)
def test_scores_of_unknown_labels_do_not_matter(name):
    """Nor does what the decoder would have emitted: no punishment, no gradient, no other path."""
    feats, losses = features(name), []
    for by in (0.0, 4.0, -4.0):
        by = torch.tensor(by, requires_grad=True)
        loss = total(shifted(make(name), by), feats, samples())
        losses.append(loss)
        assert torch.autograd.grad(loss, by)[0] == 0
    assert losses[0] > 0
    for loss in losses[1:]:
        torch.testing.assert_close(loss, losses[0])
    by = torch.tensor(4.0, requires_grad=True)
    loss = total(shifted(make(name, unknown='negative'), by), feats, samples())
    if name == 'cnn-rnn' or not name.startswith(('cnn-rnn', 'st-lstm')):
        assert torch.autograd.grad(loss, by)[0] > 0, 'as absent labels they are pushed down'


@pytest.mark.parametrize('name', HEADS)
def test_negative_and_difficult_are_absent(name):
    feats, absent = features(name), samples(unknown=[[], [], []])
    expected = total(make(name), feats, absent)
    assert torch.equal(total(make(name, unknown='negative'), feats, samples()), expected)
    assert torch.equal(total(make(name), feats, samples(field='gt_label_difficult')), expected)
    assert not torch.equal(total(make(name), feats, samples()), expected)
    scored = samples(unknown=[[], [], []])
    for sample, labels in zip(scored, UNKNOWN, strict=True):
        sample.gt_score[labels] = -1
    masked = total(make(name), feats, samples())
    assert torch.equal(total(make(name), feats, scored), masked)
    assert torch.equal(total(make(name), feats, samples(onehot=False)), masked)
    with pytest.raises(UserError, match="unknown must be one of 'mask', 'negative', got 'drop'"):
        make(name, unknown='drop')


def test_the_linear_head_is_mmpretrains():
    torch.manual_seed(0)
    ours, theirs = LinearMultiLabelHead(C, D), MultiLabelLinearClsHead(C, D, loss=BCE)
    assert not any(theirs.load_state_dict(ours.state_dict()))
    feats, absent = features('linear'), samples(unknown=[[], [], []])
    assert torch.equal(ours.loss(feats, absent)['loss'], theirs.loss(feats, absent)['loss'])
    assert torch.equal(theirs.loss(feats, samples())['loss'], theirs.loss(feats, absent)['loss'])
    for mine, other in zip(ours.predict(feats), theirs.predict(feats), strict=True):
        assert torch.equal(mine.pred_score, other.pred_score)


def test_mean_is_over_the_known_labels():
    feats = features('csra')
    head = make('csra, mean')
    target = training_targets(samples(), C)
    losses = head.loss_module(head(feats), target.clamp(min=0), reduction_override='none')
    expected = losses[target >= 0].mean()
    torch.testing.assert_close(head.loss(feats, samples())['loss'], expected)
    assert head.loss(feats, samples(unknown=[list(range(C))] * B))['loss'].isfinite()


def test_a_path_is_of_what_is_known_by_hand():
    """Each step's softmax is over the known labels not yet named, and END."""
    head = make('cnn-rnn')
    target = training_targets(samples(), C)
    present, unknown = target > 0, target < 0
    context = head.decoder.context(head.pre_logits(features('cnn-rnn')))
    paths = path_targets(present, head.label_rank)
    logits = follow_paths(head.decoder, path_inputs(paths, C), context)
    terms = []
    for row in range(B):
        named = set()
        for step, token in enumerate(paths[row].tolist()):
            if token < 0:
                break
            allowed = [c for c in range(C) if not unknown[row, c] and c not in named] + [C]
            terms.append(logits[row, step, allowed].logsumexp(0) - logits[row, step, token])
            named.add(token)
    loss = path_loss(head.decoder, context, present, head.label_rank, unknown)
    torch.testing.assert_close(loss, torch.stack(terms).mean())
    nothing = path_loss(head.decoder, context, present & False, head.label_rank, unknown | True)
    assert nothing == 0, 'of a picture of which nothing is known END is all there is'


def test_regions_of_the_neck_learn_from_known_labels_alone():
    torch.manual_seed(0)
    neck = STLSTM(in_channels=D, region_size=4, embed_dims=D, hidden_dims=D, out_dims=D)
    head = STLSTMHead(C, D, loss=BCE, score_norm='sigmoid', aux_step_weight=1.0, loss_loc=None)
    everything = [list(range(C))] * B
    losses = head.loss(neck(torch.randn(B, D, 4, 4)), samples(unknown=[[1, 2, 4], everything[0], [0, 3]]))
    assert losses['loss_cls'] > 0 and losses['loss_step'] > 0
    cleared = samples(unknown=everything)
    for sample in cleared:
        sample.set_gt_label([]).set_gt_score(torch.zeros(C))
    losses = head.loss(neck(torch.randn(B, D, 4, 4)), cleared)
    assert losses['loss_cls'] == 0 and losses['loss_step'] == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.eq(0).all() for p in head.parameters())


def test_mixed_pictures_with_unknown_labels_are_refused_by_a_whole_classifier():
    def loss(augments, **head):
        torch.manual_seed(0)
        model = ImageClassifier(
            backbone=dict(type='mmpretrain.ResNet', depth=18),
            head=dict(type='mmlattn.CSRAHead', num_classes=C, in_channels=512, num_heads=1, **head),
            train_cfg=dict(augments=augments),
            data_preprocessor=dict(num_classes=C, to_onehot=True),
        )
        batch = dict(inputs=[torch.zeros(3, 32, 32)] * B, data_samples=samples(onehot=False))
        return model(**model.data_preprocessor(batch, training=True), mode='loss')['loss']

    mixup = dict(type='mmpretrain.Mixup', alpha=1.0)
    with pytest.raises(UserError, match=r'are mixed with those of another picture.*Mixup.*unknown='):
        loss([mixup])
    assert loss(None).isfinite() and loss([mixup], unknown='negative').isfinite()


class Loss(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, x, data_samples):
        return total(self.head, (x,), data_samples)


def one_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2)
    grads = {}
    for name, field in itertools.product(('csra', 'csra, mean', 'cnn-rnn'), ('few', 'all')):
        wrapped = DistributedDataParallel(Loss(make(name)))
        # On the second process nothing at all is known of its pictures.
        everything = [[c for c in range(C) if c not in present] for present in PRESENT]
        unknown = everything if field == 'all' and rank else UNKNOWN
        wrapped(features(name, seed=rank)[0], samples(unknown=unknown)).backward()
        grads[name, field] = [p.grad for p in wrapped.parameters()]
    torch.save(grads, f'{folder}/{rank}.pth')
    dist.destroy_process_group()


def test_two_processes_average_what_each_of_them_knows(tmp_path):
    """With the number of pictures to divide by, as in mmpretrain, that is the whole batch; else a mean of means."""
    mp.start_processes(one_rank, (str(tmp_path),), 2, start_method='fork')
    ranks = [torch.load(tmp_path / f'{rank}.pth') for rank in range(2)]
    for key, (first, second) in {key: (ranks[0][key], ranks[1][key]) for key in ranks[0]}.items():
        torch.testing.assert_close(first, second, msg=f'{key} differs between the processes')
    both = torch.cat([features('csra', seed=rank)[0] for rank in range(2)])
    head = make('csra')
    total(head, (both,), samples() + samples()).backward()
    torch.testing.assert_close(ranks[0]['csra', 'few'], [p.grad for p in head.parameters()])
    head = make('csra, mean')
    losses = [total(head, features('csra', seed=rank), samples()) for rank in range(2)]
    (sum(losses) / 2).backward()
    torch.testing.assert_close(ranks[0]['csra, mean', 'few'], [p.grad for p in head.parameters()])
