"""Files that are there whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write a file, under a name of the same ending; then it takes the place of what is at ``path``."""
    draft = path.with_name(f'.part-{path.name}')
    yield draft
    draft.replace(path)
