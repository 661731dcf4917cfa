"""Json as mmengine writes it, once mmlattn is loaded: logged scalars and results of tests."""

from typing import Any

from mmengine.fileio import JsonHandler, register_handler

from .json_files import finite_or_null


@register_handler('json')
class FiniteJsonHandler(JsonHandler):
    """Mmengine's, with null in place of what is not finite."""

    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs) -> None:
        """Write to an open file."""
        super().dump_to_fileobj(finite_or_null(obj), file, **kwargs)

    def dump_to_str(self, obj: Any, **kwargs) -> str:
        """Write to a text."""
        return super().dump_to_str(finite_or_null(obj), **kwargs)
