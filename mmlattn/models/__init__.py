from .cnn_rnn.head import CNNRNNHead
from .cnn_rnn.vgg_neck import VGGFCNeck
from .csra.head import CSRAHead
from .linear.head import LinearMultiLabelHead
from .losses.balanced import DistributionBalancedLoss
from .losses.masked import MaskedAsymmetricLoss, MaskedBCELoss, MaskedFocalLoss
from .ml_decoder.head import MLDecoderHead
from .query2label.head import Query2LabelHead
from .racnn.classifier import RACNN
from .racnn.heads import PairwiseRankLoss, ScaledLinearClsHead, ScaleFusionHead
from .racnn.localizers import APN, ActivationLocalizer
from .ran.backbone import ResidualAttentionNet, ResidualAttentionNet_CIFAR
from .ran.wrapper import ResidualAttentionWrapper
from .st_lstm.head import RegionConstraintWrapper, STLSTMHead
from .st_lstm.losses import RegionConstraintLoss, SoftmaxL2Loss
from .st_lstm.neck import STLSTM
from .views.multi_crop_classifier import MultiCropClassifier
from .views.tta import MultiLabelTTAModel

__all__ = [
    'APN', 'RACNN', 'STLSTM', 'ActivationLocalizer', 'CNNRNNHead', 'CSRAHead',
    'DistributionBalancedLoss',
    'LinearMultiLabelHead', 'MLDecoderHead', 'MaskedAsymmetricLoss', 'MaskedBCELoss', 'MaskedFocalLoss',
    'MultiCropClassifier', 'MultiLabelTTAModel', 'PairwiseRankLoss', 'Query2LabelHead', 'RegionConstraintLoss',
    'RegionConstraintWrapper',
    'ResidualAttentionNet', 'ResidualAttentionNet_CIFAR', 'ResidualAttentionWrapper', 'STLSTMHead',
    'ScaleFusionHead', 'ScaledLinearClsHead', 'SoftmaxL2Loss', 'VGGFCNeck',
]  # fmt: skip
