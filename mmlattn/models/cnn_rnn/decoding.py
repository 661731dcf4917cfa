"""``test_cfg`` of ``CNNRNNHead``: how label paths are searched, and which labels and scores are read from them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

from torch import Tensor, nn

from mmlattn.utils.arguments import check_choice, check_number, check_whole, complete_options
from mmlattn.utils.errors import UserError

from .alignment import fuse_steps
from .beam_search import END_MODES, Beams, beam_search, is_traced
from .constraints import LabelConstraints
from .paths import decode_freely, path_inputs, start_tokens, steps_along
from .scores import first_scores, marginals, noisy_or_scores, step_max_scores


class Decoded(NamedTuple):
    """What was read from B pictures; T steps, C labels."""

    scores: Tensor
    """(B, C) in [0, 1]."""
    paths: Tensor
    """(B, T) long, the label that each step gave to the best path, END where none."""
    log_probs: Tensor | None
    """(B,), of that path; None for ``align='multi'``, which has no END."""
    tokens: Tensor
    """(B, T) long, what each step read."""


@dataclass(frozen=True)
class Decoding:
    """The settings of ``test_cfg``.

    Args:
        beam (int): Paths kept at every step; 1 is greedy. The label set hardly depends on it, the scores do.
        min_len (int): Fewest labels of a path.
        max_len (int, optional): Most labels, C by default. Both alike: exactly so many.
        end_mode (str): 'always': END takes none of the places in the beam; 'compete': the paper's, it does.
        score (str): What ``pred_score`` is. 'marginal': the share of the probability of all paths found that have
            the label; 'first': of being emitted first; 'step_max': the largest over the steps of the best path;
            'noisy_or': of being emitted at one of these steps at least, as if they were independent.
        fallback (float): Share of 'step_max' in 'marginal', so that labels on none of the paths are ranked too.
        set_from (str): 'path': ``pred_label`` is the best path; 'marginal': the labels whose score reaches ``thr``.
        thr (float): For set_from='marginal', align='multi' and scores averaged over several views.
        topk (int, optional): Most labels that reach it.
        constraints (Mapping, optional): ``present``, ``absent``, ``exclusive``, ``parents``, ``count``; by index, as
            ``mmlattn.structures.read_label_rules`` takes them. By name: ``LabelConstraintsHook``.
    """

    beam: int = 20
    min_len: int = 0
    max_len: int | None = None
    end_mode: str = 'always'
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
        check_choice('test_cfg.score', self.score, ('marginal', 'first', 'step_max', 'noisy_or'))
        check_choice('test_cfg.set_from', self.set_from, ('path', 'marginal'))
        for name in ('fallback', 'thr'):
            check_number(f'test_cfg.{name}', getattr(self, name), least=0, most=1)
        if self.set_from == 'marginal' and (self.min_len or self.constraints):
            raise UserError(
                "set_from='marginal' takes labels one by one and keeps to no min_len or constraints: leave them out, "
                "or set_from='path'"
            )

    @classmethod
    def from_cfg(cls, cfg: Mapping | None, num_classes: int, without_search: bool = False) -> 'Decoding':
        """Read ``test_cfg``; of a decoder without a search only ``thr``.

        Raises:
            UserError: For an unknown key or value, or lengths that C labels can't have.
        """
        settings = complete_options(
            'test_cfg', cfg or {}, {field.name: field.default for field in fields(cls)}
        )
        if without_search and (useless := sorted((cfg or {}).keys() - {'thr'})):
            raise UserError(
                f"align='multi' has no beam search: of test_cfg it takes thr, got {', '.join(useless)}"
            )
        decoding = cls(**settings)
        longest = num_classes if decoding.max_len is None else decoding.max_len
        if not decoding.min_len <= longest <= num_classes:
            raise UserError(
                f'test_cfg needs min_len <= max_len <= num_classes, got min_len={decoding.min_len}, '
                f'max_len={decoding.max_len}, num_classes={num_classes}'
            )
        return decoding

    def search(
        self, decoder: nn.Module, context, num_classes: int, constraints: LabelConstraints | None = None
    ) -> Decoded:
        """Find the best paths; their log-probabilities are below ``ALIVE`` where none meets the constraints."""
        state = decoder.start(context)
        beams = beam_search(
            lambda tokens, state: decoder.step(tokens, state, context),
            start_tokens(state, num_classes),
            state,
            num_classes,
            width=self.beam,
            min_len=self.min_len,
            max_len=self.max_len,
            end_mode=self.end_mode,
            constraints=constraints,
        )
        paths = beams.paths[:, 0]
        # Best paths are followed no further than to the END of the longest.
        if not is_traced():
            paths = paths[:, : int((paths < num_classes).any(dim=0).sum()) + 1]
        tokens = path_inputs(paths, num_classes)
        if self.score == 'marginal' and not self.fallback:
            scores = marginals(beams)
        else:
            scores = self._scores(beams, steps_along(decoder, tokens, context, num_classes))
        if constraints is not None:
            scores = scores.masked_fill(constraints.absent, 0).masked_fill(constraints.present, 1)
        return Decoded(scores, paths, beams.log_probs[:, 0], tokens)

    def _scores(self, beams: Beams, steps: Tensor) -> Tensor:
        if self.score == 'first':
            return first_scores(steps)
        along = noisy_or_scores if self.score == 'noisy_or' else step_max_scores
        scores = along(steps, beams.lengths[:, 0])
        if self.score == 'marginal':
            scores = (1 - self.fallback) * marginals(beams) + self.fallback * scores
        return scores

    def run_freely(self, decoder: nn.Module, context, num_classes: int, num_steps: int) -> Decoded:
        """Read a decoder of ``align='multi'``: the path has the emitted labels whose score reaches ``thr``."""
        run = decode_freely(decoder, context, num_classes, num_steps)
        scores = fuse_steps(run.logits[..., :-1]).sigmoid()
        paths = run.emitted.masked_fill(scores.gather(1, run.emitted) < self.thr, num_classes)
        return Decoded(scores, paths, None, path_inputs(run.emitted, num_classes))
