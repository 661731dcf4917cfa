"""Json as mmengine writes it, and yaml as it reads it, once mmlattn is loaded: logs, results of tests, configs."""

from typing import Any

import yaml
from mmengine.fileio import JsonHandler, YamlHandler, register_handler

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


class _DataLoader(yaml.SafeLoader):
    """Data, and tuples as mmengine writes them."""


_DataLoader.add_constructor(
    'tag:yaml.org,2002:python/tuple', lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)


@register_handler(['yaml', 'yml'])
class DataYamlHandler(YamlHandler):
    """Mmengine's, which by itself calls any function that a file names, as in ``!!python/object/apply:os.system``."""

    def load_from_fileobj(self, file: Any, **kwargs) -> Any:
        """Read an open file.

        Raises:
            yaml.YAMLError: For tags other than those of data, without doing what they ask for.
        """
        return super().load_from_fileobj(file, **kwargs | dict(Loader=_DataLoader))
