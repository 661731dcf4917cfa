"""The loss of ``distribution_balanced.py`` as mmpretrain's heads call it."""

from torch import Tensor

from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_number
from mmlattn.utils.errors import UserError

from .class_counts import ClassCounts
from .distribution_balanced import class_bias, negative_tolerant_bce, rebalancing_weights
from .masked import MaskedLoss


@MODELS.register_module()
class DistributionBalancedLoss(MaskedLoss):
    """Distribution-balanced loss (Wu et al., ECCV 2020) over known labels, stable in half precision.

    The paper trains with class-aware sampling, which the weights answer to: ``mmlattn.ClassAwareSampler``. How
    frequent classes are is counted by ``mmlattn.LabelFrequencyHook``.

    Args:
        alpha, beta, mu (float): See :func:`mmlattn.models.losses.distribution_balanced.rebalancing_weights`; defaults
            are the authors' for COCO-MLT.
        neg_scale (float): lambda, above 0; 1 with ``kappa=0`` leaves the re-balanced cross-entropy alone.
        kappa (float): See :func:`mmlattn.models.losses.distribution_balanced.class_bias`.
        gamma (float): Power of a focal factor; 0, the default, is without, the authors' code has 2.
        **kwargs: ``reduction`` and ``loss_weight`` of :class:`mmlattn.models.losses.masked.MaskedLoss`.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        beta: float = 10.0,
        mu: float = 0.2,
        neg_scale: float = 2.0,
        kappa: float = 0.05,
        gamma: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in dict(
            alpha=alpha, beta=beta, kappa=kappa, gamma=gamma, neg_scale=neg_scale
        ).items():
            check_number(name, value, least=0)
        check_number('mu', mu)
        if neg_scale == 0:
            raise UserError('neg_scale must be above 0, it divides the loss of absent classes, got 0')
        self.alpha, self.beta, self.mu = alpha, beta, mu
        self.neg_scale, self.kappa, self.gamma = neg_scale, kappa, gamma
        self.class_counts = ClassCounts()

    def losses(self, scores: Tensor, target: Tensor) -> Tensor:
        """r_hat times the negative-tolerant cross-entropy, (B, C)."""
        present, known = self.class_counts.read(scores, type(self).__name__)
        weights = rebalancing_weights(target, present, self.alpha, self.beta, self.mu)
        bias = class_bias(present, known, self.kappa)
        return weights * negative_tolerant_bce(scores, target, bias, self.neg_scale, self.gamma)

    def describe_counts(self) -> str:
        """What the counts come to, for the log."""
        bias = class_bias(*self.class_counts.counts, self.kappa)
        return f'scores of classes are shifted by {bias.min():.2g} to {bias.max():.2g}'
