"""Each scale must be surer of the true class than the one before (Fu, Zheng and Mei, CVPR 2017).

    L_rank(p^(s), p^(s+1)) = max(0, p_t^(s) - p_t^(s+1) + margin)

with p_t the probability of the true class.
"""

from torch import Tensor

from mmlattn.models.layers.precision import widen


def true_class_probs(scores: Tensor, target: Tensor) -> Tensor:
    """p_t of each picture, by softmax in at least float32.

    Args:
        scores (Tensor): Raw scores, shape (B, C).
        target (Tensor): Class indices, shape (B,), or shares of classes that sum to 1, shape (B, C), as mixed
            pictures have them: p_t is then the mean over the shares.

    Returns:
        Tensor: Shape (B,), in [0, 1].
    """
    probs = widen(scores).softmax(dim=-1)
    if target.dim() == 1:
        return probs.gather(-1, target[:, None])[:, 0]
    return (probs * target).sum(dim=-1)


def rank_hinges(probs: Tensor, margin: float = 0.05) -> Tensor:
    """The hinge of each pair of neighbouring scales, in which the coarser one is a constant.

    Otherwise, with two active hinges the middle scale gets the gradient -1 + 1 = 0, and a network may win by making
    coarse scales worse. This way each finer scale gets -1.

    Args:
        probs (Tensor): p_t of S scales from coarse to fine, shape (B, S).
        margin (float): Above 1 - p_t of the coarser scale the hinge cannot be met.

    Returns:
        Tensor: Shape (B, S - 1).
    """
    return (probs[:, :-1].detach() - probs[:, 1:] + margin).relu()
