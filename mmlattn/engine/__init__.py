from .hooks import CollectDirHook, ReproducibilityHook
from .loops import StreamTrainLoop

__all__ = ['CollectDirHook', 'ReproducibilityHook', 'StreamTrainLoop']
