"""The losses of ``binary.py`` as mmpretrain's heads call them, over known labels alone."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_number
from mmlattn.utils.errors import UserError

from .binary import asymmetric_loss, binary_cross_entropy, focal_loss
from .class_counts import ClassCounts, balanced_pos_weight
from .masking import REDUCTIONS, reduce_known, split_unknown


class MaskedLoss(nn.Module, ABC):
    """What losses of single labels share: a subclass has ``losses(scores, target)``, (B, C) of two of (B, C).

    Targets below 0 are unknown: they add nothing, and their scores get a gradient of 0.

    Args:
        reduction (str): 'mean', 'sum' or 'none', see :func:`mmlattn.models.losses.masking.reduce_known`.
        loss_weight (float): Factor.
    """

    #: As mmpretrain's losses tell how scores are to be read.
    use_sigmoid = True
    #: What `loss_of_known` asks for.
    takes_unknown = True

    def __init__(self, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__()
        check_choice('reduction', reduction, REDUCTIONS)
        check_number('loss_weight', loss_weight)
        self.reduction, self.loss_weight = reduction, loss_weight

    @abstractmethod
    def losses(self, scores: Tensor, target: Tensor) -> Tensor:
        """Of each label, all known: (B, C), from logits and targets in [0, 1]."""

    def forward(
        self,
        cls_score: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            cls_score (Tensor): Logits, shape (B, C).
            target (Tensor): Shape (B, C): in [0, 1], or below 0 for unknown.
            weight (Tensor, optional): Of each picture, (B,), or each label, (B, C).
            avg_factor (float, optional): What 'mean' divides by, the number of pictures in mmpretrain's heads; else
                the number of known labels.
            reduction_override (str, optional): Instead of ``reduction``.

        Raises:
            UserError: If the shapes differ.
        """
        if cls_score.shape != target.shape:
            raise UserError(
                f'{type(self).__name__} needs scores and targets of one shape (B, C), got {tuple(cls_score.shape)} '
                f'and {tuple(target.shape)}'
            )
        known = split_unknown(cls_score, target)
        losses = self.loss_weight * self.losses(known.scores, known.target)
        return reduce_known(losses, known.mask, reduction_override or self.reduction, avg_factor, weight)


@MODELS.register_module()
class MaskedBCELoss(MaskedLoss):
    """Binary cross-entropy over known labels, stable in half precision; hard and soft targets.

    Args:
        pos_weight (Sequence[float] | float | str, optional): Weight of present labels, one number or one for each
            class. 'balanced' takes it from the training data, see
            :func:`mmlattn.models.losses.class_counts.balanced_pos_weight`; ``mmlattn.LabelFrequencyHook`` counts.
        max_pos_weight (float): The most that 'balanced' gives, 1 or more.
        **kwargs: ``reduction`` and ``loss_weight`` of :class:`MaskedLoss`.
    """

    def __init__(
        self,
        pos_weight: Sequence[float] | float | str | None = None,
        max_pos_weight: float = 20.0,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        check_number('max_pos_weight', max_pos_weight, least=1)
        self.max_pos_weight = max_pos_weight
        self.class_counts = ClassCounts() if pos_weight == 'balanced' else None
        if self.class_counts is not None:
            self.pos_weight = None
            return
        if isinstance(pos_weight, str):
            raise UserError(
                f"pos_weight must be 'balanced', a number or a list of numbers, got {pos_weight!r}"
            )
        numbers = (
            [] if pos_weight is None else pos_weight if isinstance(pos_weight, Sequence) else [pos_weight]
        )
        for number in numbers:
            check_number('pos_weight', number, least=0)
        self.register_buffer('pos_weight', torch.tensor(numbers or [1.0]), persistent=False)

    def losses(self, scores: Tensor, target: Tensor) -> Tensor:
        """See :func:`mmlattn.models.losses.binary.binary_cross_entropy`."""
        weights = self.pos_weight
        if self.class_counts is not None:
            weights = balanced_pos_weight(
                self.class_counts.read(scores, "pos_weight='balanced'"), self.max_pos_weight
            )
        if len(weights) not in (1, scores.shape[-1]):
            raise UserError(
                f'pos_weight has {len(weights)} numbers for {scores.shape[-1]} classes: give one for each '
                'class, or one for all'
            )
        return binary_cross_entropy(scores, target, weights.to(scores.device))

    def describe_counts(self) -> str:
        """What 'balanced' comes to, for the log."""
        weights = balanced_pos_weight(self.class_counts.counts, self.max_pos_weight)
        capped = int((weights == self.max_pos_weight).sum())
        return (
            f'present labels weigh {weights.min():.3g} to {weights.max():.3g} times as much as absent ones; '
            f'{capped} of {len(weights)} classes are held at max_pos_weight={self.max_pos_weight:g}'
        )


@MODELS.register_module()
class MaskedAsymmetricLoss(MaskedLoss):
    """Asymmetric loss (Ridnik et al., ICCV 2021) over known labels, stable in half precision.

    Args:
        gamma_pos, gamma_neg, clip, constant_focus: See :func:`mmlattn.models.losses.binary.asymmetric_loss`.
        **kwargs: ``reduction`` and ``loss_weight`` of :class:`MaskedLoss`.
    """

    def __init__(
        self,
        gamma_pos: float = 0.0,
        gamma_neg: float = 4.0,
        clip: float = 0.05,
        constant_focus: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in dict(gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip).items():
            check_number(name, value, least=0)
        if clip >= 1:
            raise UserError(f'clip is a margin of probability, 0 to below 1, got {clip}')
        self.gamma_pos, self.gamma_neg, self.clip = gamma_pos, gamma_neg, clip
        self.constant_focus = constant_focus

    def losses(self, scores: Tensor, target: Tensor) -> Tensor:
        """See :func:`mmlattn.models.losses.binary.asymmetric_loss`."""
        return asymmetric_loss(scores, target, self.gamma_pos, self.gamma_neg, self.clip, self.constant_focus)


@MODELS.register_module()
class MaskedFocalLoss(MaskedLoss):
    """Focal loss (Lin et al., ICCV 2017) over known labels, stable in half precision.

    Args:
        gamma (float): Power of the focusing term, at least 0.
        alpha (float, optional): Weight of present labels, 1 - alpha being that of absent ones; None weighs neither.
        **kwargs: ``reduction`` and ``loss_weight`` of :class:`MaskedLoss`.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = 0.25, **kwargs) -> None:
        super().__init__(**kwargs)
        check_number('gamma', gamma, least=0)
        if alpha is not None:
            check_number('alpha', alpha, least=0, most=1)
        self.gamma, self.alpha = gamma, alpha

    def losses(self, scores: Tensor, target: Tensor) -> Tensor:
        """See :func:`mmlattn.models.losses.binary.focal_loss`."""
        return focal_loss(scores, target, self.gamma, self.alpha)
