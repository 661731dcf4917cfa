"""Samplers: which pictures an epoch shows."""

from .class_aware import ClassAwareSampler

__all__ = ['ClassAwareSampler']
