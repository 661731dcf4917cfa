"""What the objects in VOC's xml are called, compared with the classes, so that no label is lost by its spelling."""

from collections import Counter
from collections.abc import Collection, Sequence

from mmlattn.utils.errors import UserError

from .annotation_files import refuse, some, warn
from .lookalikes import same_name, similar_name


class ObjectNames:
    """How many objects have a name, and where the first of them is (file and entry)."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.places: dict[str, tuple[str, str]] = {}

    def add(self, name: str, path: str, where: str) -> None:
        """Count an object."""
        self.counts[name] += 1
        self.places.setdefault(name, (path, where))

    def classes(self) -> tuple[str, ...]:
        """All names as classes, sorted."""
        names = sorted(self.counts)
        for number, name in enumerate(names):
            other = same_name(name, names[:number])
            if other is not None:
                refuse(
                    *self.places[name],
                    f'others are called {other}: spell both alike, or set metainfo.classes',
                )
        return tuple(names)

    def check(self, classes: Sequence[str], path: str, training: bool) -> None:
        """Compare the names with the classes of the list ``path``; logs the names that no class has."""
        left_out = Counter({name: n for name, n in self.counts.most_common() if name not in set(classes)})
        for name in left_out:
            meant = same_name(name, classes)
            if meant is not None:
                refuse(*self.places[name], f'is called {name!r}, but the class {meant!r}: spell both alike')
        if not left_out:
            return
        called = some([f'{name} ({number})' for name, number in left_out.items()])
        if not any(map(self.counts.get, classes)):
            raise UserError(
                f'{path}: no object is of the classes {some(classes)}: all are called {called}: set metainfo.classes '
                'to these names, or leave it out'
            )
        meant = self._misspelt(classes, left_out)
        if meant and training:
            name, other = next(iter(meant.items()))
            raise UserError(
                f'{path}: no object is of class {name}, but {left_out[other]} are called {other}, first '
                f'{": ".join(self.places[other])}: mend one of the two, or leave {name} out of metainfo.classes'
            )
        asks = ''.join(
            f'; does the class {name}, which never occurs, mean {other}?' for name, other in meant.items()
        )
        warn(path, f'{left_out.total()} objects of other names than the classes are left out: {called}{asks}')

    def _misspelt(self, classes: Sequence[str], left_out: Collection[str]) -> dict[str, str]:
        pairs = {name: similar_name(name, left_out) for name in classes if not self.counts[name]}
        return {name: other for name, other in pairs.items() if other is not None}
