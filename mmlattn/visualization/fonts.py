"""Fonts that have the letters of class names, such as Chinese, Japanese and Korean ones."""

import difflib
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from matplotlib.font_manager import FontProperties, findSystemFonts, fontManager, get_font

from mmlattn.utils.errors import UserError

# Has a picture of a box for every letter there is.
LAST_RESORT = 'Last Resort'


def font_family(font: str | Path) -> str:
    """The family of a font, given by that name or by its file; raises ``UserError`` if there is none."""
    path, names = Path(font), sorted({entry.name for entry in fontManager.ttflist})
    if path.is_file():
        try:
            fontManager.addfont(path)
            return get_font(path).family_name
        except (OSError, RuntimeError, UnicodeError, TypeError) as error:
            raise UserError(
                f'font={str(font)!r} is no font that can be read, expected a .ttf or .otf'
            ) from error
    if str(font) not in names:
        _add_new_fonts()
        names = sorted({entry.name for entry in fontManager.ttflist})
    if str(font) not in names:
        near = difflib.get_close_matches(str(font), names, cutoff=0.3) or names[:3]
        raise UserError(
            f'there is no font {str(font)!r}: give the path of a .ttf or .otf file, or a family that is installed, '
            f'such as {", ".join(near)}'
        )
    return str(font)


def find_families(texts: Iterable[str], font: str | None = None) -> tuple[list[str], frozenset[str]]:
    """Families that together have the letters of all texts, and the letters that no installed font has.

    First stands the family ``font``, then matplotlib's own, then what is installed and has most of the missing ones.
    Letters without a font are told in one warning.
    """
    letters = frozenset(letter for text in texts for letter in text if not letter.isspace())
    families, missing = _covering(letters, font)
    if missing:
        _warn(missing)
    return list(families), missing


def drawable_names(names: Sequence[str] | None, missing: frozenset[str]) -> Sequence[str] | None:
    """Class names, with the number of the class in place of a name that has letters without a font."""
    if not missing or names is None:
        return names
    return [f'class {c}' if missing & set(str(name)) else name for c, name in enumerate(names)]


def without_letters(text: str, missing: frozenset[str]) -> str:
    """A text that names no class, with question marks in place of letters without a font."""
    return ''.join('?' if letter in missing else letter for letter in text)


@cache
def _covering(letters: frozenset[str], font: str | None) -> tuple[tuple[str, ...], frozenset[str]]:
    families = [*([font] if font else []), 'sans-serif']
    for family in families:
        letters -= _letters(_file(family))
    if letters:
        _add_new_fonts()
    while letters:
        found = {e.name: len(letters & _letters(e.fname)) for e in fontManager.ttflist if _is_plain(e)}
        best = max(sorted(found), key=found.get)
        if not found[best]:
            break
        families.append(best)
        letters -= _letters(_file(best))
    return tuple(families), letters


def _file(family: str) -> str:
    # A bare string would be parsed as a pattern.
    return fontManager.findfont(FontProperties(family=[family]))


def _is_plain(entry) -> bool:
    return entry.style == 'normal' and not entry.name.startswith(LAST_RESORT)


@cache
def _letters(file: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, get_font(file).get_charmap()))
    except (OSError, RuntimeError):  # removed or damaged since matplotlib listed it
        return frozenset()


@cache
def _add_new_fonts() -> None:
    """Those installed after matplotlib made its list, which it keeps over all sessions."""
    for file in sorted(set(findSystemFonts()) - {entry.fname for entry in fontManager.ttflist}):
        try:
            fontManager.addfont(file)
        except Exception:  # as matplotlib does for what it can not read
            continue


@cache
def _warn(missing: frozenset[str]) -> None:
    shown = ''.join(sorted(missing)[:8]) + ('…' if len(missing) > 8 else '')
    warnings.warn(
        f'no installed font has {shown}, so classes named with them are drawn by number: install one that has, for '
        "Chinese, Japanese and Korean such as Noto Sans CJK (Debian's package fonts-noto-cjk), or give a font file "
        'with font= or --font',
        stacklevel=2,
    )
