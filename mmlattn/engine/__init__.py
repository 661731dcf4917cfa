from .hooks import ClassNamesHook, CollectDirHook, ReproducibilityHook
from .loops import StreamTrainLoop

__all__ = ['ClassNamesHook', 'CollectDirHook', 'ReproducibilityHook', 'StreamTrainLoop']
