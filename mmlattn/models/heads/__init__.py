from .cnn_rnn_head import CNNRNNHead
from .csra_head import CSRAHead
from .region_constraint_wrapper import RegionConstraintWrapper
from .scale_fusion_head import ScaleFusionHead
from .scaled_linear_head import ScaledLinearClsHead
from .st_lstm_head import STLSTMHead

__all__ = [
    'CNNRNNHead', 'CSRAHead', 'RegionConstraintWrapper', 'STLSTMHead', 'ScaleFusionHead', 'ScaledLinearClsHead',
]  # fmt: skip
