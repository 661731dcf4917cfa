"""What a library says when a setting makes it stumble, in one line, with what to change where that is known."""

import difflib
import inspect
import re
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

#: What a wrong setting makes a library raise.
MISTAKES = (
    ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip

#: Of what libraries say where they do not mean it so, and what to change.
ADVICE = [
    (
        r'stack expects each tensor to be equal size|of batch should be of equal size|'
        r'storage that is not resizable|no key (inputs|data_samples)$',
        "pictures of one size, packed, make a batch: end the pipeline with dict(type='Resize', scale=(448, 448)) and "
        "dict(type='PackInputs')",
    ),
    (
        r'Expected more than 1 value per channel',
        'batch normalisation needs more than one picture of this size: set train_dataloader.drop_last=True, a '
        'larger batch_size, or resize to larger pictures',
    ),
    (
        r'^mat1 and mat2 shapes cannot be multiplied',
        "what comes has another width than in_channels: set that, or model.neck=dict(type='GlobalAveragePooling')",
    ),
    (r'no key (gs|hdfs|az|oss|abfs)$', 'addresses of that kind can not be read: download the data'),
    (r"'HTTPBackend' object has no attribute", 'data sets can not be read from the web: download the data'),
    (r'Cannot infer the rule for key', "set default_hooks.checkpoint.rule='greater', or 'less'"),
    (r'embedded null byte', 'a path holds the character \\0: write it again'),
    (r'need at least one array to concatenate', 'the data set has no item: set more indices, or other files'),
    (
        r'should be either all None or not None',
        'set all three, or none of them, as in val_cfg=dict(), val_dataloader=dict(...), val_evaluator=dict(...)',
    ),
    (r'out of memory', 'set a smaller batch_size, smaller pictures or --amp'),
    (r'No space left on device', 'make room, or set another --work-dir'),
]  # fmt: skip


def one_line(error: Exception, where: str = '') -> str:
    """The first line of a message, without its full stop; ``where`` it arose; what was meant or what to change."""
    message = textwrap.shorten(_first_line(error), 300, placeholder=' ...').rstrip('.')
    named = _unknown_type(error, message) or _unknown_argument(error, message)
    if named:
        message, advice = named
    else:
        advice = next((text for form, text in ADVICE if re.search(form, message)), None)
    # A class that is part of the message needs no other word.
    where = f', in {where}' if where and where.rpartition('.')[2] not in message else ''
    return message + where + (f': {advice}' if advice else '')


def said_in_worker(error: BaseException) -> tuple[str, str] | None:
    """Class and message of an error that a worker of a data loader has sent, None for any other."""
    if not re.match(r'Caught \w+ in DataLoader worker process', str(error)):
        return None
    # The last line of its traceback that is not indented begins with the class.
    said = re.findall(r'^(?:\w+\.)*(\w+)(?:: (.*))?$', str(error), re.MULTILINE)
    return said[-1] if said else None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from or while handling, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def frames(error: BaseException) -> Iterator[FrameType]:
    """The frames through which an error came, the innermost last."""
    return (frame for frame, _ in traceback.walk_tb(error.__traceback__))


def built_class(error: BaseException) -> str | None:
    """The ``type`` of the part of a config that was being built."""
    kinds = [frame.f_locals['cfg'].get('type') for frame in _building(error)]
    return next((kind if isinstance(kind, str) else kind.__name__ for kind in reversed(kinds) if kind), None)


def _building(error: BaseException) -> list:
    return [
        f for f in frames(error) if f.f_code.co_name == 'build_from_cfg' and hasattr(f.f_locals['cfg'], 'get')
    ]


def _first_line(error: Exception) -> str:
    worker = said_in_worker(error)
    if worker:
        kind, message = worker
        return f'there is no key {message.strip(chr(39))}' if kind == 'KeyError' else message or kind
    message = str(error.args[0] if error.args else '').partition('\n')[0]
    if isinstance(error, OSError) and error.strerror:
        return f'{error.strerror}: {error.filename}' if error.filename else error.strerror
    if isinstance(error, KeyError) and ' ' not in message:
        return f'there is no key {message}'
    if message:
        return message
    # A bare assert says what it expects.
    return f'{type(error).__name__} {traceback.extract_tb(error.__traceback__)[-1].line}'


def _unknown_type(error: Exception, message: str) -> tuple[str, str] | None:
    """A name that no class is registered under, and what to write in its place."""
    if not re.search(
        r'^\S+ is not in the .* registry|^None is not a callable|^Cannot find None in registry', message
    ):
        return None
    for scope in reversed([frame.f_locals for frame in frames(error)]):
        registry = scope.get('registry')
        given = [scope.get(key) for key in ('obj_type', 'layer_type', 'padding_type')]
        given += [(scope.get('optimizer_cfg') or {}).get('type')]
        name = next((name for name in given if isinstance(name, str)), None)
        if hasattr(registry, 'module_dict') and name:
            known = _registered(registry)
            meant = _similar(name.rpartition('.')[2], known)
            advice = (
                f'did you mean {known[meant]}?' if meant else 'name the file that has it in custom_imports'
            )
            return f'no {registry.name} is called {name}', advice
    return None


def _registered(registry: object) -> dict[str, str]:
    """What a config writes for each class, by the name of the class."""
    root = registry
    while root.parent is not None:
        root = root.parent
    here = {root.scope, registry.scope}
    found = {}
    for part in (*root.children.values(), registry, root, root.children.get('mmlattn')):
        if part is not None:
            part.import_from_location()
            prefix = '' if part.scope in here else f'{part.scope}.'
            found |= {name: prefix + name for name in part.module_dict}
    return found


def _unknown_argument(error: Exception, message: str) -> tuple[str, str] | None:
    """A keyword that a class or a function does not take, and what to write in its place."""
    said = re.match(r"([\w.]+)\(\) got an unexpected keyword argument '(\w+)'", message)
    if not said:
        return None
    owner, argument = said[1].removesuffix('.__init__'), said[2]
    called = _called(error, owner)
    name = getattr(called, '__name__', owner)
    if argument == '_delete_':
        return f'{name} takes no _delete_', 'leave it out where the base config has nothing to replace'
    known = _keywords(_most_derived(error, called)) if called else []
    meant = _similar(argument, known)
    advice = (
        f'did you mean {meant}?' if meant else f'it takes {", ".join(known)}' if known else 'leave it out'
    )
    return f'{name} takes no {argument}', advice


def _called(error: Exception, owner: str) -> Callable | None:
    """The class that was being built, if ``owner`` is that or a base of it; else what the last frames call so."""
    for frame in reversed(list(frames(error))):
        kind = frame.f_locals.get('obj_cls')
        if inspect.isclass(kind) and owner in {base.__qualname__ for base in kind.__mro__}:
            return kind
        if callable(frame.f_globals.get(owner)):
            return frame.f_globals[owner]
    return None


def _most_derived(error: Exception, called: Callable) -> Callable:
    """The class that was being built if it passed its arguments on to its base ``called``, else ``called``."""
    kinds = [frame.f_locals.get('obj_cls') for frame in frames(error)]
    kind = next((kind for kind in reversed(kinds) if inspect.isclass(kind)), None)
    return kind if kind and inspect.isclass(called) and issubclass(kind, called) else called


def _keywords(called: Callable) -> list[str]:
    """The names of all arguments, those that go to base classes included."""
    parts = (
        [vars(base)['__init__'] for base in called.__mro__ if '__init__' in vars(base)]
        if inspect.isclass(called)
        else [called]
    )
    names = {}
    for part in parts:
        parameters = inspect.signature(part).parameters.values()
        names |= {p.name: None for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return [name for name in names if name != 'self']


def _similar(name: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that differs least, in case or a few letters."""
    by_lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None
