from .heads import CSRAHead

__all__ = ['CSRAHead']
