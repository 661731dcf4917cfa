from .collect_dir import CollectDirHook
from .reproducibility import ReproducibilityHook

__all__ = ['CollectDirHook', 'ReproducibilityHook']
