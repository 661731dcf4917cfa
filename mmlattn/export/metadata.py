"""All that a reader of an exported file has to know, in the file.

Of ONNX these are entries of ``metadata_props``, by name, each the json of its value; a program of PyTorch has them as
the extra file ``mmlattn.json``, OpenVINO as the json of ``mmlattn`` in ``rt_info``. ``docs/export.md`` lists them.
"""

from collections.abc import Mapping
from typing import Any

from mmlattn.utils.json_files import to_json
from mmlattn.version import __version__

#: Raised when a reader of an older file would go wrong.
FORMAT = 1
#: Where formats that keep one text have it.
NAME = 'mmlattn'


def base_metadata(**known: Any) -> dict[str, Any]:
    """Metadata with what every file has."""
    return dict(format=FORMAT, mmlattn_version=__version__, **known)


def to_properties(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Each entry as json, by name."""
    return {name: to_json(value, ensure_ascii=False) for name, value in metadata.items()}
