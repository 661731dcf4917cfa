from .class_names import ClassNamesHook
from .collect_dir import CollectDirHook
from .reproducibility import ReproducibilityHook

__all__ = ['ClassNamesHook', 'CollectDirHook', 'ReproducibilityHook']
