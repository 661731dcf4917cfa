from .activation_localizer import ActivationLocalizer
from .apn import APN

__all__ = ['APN', 'ActivationLocalizer']
