"""Json that every reader takes: it has no NaN and no infinity, so null stands in their place."""

import json
import math
from typing import Any

import numpy as np


def finite_or_null(value: Any) -> Any:
    """A value as json has it, with None for each number that is not finite."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: finite_or_null(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, range)):
        return [finite_or_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(content: Any, **options) -> str:
    """The text of a json file; options are those of ``json.dumps``."""
    return json.dumps(finite_or_null(content), allow_nan=False, **options)
