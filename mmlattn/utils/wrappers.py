"""What is inside of model wrappers."""

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn


def without_wrapper(model: nn.Module) -> nn.Module:
    """The model that is wrapped for several processes, or the model itself."""
    return model.module if is_model_wrapper(model) else model


def network(model: nn.Module) -> nn.Module:
    """The model inside of every wrapper, for several processes or for test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
