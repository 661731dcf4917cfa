from .pairwise_rank_loss import PairwiseRankLoss
from .region_constraint_loss import RegionConstraintLoss
from .softmax_l2_loss import SoftmaxL2Loss

__all__ = ['PairwiseRankLoss', 'RegionConstraintLoss', 'SoftmaxL2Loss']
