"""The CNN-RNN head: builds the decoder, trains it on label paths, and writes what it decodes to data samples."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmlattn.models.layers.feature_layout import last_output, to_feature_map
from mmlattn.models.losses.binary import binary_cross_entropy
from mmlattn.models.losses.masking import reduce_known, split_unknown
from mmlattn.registry import MODELS
from mmlattn.structures import (
    check_sets,
    known_label_tensors,
    listed_labels,
    read_label_rules,
    selection_mask,
    set_attention_maps,
)
from mmlattn.structures.labels import UNKNOWN, training_targets
from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError
from mmlattn.utils.stored_settings import StoredSettings

from .alignment import ALIGNMENTS, orderless_loss
from .attention_decoder import AttentionDecoder
from .constraints import LabelConstraints, implied
from .decoding import Decoded, Decoding
from .joint_decoder import JointDecoder
from .likeliest_sets import likeliest_set
from .paths import ALIVE, frequency_rank, label_attention, listed_keys, path_attention, path_loss

DECODERS = dict(joint=JointDecoder, attention=AttentionDecoder)


@MODELS.register_module()
class CNNRNNHead(StoredSettings, BaseModule):
    """Emits the labels of a picture one after another; multi-label (Wang et al., CVPR 2016).

    The head reads the last output of any backbone or neck: a vector (B, D), or a map, which the joint decoder
    averages and the attention decoder looks at place by place. The paper's feature is fc7 of VGG, by
    :class:`VGGFCNeck`.

    Args:
        num_classes (int): C.
        in_channels (int): D.
        decoder (str | dict): 'joint', the paper's; 'attention'; or a dict with one of them as ``type`` and its
            settings, see ``JointDecoder`` and ``AttentionDecoder``. Another ``type`` is built by the registry, with
            ``num_classes`` and ``in_channels``, and must have what ``JointDecoder`` has.
        order (str): Order of the labels on a training path. 'freq', the paper's: most frequent in the training set
            first; 'rare': last; 'given': as the data set lists them; 'random': anew each time; 'random_fixed': one
            random order.
        align (str, optional): Learn without a given order, from the decoder's own choices. 'mla' and 'pla' (Yazici et
            al., CVPR 2020) assign the labels to its steps; 'multi' (Dutta et al., ECCV 2020) asks every step for all
            labels that are left, and has no END, no beam and no constraints. They are the authors' code; with
            '_masked' behind them no label comes twice in training either. See ``cnn_rnn/alignment.py``.
        label_freq (Sequence[float], optional): Pictures with each label, C numbers; by default
            ``LabelFrequencyHook`` counts them before training. They hold against what loaded weights say.
        aux_bce (float): Weight of a binary cross-entropy of a linear classifier beside the decoder, which helps a
            backbone that is trained along.
        num_steps (int, optional): Steps of align='multi', at most C, 5 by default; of align='pla', 20 by default, and
            more where a picture has more labels.
        test_cfg (dict, optional): See :class:`Decoding`.
        with_evidence (bool): Whether ``predict`` adds ``label_path`` (n,) and ``path_logprob``, and with the
            attention decoder ``attention_maps`` (C, h, w).
        unknown (str): 'mask': labels that are unknown are on no path, none is preferred to them, and the auxiliary
            cross-entropy leaves them out; 'negative' takes them for absent. See
            :func:`mmlattn.structures.labels.training_targets`.
        init_cfg (dict, optional): By default the parts start as their modules say.

    Raises:
        UserError: For an impossible combination of arguments, features or labels that can't be read.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        decoder: str | dict = 'joint',
        order: str = 'freq',
        align: str | None = None,
        label_freq: Sequence[float] | None = None,
        aux_bce: float = 0.0,
        num_steps: int | None = None,
        test_cfg: dict | None = None,
        with_evidence: bool = False,
        unknown: str = 'mask',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_whole('num_classes', num_classes, 1)
        check_whole('in_channels', in_channels, 1)
        check_choice('order', order, ('freq', 'rare', 'given', 'random', 'random_fixed'))
        check_number('aux_bce', aux_bce, least=0)
        check_choice('unknown', unknown, UNKNOWN)
        if align is not None:
            check_choice('align', align, ALIGNMENTS)
        # Scores are the maximum over all steps, each of which names all labels that are left.
        self.fuses_steps = align in ('multi', 'multi_masked')
        if num_steps is None:
            num_steps = 5 if self.fuses_steps else 20
        check_whole('num_steps', num_steps, 1)
        self.num_classes, self.in_channels = num_classes, in_channels
        self.num_steps = min(num_steps, num_classes) if self.fuses_steps else num_steps
        self.order, self.align, self.aux_bce = order, align, aux_bce
        self.with_evidence, self.unknown = with_evidence, unknown
        self.decoding = Decoding.from_cfg(test_cfg, num_classes, without_search=self.fuses_steps)
        self.rules = None
        if self.decoding.constraints is not None:
            self.rules = read_label_rules(
                self.decoding.constraints, num_classes, where='test_cfg.constraints'
            )
        self.decoder = _build_decoder(decoder, num_classes, in_channels)
        self.aux = nn.Linear(in_channels, num_classes) if aux_bce else None
        self._config_rank = _config_rank(order, label_freq, num_classes)
        self.register_buffer('label_rank', torch.full((num_classes,), -1))
        self._reset_rank()
        self.store_settings(
            **getattr(self.decoder, 'settings', {}), align='multi' if self.fuses_steps else None
        )

    @property
    def needs_label_counts(self) -> bool:
        """Whether the order of the paths depends on how frequent labels are, which the config does not say."""
        return self.align is None and self.order in ('freq', 'rare') and self._config_rank is None

    def set_label_counts(self, counts: Tensor) -> None:
        """Rank the labels by how many pictures of the training set have them, (C,)."""
        self.label_rank.copy_(frequency_rank(counts.to(self.label_rank.device)))

    def _reset_rank(self) -> None:
        self.label_rank.copy_(-1 if self._config_rank is None else self._config_rank)

    def init_weights(self) -> None:
        """As usual; a network that was built on the meta device has lost its ranking."""
        super().init_weights()
        self._reset_rank()

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        # What the config says of the data holds, not what other data said.
        if self._config_rank is not None:
            state_dict[prefix + 'label_rank'] = self._config_rank
        super()._load_from_state_dict(state_dict, prefix, *args)

    def pre_logits(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """What the decoder reads of a backbone's outputs: (B, D), or (B, D, h, w) if it looks at a map."""
        x = last_output(feats)
        if x.dim() == 2 and not self.decoder.reads_map:
            if x.shape[1] != self.in_channels:
                raise UserError(
                    f'CNNRNNHead has in_channels={self.in_channels}, the features have {x.shape[1]}: set one to the '
                    'other'
                )
            return x
        x = to_feature_map(x, self.in_channels)
        return x if self.decoder.reads_map else x.mean(dim=(2, 3))

    def forward(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """``pred_score`` of a batch, (B, C) in [0, 1]; without constraints."""
        return self._decode(self.decoder.context(self.pre_logits(feats))).scores

    def loss(self, feats: tuple[Tensor] | Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Compute ``loss_path``, and ``loss_aux`` if asked for.

        Args:
            feats (tuple[Tensor] | Tensor): As for ``pre_logits``.
            data_samples (list[DataSample]): With ``gt_label`` or ``gt_score``; the path of a picture without any
                label is END alone.
        """
        features = self.pre_logits(feats)
        targets = training_targets(data_samples, self.num_classes, self.unknown).to(features.device)
        check_sets(targets, 'CNNRNNHead')
        labels, unknown, context = targets > 0, targets < 0, self.decoder.context(features)
        unknown = unknown if unknown.any() else None
        if self.align is None:
            loss = path_loss(self.decoder, context, labels, self._order_keys(labels, data_samples), unknown)
        else:
            loss = orderless_loss(self.decoder, context, labels, self.align, self.num_steps, unknown)
        losses = dict(loss_path=loss)
        if self.aux is not None:
            pooled = features.mean(dim=(2, 3)) if features.dim() == 4 else features
            known = split_unknown(self.aux(pooled), targets)
            bce = reduce_known(binary_cross_entropy(known.scores, known.target), known.mask)
            losses['loss_aux'] = self.aux_bce * bce
        return losses

    def _order_keys(self, labels: Tensor, data_samples: list[DataSample]) -> Tensor:
        """By what the labels of each picture are sorted, ascending: (C,) or (B, C)."""
        if self.order == 'random':
            return torch.rand(labels.shape, device=labels.device)
        if self.order == 'given':
            lists = listed_labels(data_samples, self.num_classes)
            return listed_keys([listed.to(labels.device) for listed in lists], self.num_classes)
        if (self.label_rank < 0).any():
            raise UserError(
                f'order={self.order!r} needs to know how frequent the labels are: add '
                "custom_hooks=[..., dict(type='mmlattn.LabelFrequencyHook')], or give label_freq to the head"
            )
        return -self.label_rank if self.order == 'rare' else self.label_rank

    def _decode(self, context, constraints: LabelConstraints | None = None) -> Decoded:
        if self.fuses_steps:
            return self.decoding.run_freely(self.decoder, context, self.num_classes, self.num_steps)
        return self.decoding.search(self.decoder, context, self.num_classes, constraints)

    def select(self, scores: Tensor, data_samples: Sequence | None = None) -> list[Tensor]:
        """Labels from scores (B, C) alone, such as those fused over several views, best first.

        Those that reach ``thr``; of a decoder that searches paths the likeliest set of them that keeps to
        ``min_len``, ``max_len`` and what is known of the pictures, see :meth:`predict`.
        """
        masks = selection_mask(scores, self.decoding.thr, self.decoding.topk)
        if not self.fuses_steps and self.decoding.set_from == 'path':
            masks = self._likeliest(scores, masks, data_samples or [{} for _ in scores])
        ranked = scores.argsort(dim=1, descending=True, stable=True)
        return [order[mask[order]] for order, mask in zip(ranked, masks, strict=True)]

    def _likeliest(self, scores: Tensor, free: Tensor, data_samples: Sequence) -> Tensor:
        """Which labels, (B, C) bool; those of ``free`` where nothing else is asked for."""
        constraints = self._constraints(data_samples, scores.device)
        least, most = self.decoding.min_len, self.decoding.max_len or self.num_classes
        if constraints is None and ((free.sum(dim=1) >= least) & (free.sum(dim=1) <= most)).all():
            return free
        most = min(most, self.decoding.topk or most)
        masks = []
        for row, (score, sample) in enumerate(zip(scores, data_samples, strict=True)):
            known = None if constraints is None else constraints.of_picture(row)
            mask = likeliest_set(score, self.decoding.thr, least, most, known)
            if mask is None:
                raise UserError(_no_set(sample))
            masks.append(mask)
        return torch.stack(masks)

    def predict(
        self,
        feats: tuple[Tensor] | Tensor,
        data_samples: list[DataSample] | None = None,
        with_evidence: bool | None = None,
    ) -> list[DataSample]:
        """Predict label sets and scores.

        Args:
            feats (tuple[Tensor] | Tensor): As for ``pre_logits``.
            data_samples (list[DataSample], optional): Samples to write to. What is known of a picture's labels is
                read from ``label_present`` and ``label_absent``, indices, and ``label_count``, a number.
            with_evidence (bool, optional): Overrides the head's setting for this call.

        Returns:
            list[DataSample]: With ``pred_score`` (C,) in [0, 1], ``pred_label`` (n,) in the order of emission (by
            score, best first, for set_from='marginal'), and the evidence if asked for.

        Raises:
            UserError: If no label set fits what is known of a picture.
        """
        features = self.pre_logits(feats)
        context = self.decoder.context(features)
        if data_samples is None:
            data_samples = [DataSample() for _ in range(features.shape[0])]
        constraints = self._constraints(data_samples, features.device)
        decoded = self._decode(context, constraints)
        if constraints is not None:
            _check_found(decoded.log_probs, data_samples)
        emitted = decoded.paths < self.num_classes
        paths = decoded.paths[emitted].split(emitted.sum(dim=1).tolist())
        labels = paths if self.decoding.set_from == 'path' else self.select(decoded.scores)
        # A view would keep, and dump, the whole batch.
        for sample, scores, chosen in zip(data_samples, decoded.scores, labels, strict=True):
            sample.set_pred_score(scores.clone()).set_pred_label(chosen.clone())
        if self.with_evidence if with_evidence is None else with_evidence:
            for index, (sample, path) in enumerate(zip(data_samples, paths, strict=True)):
                sample.set_field(path.clone(), 'label_path')
                if decoded.log_probs is not None:
                    sample.set_field(decoded.log_probs[index].clone(), 'path_logprob')
            if self.decoder.reads_map:
                set_attention_maps(data_samples, self._maps(decoded, context, features.shape[-2:]))
        return data_samples

    def predict_tensors(
        self, feats: tuple[Tensor] | Tensor, with_evidence: bool = False
    ) -> dict[str, Tensor]:
        """What ``predict`` says without constraints, as tensors of the whole batch, which can be exported.

        Returns:
            dict[str, Tensor]: ``scores`` (B, C), and where labels are taken from the path, or with evidence,
            ``label_path`` (B, T) long, -1 behind its end; with evidence as ``predict`` gives it.
        """
        features = self.pre_logits(feats)
        context = self.decoder.context(features)
        decoded = self._decode(context)
        emitted = decoded.paths < self.num_classes
        found = dict(scores=decoded.scores)
        if with_evidence or self.decoding.set_from == 'path':
            found['label_path'] = decoded.paths.masked_fill(~emitted, -1)
        if with_evidence and decoded.log_probs is not None:
            found['path_logprob'] = decoded.log_probs
        if with_evidence and self.decoder.reads_map:
            found['attention_maps'] = self._maps(decoded, context, features.shape[-2:])
        return found

    def _maps(self, decoded: Decoded, context, grid: Sequence[int]) -> Tensor:
        """Where the decoder looked for each class that it emitted, (B, C, h, w) of a grid (h, w)."""
        looks = path_attention(self.decoder, decoded.tokens, context)
        return label_attention(looks, decoded.paths, self.num_classes).unflatten(-1, grid)

    def _constraints(
        self, data_samples: Sequence[DataSample], device: torch.device
    ) -> LabelConstraints | None:
        """What is known of each picture, from the rules for all and from its sample; None if nothing is."""
        tensors = known_label_tensors(data_samples, self.num_classes, self.rules)
        if tensors is None:
            return None
        if self.fuses_steps or self.decoding.set_from != 'path':
            setting = f'align={self.align!r}' if self.fuses_steps else f'set_from={self.decoding.set_from!r}'
            raise UserError(
                f'{setting} takes labels one by one and keeps to no constraints: leave them out, or search paths'
            )
        return implied(LabelConstraints(*(tensor.to(device) for tensor in tensors)))


def _check_found(log_probs: Tensor, data_samples: Sequence[DataSample]) -> None:
    """Raises ``UserError`` for the first picture of whose paths none is alive, NaN included."""
    for log_prob, sample in zip(log_probs.tolist(), data_samples, strict=True):
        if not log_prob >= ALIVE:
            raise UserError(
                f'{_no_set(sample)}; with a number of labels and exclusive groups, a wider test_cfg.beam may find one'
            )


def _no_set(sample: Any) -> str:
    return (
        f'no set of labels fits what is known of {sample.get("img_path", "a picture")}: its present and absent '
        'labels, exclusive groups, required parents, number of labels and max_len contradict each other'
    )


def _build_decoder(cfg: str | Mapping, num_classes: int, in_channels: int) -> nn.Module:
    settings = dict(cfg) if isinstance(cfg, Mapping) else dict(type=cfg)
    kind = settings.pop('type', None)
    if not isinstance(kind, str):
        raise UserError(f"decoder needs a type, 'joint' or 'attention', got {cfg!r}")
    if kind in DECODERS:
        try:
            return DECODERS[kind](num_classes, in_channels, **settings)
        except TypeError as error:
            raise UserError(f'decoder {kind!r}: {error}') from error
    if MODELS.get(kind) is None:
        raise UserError(f"decoder must be 'joint', 'attention' or a registered class, got {kind!r}")
    return MODELS.build(dict(type=kind, num_classes=num_classes, in_channels=in_channels, **settings))


def _config_rank(order: str, label_freq: Sequence[float] | None, num_classes: int) -> Tensor | None:
    """The ranking of the labels, (C,) long, as far as the config says it."""
    if order == 'random_fixed':
        return torch.randperm(num_classes, generator=torch.Generator('cpu').manual_seed(0), device='cpu')
    if label_freq is None:
        return None
    try:
        counts = torch.as_tensor(label_freq, dtype=torch.float64, device='cpu')
    except (TypeError, ValueError) as error:
        raise UserError(f'label_freq must be {num_classes} numbers, got {label_freq!r}') from error
    if counts.shape != (num_classes,) or not (counts >= 0).all():
        raise UserError(
            f'label_freq must be {num_classes} numbers of 0 or more, got {label_freq!r}, shape {tuple(counts.shape)}'
        )
    return frequency_rank(counts)
