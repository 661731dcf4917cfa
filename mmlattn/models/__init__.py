from .cnn_rnn.head import CNNRNNHead
from .cnn_rnn.vgg_neck import VGGFCNeck
from .csra.head import CSRAHead
from .racnn.activation_localizer import ActivationLocalizer
from .racnn.apn import APN
from .racnn.classifier import RACNN
from .racnn.pairwise_rank_loss import PairwiseRankLoss
from .racnn.scale_fusion_head import ScaleFusionHead
from .racnn.scaled_linear_head import ScaledLinearClsHead
from .ran.backbone import ResidualAttentionNet, ResidualAttentionNet_CIFAR
from .ran.wrapper import ResidualAttentionWrapper
from .st_lstm.constraint_wrapper import RegionConstraintWrapper
from .st_lstm.head import STLSTMHead
from .st_lstm.neck import STLSTM
from .st_lstm.region_constraint_loss import RegionConstraintLoss
from .st_lstm.softmax_l2_loss import SoftmaxL2Loss
from .views.multi_crop_classifier import MultiCropClassifier
from .views.tta import DecidingTTA

__all__ = [
    'APN', 'RACNN', 'STLSTM', 'ActivationLocalizer', 'CNNRNNHead', 'CSRAHead', 'DecidingTTA',
    'MultiCropClassifier', 'PairwiseRankLoss', 'RegionConstraintLoss', 'RegionConstraintWrapper',
    'ResidualAttentionNet', 'ResidualAttentionNet_CIFAR', 'ResidualAttentionWrapper', 'STLSTMHead',
    'ScaleFusionHead', 'ScaledLinearClsHead', 'SoftmaxL2Loss', 'VGGFCNeck',
]  # fmt: skip
