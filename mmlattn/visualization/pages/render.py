"""A template and what it shows become the text of a page."""

import base64
import hashlib
from datetime import datetime
from pathlib import Path

from mmlattn.utils.errors import UserError

from ..palette import INK, OUTCOME_COLORS, legible_on
from .tables import heat_colors

TEMPLATES = Path(__file__).parent / 'templates'


def render(template: str, **context) -> str:
    """The text of a page.

    Everything that the context holds is written as text, whatever it looks like: names of classes and files are other
    people's. The page may load nothing, and of scripts it runs its own alone, by their digest.

    Args:
        template (str): Name of a file in ``templates/`` that extends ``page.html.j2``.
        **context: What the template asks for; what is missing is an error.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (TEMPLATES / 'page.js').read_text(encoding='utf-8')
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        script=script,
        digest=digest,
        style=(TEMPLATES / 'page.css').read_text(encoding='utf-8'),
        heat=heat_colors(),
        outcomes={name: (color, legible_on(color)) for name, color in OUTCOME_COLORS.items()},
        ink=INK,
        made=datetime.now().strftime('%Y-%m-%d %H:%M'),
        **context,
    )


def write_page(file: Path, text: str) -> None:
    """Write a page to a new file; letters that no text file can hold become what they are called."""
    try:
        with file.open('x', encoding='utf-8', errors='backslashreplace') as out:
            out.write(text)
    except FileExistsError as error:
        raise UserError(f'{file} exists already: give another name, or remove it') from error
