"""What ``CNNRNNHead`` can be told, checked; how it reads labels from data samples."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmlattn.registry import MODELS
from mmlattn.structures import LabelRules
from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError

from .attention_decoder import AttentionDecoder
from .beam_search import ALIVE, END_MODES
from .constraints import LabelConstraints
from .joint_decoder import JointDecoder
from .paths import frequency_rank

__all__ = [
    'ALIGNMENTS',
    'ORDERS',
    'Decoding',
    'build_decoder',
    'check_alive',
    'check_search',
    'given_rank',
    'known_constraints',
    'label_matrix',
    'listed_labels',
]  # fmt: skip

ORDERS = ('freq', 'rare', 'given', 'random', 'random_fixed')
ALIGNMENTS = ('mla', 'pla', 'multi')
DECODERS = dict(joint=JointDecoder, attention=AttentionDecoder)


@dataclass(frozen=True)
class Decoding:
    """``test_cfg`` of ``CNNRNNHead``: how label paths are searched, and what is read from them.

    Args:
        beam (int): Paths kept at every step; 1 is greedy. The label set hardly depends on it, the scores do.
        min_len (int): A path does not end before it has so many labels.
        max_len (int, optional): It ends once it has so many; C by default. Both alike: exactly so many.
        end_mode (str): 'always': END takes none of the places in the beam; 'compete': the paper's, it does.
        length_penalty (float): Paths are ranked by log P / length^penalty; 0, the paper's, is by P.
        score (str): What ``pred_score`` is. 'marginal': the share of the probability of all paths found that have
            the label; 'first': of being emitted first; 'step_max': the largest over the steps of the best path;
            'noisy_or': of being emitted at one of these steps at least, as if they were independent.
        fallback (float): Share of 'step_max' in 'marginal', so that labels on none of the paths are ranked too.
        set_from (str): 'path': ``pred_label`` is the best path; 'marginal': the labels with the best scores, see
            ``thr`` and ``topk``.
        thr (float): A label needs this score, for set_from='marginal'.
        topk (int, optional): Only so many of them.
        constraints (Mapping, optional): ``present``, ``absent``, ``exclusive``, ``parents``, ``count``; by index, as
            ``mmlattn.structures.read_label_rules`` takes them. By name: ``LabelConstraintsHook``.
    """

    beam: int = 20
    min_len: int = 0
    max_len: int | None = None
    end_mode: str = 'always'
    length_penalty: float = 0.0
    score: str = 'marginal'
    fallback: float = 1e-3
    set_from: str = 'path'
    thr: float = 0.5
    topk: int | None = None
    constraints: Mapping | None = None

    def __post_init__(self) -> None:
        check_whole('test_cfg.beam', self.beam, 1)
        check_whole('test_cfg.min_len', self.min_len, 0)
        for name in ('max_len', 'topk'):
            if getattr(self, name) is not None:
                check_whole(f'test_cfg.{name}', getattr(self, name), 1)
        check_choice('test_cfg.end_mode', self.end_mode, END_MODES)
        check_number('test_cfg.length_penalty', self.length_penalty, least=0)
        check_choice('test_cfg.score', self.score, ('marginal', 'first', 'step_max', 'noisy_or'))
        check_choice('test_cfg.set_from', self.set_from, ('path', 'marginal'))
        for name in ('fallback', 'thr'):
            check_number(f'test_cfg.{name}', getattr(self, name), least=0)
            if getattr(self, name) > 1:
                raise UserError(f'test_cfg.{name} must lie in [0, 1], got {getattr(self, name)}')

    @classmethod
    def from_cfg(cls, cfg: Mapping | None, num_labels: int, without_search: bool = False) -> 'Decoding':
        """Read ``test_cfg``; of a decoder without a search only ``thr``.

        Raises:
            UserError: For an unknown key or value, settings that do nothing together, or lengths that C labels can't
                have.
        """
        if cfg is not None and not isinstance(cfg, Mapping):
            raise UserError(f'test_cfg must be a dict, got {cfg!r}')
        if without_search and (useless := sorted(set(cfg or {}) - {'thr'})):
            raise UserError(
                f"align='multi' has no beam search: of test_cfg it takes thr, got {', '.join(useless)}"
            )
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(cfg or {}) - set(known)):
            raise UserError(f'test_cfg has {", ".join(unknown)}; it takes {", ".join(known)}')
        decoding = cls(**(cfg or {}))
        if decoding.set_from == 'marginal' and (decoding.min_len or decoding.constraints):
            raise UserError(
                "set_from='marginal' takes labels one by one and keeps to no min_len or constraints: leave them out, "
                "or set_from='path'"
            )
        longest = num_labels if decoding.max_len is None else decoding.max_len
        if not decoding.min_len <= longest <= num_labels:
            raise UserError(
                f'test_cfg needs min_len <= max_len <= num_classes, got min_len={decoding.min_len}, '
                f'max_len={decoding.max_len}, num_classes={num_labels}'
            )
        return decoding


def build_decoder(cfg: str | Mapping, num_labels: int, in_dims: int) -> nn.Module:
    """A decoder by its name, with settings, or one of the registry.

    Args:
        cfg (str | Mapping): 'joint' or 'attention', or a dict with one of them as ``type`` and its settings; another
            ``type`` is built by the registry, with ``num_labels`` and ``in_dims``, and must have ``context``,
            ``start``, ``step`` and ``reads_map`` as :class:`JointDecoder` has.
        num_labels (int): C.
        in_dims (int): Width of the features.

    Raises:
        UserError: If there is no type.
    """
    settings = dict(type=cfg) if isinstance(cfg, str) else dict(cfg)
    kind = settings.pop('type', None)
    if not isinstance(kind, str):
        raise UserError(f"decoder needs a type, 'joint' or 'attention', got {cfg!r}")
    if kind in DECODERS:
        try:
            return DECODERS[kind](num_labels, in_dims, **settings)
        except TypeError as error:
            raise UserError(f'decoder {kind!r}: {error}') from error
    if MODELS.get(kind) is None:
        raise UserError(f"decoder must be 'joint', 'attention' or a registered class, got {kind!r}")
    return MODELS.build(dict(type=kind, num_labels=num_labels, in_dims=in_dims, **settings))


def given_rank(order: str, label_freq: str | Path | Sequence[float] | None, num_labels: int) -> Tensor | None:
    """The ranking of the labels as far as a config gives it, (C,) long, else None."""
    if order == 'random_fixed':
        return torch.randperm(num_labels, generator=torch.Generator('cpu').manual_seed(0), device='cpu')
    return None if label_freq is None else frequency_rank(_read_counts(label_freq, num_labels))


def _read_counts(label_freq: str | Path | Sequence[float], num_labels: int) -> Tensor:
    """How many images have each label: C numbers, or the json that holds them.

    Raises:
        UserError: If there are not C numbers, none below 0.
    """
    given = label_freq
    if isinstance(label_freq, (str, Path)):
        try:
            given = json.loads(Path(label_freq).read_text())
        except (OSError, ValueError) as error:
            raise UserError(f'label_freq: {label_freq} is no readable json: {error}') from error
    try:
        counts = torch.as_tensor(given, dtype=torch.float64, device='cpu')
    except (TypeError, ValueError) as error:
        raise UserError(f'label_freq must be {num_labels} numbers, got {label_freq!r}') from error
    if counts.shape != (num_labels,) or not (counts >= 0).all():
        raise UserError(
            f'label_freq must be {num_labels} numbers of 0 or more, got shape {tuple(counts.shape)} from '
            f'{label_freq!r}'
        )
    return counts


def label_matrix(data_samples: Sequence[DataSample], num_labels: int, device: torch.device) -> Tensor:
    """Which labels each sample has, (B, C) bool.

    Raises:
        UserError: For soft targets, as of mixup, which are no sets; for labels outside of the classes.
    """
    if 'gt_score' in data_samples[0]:
        scores = torch.stack([sample.gt_score for sample in data_samples]).to(device)
        if scores.shape[1] != num_labels:
            raise UserError(
                f'the data has {scores.shape[1]} classes, CNNRNNHead has num_classes={num_labels}: set num_classes '
                'of model.head and of data_preprocessor to the number of classes'
            )
        if ((scores > 0) & (scores < 1)).any():
            raise UserError(
                'CNNRNNHead decodes sets of labels, but gt_score has values between 0 and 1: take batch '
                'augmentations such as Mixup and CutMix, or label smoothing, out of the config'
            )
        return scores > 0  # an ignored label, -1, is not on the path
    listed = listed_labels(data_samples, num_labels, device)
    return torch.stack(
        [torch.zeros(num_labels, dtype=torch.bool, device=device).scatter(0, x, True) for x in listed]
    )


def listed_labels(data_samples: Sequence[DataSample], num_labels: int, device: torch.device) -> list[Tensor]:
    """``gt_label`` of each sample in the order of the data set, (n,) long each.

    Raises:
        UserError: If a sample has none, or one outside of the classes.
    """
    if any('gt_label' not in sample for sample in data_samples):
        raise UserError("a data sample has no gt_label: CNNRNNHead learns from the labels' order")
    listed = [sample.gt_label.to(device).long().reshape(-1) for sample in data_samples]
    together = torch.cat(listed)
    if ((together < 0) | (together >= num_labels)).any():
        raise UserError(f'gt_label has a label outside of the {num_labels} classes of CNNRNNHead')
    return listed


def known_constraints(
    rules: LabelRules | None,
    data_samples: Sequence[DataSample],
    num_labels: int,
    device: torch.device,
) -> LabelConstraints | None:
    """What is known of the labels of each picture, in general and from its data sample.

    Args:
        rules (LabelRules, optional): For all pictures.
        data_samples (Sequence[DataSample]): Maybe with ``label_present``, ``label_absent`` and ``label_count``.
        num_labels (int): C.
        device (torch.device): Of the result.

    Returns:
        LabelConstraints | None: None if nothing is known.
    """
    fields = ('label_present', 'label_absent', 'label_count')
    if rules is None and not any(field in sample for sample in data_samples for field in fields):
        return None
    general = (rules or LabelRules()).tensors(num_labels)
    known = [
        torch.stack([_marked(sample, field, base) for sample in data_samples]).to(device)
        for field, base in (('label_present', general.present), ('label_absent', general.absent))
    ]
    common = None if rules is None else rules.count
    counts = [sample.get('label_count', common) for sample in data_samples]
    if wrong := [n for n in counts if n is not None and (int(n) != n or not 0 <= n <= num_labels)]:
        raise UserError(f'label_count must be a whole number of 0 to {num_labels}, got {wrong[0]}')
    count = torch.tensor([-1 if n is None else int(n) for n in counts], device=device)
    relations = general.exclusive.to(device), general.parents.to(device)
    return LabelConstraints(*known, *relations, count)


def _marked(sample: DataSample, field: str, base: Tensor) -> Tensor:
    """(C,) bool: ``base`` and the labels that a field of the sample lists."""
    listed = torch.as_tensor(sample.get(field, ()), device='cpu')
    if listed.numel() and (listed.is_floating_point() or listed.dtype == torch.bool):
        raise UserError(f'{field} must list the indices of labels, got {listed.tolist()}')
    listed = listed.long()
    if listed.numel() and not 0 <= int(listed.min()) <= int(listed.max()) < base.shape[0]:
        raise UserError(f'{field} has a label outside of 0 to {base.shape[0] - 1}: {listed.tolist()}')
    return base.scatter(0, listed, True)


def check_search(align: str | None, decoding: Decoding) -> None:
    """Raises ``UserError`` where what is known of labels would not be kept to."""
    if align == 'multi' or decoding.set_from != 'path':
        chosen = f'align={align!r}' if align == 'multi' else f'set_from={decoding.set_from!r}'
        raise UserError(
            f'{chosen} takes labels one by one and keeps to no constraints: leave them out, or search paths'
        )


def check_alive(log_probs: Tensor, data_samples: Sequence[DataSample]) -> None:
    """Refuse pictures whose labels contradict what is known of them.

    Raises:
        UserError: Naming the first of them.
    """
    for log_prob, sample in zip(log_probs.tolist(), data_samples, strict=True):
        if not log_prob >= ALIVE:  # nor NaN
            raise UserError(
                f'no set of labels fits what is known of {sample.get("img_path", "a picture")}: its present and '
                'absent labels, exclusive groups, required parents, number of labels and max_len contradict each '
                'other; with a number of labels and exclusive groups, a wider test_cfg.beam may find one'
            )
