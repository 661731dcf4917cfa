"""The CNN-RNN head."""

import torch
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn import functional as F

from mmlattn.models.layers.feature_layout import to_feature_map
from mmlattn.models.stored_settings import SettingsCode, StoresSettings
from mmlattn.registry import MODELS
from mmlattn.structures import read_label_rules, select_labels, set_attention_maps
from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError

from .alignment import align_mla, align_pla, fuse_steps, multi_order_loss
from .beam_search import Beams, beam_search, is_traced
from .constraints import LabelConstraints, implied
from .decoding import decode_freely, follow_paths, path_log_probs
from .evidence import Decoded, label_attention, set_paths
from .joint_decoder import CELLS, GATE_ACTS, IMAGE_INTO
from .options import (
    ALIGNMENTS,
    ORDERS,
    Decoding,
    build_decoder,
    check_alive,
    check_search,
    given_rank,
    known_constraints,
    label_matrix,
    listed_labels,
)
from .paths import IGNORE, emitted_before, frequency_rank, given_keys, path_inputs, path_targets
from .scores import first_scores, marginals, noisy_or_scores, step_max_scores

__all__ = ['CNNRNNHead']


@MODELS.register_module()
class CNNRNNHead(StoresSettings, BaseModule):
    """Emits the labels of a picture one after another; multi-label (CVPR 2016).

    The equations are in ``mmlattn/models/cnn_rnn/joint_decoder.py``, the search in ``beam_search.py``. The head reads
    the last output of any backbone or neck: a vector (B, D), or a map, which the joint decoder averages and the
    attention decoder looks at place by place. The paper's feature is fc7 of VGG, by :class:`VGGFCNeck`.

    Args:
        num_classes (int): C.
        in_channels (int): D.
        decoder (str | dict): 'joint', the paper's; 'attention'; or a dict with one of them as ``type`` and its
            settings, see ``JointDecoder`` and ``AttentionDecoder``.
        order (str): Order of the labels on a training path. 'freq', the paper's: most frequent in the training set
            first; 'rare': last; 'given': as the data set lists them; 'random': anew each time; 'random_fixed': one
            random order.
        align (str, optional): Learn without a given order, from the decoder's own choices. 'mla' and 'pla' (Yazici et
            al., CVPR 2020) assign the labels to its steps; 'multi' (Dutta et al., ECCV 2020) asks every step for all
            labels that are left, and has no END, no beam and no constraints. See ``cnn_rnn/alignment.py``.
        label_freq (str | Sequence[float], optional): Images with each label, C numbers or a json of them; by default
            ``LabelFrequencyHook`` counts them before training.
        mask_emitted (bool): No label twice, in training and prediction. The paper does not say; without it
            ``pred_label`` may name a label twice.
        loss_norm (str): Sum over the steps divided by the number of steps in the batch, 'token', or of 'image's.
        aux_bce (float): Weight of a binary cross-entropy of a linear classifier beside the decoder, which helps a
            backbone that is trained along.
        num_steps (int): Steps of align='multi', at most C.
        test_cfg (dict, optional): See :class:`Decoding`.
        with_evidence (bool): Whether ``predict`` adds ``label_path`` (n,) and ``path_logprob``, and with the
            attention decoder ``attention_maps`` (C, h, w).
        init_cfg (dict, optional): By default the parts start as their modules say.

    Raises:
        UserError: For an impossible combination of arguments, features or labels that can't be read.
    """

    settings_code = SettingsCode(
        'cnn_rnn_settings',
        cell=CELLS,
        gate_act=GATE_ACTS,
        image_into=IMAGE_INTO,
        align=('path', 'multi'),
    )

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        decoder: str | dict = 'joint',
        order: str = 'freq',
        align: str | None = None,
        label_freq=None,
        mask_emitted: bool = True,
        loss_norm: str = 'token',
        aux_bce: float = 0.0,
        num_steps: int = 5,
        test_cfg: dict | None = None,
        with_evidence: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        for name, value in dict(
            num_classes=num_classes, in_channels=in_channels, num_steps=num_steps
        ).items():
            check_whole(name, value, 1)
        check_choice('order', order, ORDERS)
        check_choice('loss_norm', loss_norm, ('token', 'image'))
        check_number('aux_bce', aux_bce, least=0)
        if align is not None:
            check_choice('align', align, ALIGNMENTS)
        self.num_classes, self.in_channels = num_classes, in_channels
        self.num_steps = min(num_steps, num_classes)
        self.order, self.align, self.mask_emitted, self.loss_norm = order, align, mask_emitted, loss_norm
        self.decoding = Decoding.from_cfg(test_cfg, num_classes, without_search=align == 'multi')
        rules = self.decoding.constraints
        self.rules = (
            None if rules is None else read_label_rules(rules, num_classes, where='test_cfg.constraints')
        )
        self.with_evidence = with_evidence
        self.decoder = build_decoder(decoder, num_classes, in_channels)
        self.aux = nn.Linear(in_channels, num_classes) if aux_bce else None
        self.aux_bce = aux_bce
        self._given_rank = given_rank(order, label_freq, num_classes)
        unknown = torch.full((num_classes,), -1)
        self.register_buffer('label_rank', unknown if self._given_rank is None else self._given_rank.clone())
        chosen = dict(type=decoder) if isinstance(decoder, str) else decoder
        known = {name: chosen[name] for name in ('cell', 'gate_act', 'image_into') if name in chosen}
        self.store_settings(**known, align='multi' if align == 'multi' else 'path')

    def set_label_counts(self, counts: Tensor) -> None:
        """Rank the labels by how many images of the training set have them, (C,); not if the config gives a rank."""
        if self._given_rank is None:
            self.label_rank.copy_(frequency_rank(counts.to(self.label_rank.device)))

    def init_weights(self) -> None:
        """As usual; a network that was built on the meta device has lost its ranking."""
        super().init_weights()
        self.label_rank.copy_(-1 if self._given_rank is None else self._given_rank)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        if self._given_rank is not None:  # what the config says of the data holds, not what other data said
            state_dict[prefix + 'label_rank'] = self._given_rank
        super()._load_from_state_dict(state_dict, prefix, *args)

    def pre_logits(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """What the decoder reads of a backbone's outputs: (B, D), or (B, D, h, w) if it looks at a map."""
        x = feats[-1] if isinstance(feats, (tuple, list)) else feats
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
        return self.decode(self.decoder.context(self.pre_logits(feats))).scores

    def loss(self, feats: tuple[Tensor] | Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            feats (tuple[Tensor] | Tensor): As for ``pre_logits``.
            data_samples (list[DataSample]): With ``gt_label`` or ``gt_score``; maybe without any label, whose path is
                END alone.

        Returns:
            dict[str, Tensor]: ``loss_path``, and ``loss_aux`` if asked for.
        """
        features = self.pre_logits(feats)
        labels = label_matrix(data_samples, self.num_classes, features.device)
        context = self.decoder.context(features)
        losses = dict(loss_path=self._path_loss(context, labels, data_samples))
        if self.aux is not None:
            pooled = features.mean(dim=(2, 3)) if features.dim() == 4 else features
            bce = F.binary_cross_entropy_with_logits(self.aux(pooled).float(), labels.float())
            losses['loss_aux'] = self.aux_bce * bce
        return losses

    def _path_loss(self, context, labels: Tensor, data_samples: list[DataSample]) -> Tensor:
        if self.align == 'multi':
            run = self._run_freely(context, labels, self.num_steps, unique=True)
            return multi_order_loss(run.logits[..., :-1], labels, run.before, all_steps=True)
        if self.align is None:
            targets = path_targets(labels, self._keys(labels, data_samples))
            tokens = path_inputs(targets, self.num_classes)
            logits = follow_paths(self.decoder, tokens, context)
            log_probs = self._log_probs(logits, emitted_before(tokens, self.num_classes))
        else:
            run = self._run_freely(context, labels, int(labels.sum(dim=1).max()) + 1, self.mask_emitted)
            log_probs = self._log_probs(run.logits, run.before)
            if self.align == 'mla':
                targets = align_mla(log_probs.detach(), labels)
            else:
                targets = align_pla(log_probs.detach(), run.emitted, labels)
        total = F.nll_loss(log_probs.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction='sum')
        return total / (labels.shape[0] if self.loss_norm == 'image' else (targets != IGNORE).sum())

    def _run_freely(self, context, labels: Tensor, steps: int, unique: bool):
        start = labels.new_full((labels.shape[0], 1), self.num_classes + 1, dtype=torch.long)
        return decode_freely(self.decoder, start, context, steps, unique)

    def _log_probs(self, logits: Tensor, before: Tensor) -> Tensor:
        return path_log_probs(logits, before if self.mask_emitted else torch.zeros_like(before))

    def _keys(self, labels: Tensor, data_samples: list[DataSample]) -> Tensor:
        """By what the labels of each image are sorted, ascending: (C,) or (B, C)."""
        if self.order == 'random':
            return torch.rand(labels.shape, device=labels.device)
        if self.order == 'given':
            return given_keys(listed_labels(data_samples, self.num_classes, labels.device), self.num_classes)
        if (self.label_rank < 0).any():
            raise UserError(
                f'order={self.order!r} needs to know how frequent the labels are: add '
                "custom_hooks=[..., dict(type='mmlattn.LabelFrequencyHook')], or give label_freq to the head"
            )
        return -self.label_rank if self.order == 'rare' else self.label_rank

    def decode(self, context, constraints: LabelConstraints | None = None) -> Decoded:
        """Search the best paths of a batch.

        Args:
            context: Of the decoder.
            constraints (LabelConstraints, optional): What is known of the labels of each picture.

        Returns:
            Decoded: With dead log-probabilities (below ``ALIVE``) where no path meets them.
        """
        state = self.decoder.start(context)
        start = torch.full_like(state[0][..., 0], self.num_classes + 1, dtype=torch.long)
        if self.align == 'multi':
            return self._decode_in_any_order(context, start)
        how = self.decoding
        beams = beam_search(
            lambda tokens, state: self.decoder.step(tokens, state, context),
            start,
            state,
            self.num_classes,
            width=how.beam,
            min_len=how.min_len,
            max_len=how.max_len,
            end_mode=how.end_mode,
            mask_emitted=self.mask_emitted,
            constraints=constraints,
            length_penalty=how.length_penalty,
        )
        paths = beams.paths[:, 0]
        if not is_traced():  # follow the best paths no further than to the END of the longest
            paths = paths[:, : int((paths < self.num_classes).any(dim=0).sum()) + 1]
        tokens = path_inputs(paths, self.num_classes)
        scores = self._scores(beams, tokens, context)
        if constraints is not None:
            known = implied(constraints)
            scores = scores.masked_fill(known.absent, 0).masked_fill(known.present, 1)
        return Decoded(scores, paths, beams.log_probs[:, 0], paths, tokens)

    def _scores(self, beams: Beams, tokens: Tensor, context) -> Tensor:
        how = self.decoding
        if how.score == 'marginal' and not how.fallback:
            return marginals(beams)
        logits = follow_paths(self.decoder, tokens, context)
        steps = self._log_probs(logits, emitted_before(tokens, self.num_classes))
        if how.score == 'first':
            return first_scores(steps)
        if how.score == 'noisy_or':
            return noisy_or_scores(steps, beams.lengths[:, 0])
        best = step_max_scores(steps, beams.lengths[:, 0])
        return (
            best if how.score == 'step_max' else (1 - how.fallback) * marginals(beams) + how.fallback * best
        )

    def _decode_in_any_order(self, context, start: Tensor) -> Decoded:
        """Each label counts by the step that was surest of it; the path has the emitted ones that reach ``thr``."""
        run = decode_freely(self.decoder, start, context, self.num_steps, unique=True)
        scores = fuse_steps(run.logits[..., :-1]).sigmoid()
        left_out = scores.gather(1, run.emitted) < self.decoding.thr
        in_order = left_out.long().argsort(dim=1, stable=True)
        kept = run.emitted.masked_fill(left_out, self.num_classes)
        return Decoded(
            scores, kept.gather(1, in_order), None, kept, path_inputs(run.emitted, self.num_classes)
        )

    def select(self, scores: Tensor) -> list[Tensor]:
        """Labels from scores (B, C) alone, such as those of several views: those that reach ``thr``, best first."""
        chosen = [select_labels(row, self.decoding.thr, self.decoding.topk) for row in scores]
        return [
            labels[row[labels].argsort(descending=True, stable=True)]
            for labels, row in zip(chosen, scores, strict=True)
        ]

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
        constraints = known_constraints(self.rules, data_samples, self.num_classes, features.device)
        if constraints is not None:
            check_search(self.align, self.decoding)
        decoded = self.decode(context, constraints)
        if constraints is not None:
            check_alive(decoded.log_probs, data_samples)
        ends = (decoded.paths < self.num_classes).sum(dim=1).tolist()
        paths = [path[:end].clone() for path, end in zip(decoded.paths, ends, strict=True)]
        labels = paths if self.decoding.set_from == 'path' else self.select(decoded.scores)
        for sample, score, own in zip(data_samples, decoded.scores, labels, strict=True):
            sample.set_pred_score(score.clone()).set_pred_label(own)
        if self.with_evidence if with_evidence is None else with_evidence:
            set_paths(data_samples, paths, decoded.log_probs)
            if self.decoder.reads_map:
                maps = label_attention(self.decoder, decoded, context, self.num_classes)
                set_attention_maps(data_samples, maps.unflatten(-1, features.shape[-2:]))
        return data_samples
