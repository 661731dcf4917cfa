from .region_constraint_loss import RegionConstraintLoss
from .softmax_l2_loss import SoftmaxL2Loss

__all__ = ['RegionConstraintLoss', 'SoftmaxL2Loss']
