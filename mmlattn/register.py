"""Importing this module registers everything mmlattn has.

For configs that use plain names: ``custom_imports = dict(imports=['mmlattn.register'])``. With the
``mmlattn.`` prefix nothing needs importing.
"""

import mmlattn.comparison.stored
import mmlattn.datasets
import mmlattn.engine
import mmlattn.evaluation
import mmlattn.models
import mmlattn.visualization  # noqa: F401
