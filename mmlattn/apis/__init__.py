from mmpretrain.apis import ModelHub

from mmlattn.utils.configs import payload_dir

from .inferencer import MultiLabelInferencer
from .loading import load_model, without_crops

__all__ = ['MultiLabelInferencer', 'load_model', 'without_crops']

# Mmpretrain's own get_model and list_models then know our models by name.
ModelHub.register_model_index(payload_dir() / 'model-index.yml', config_prefix=payload_dir())
