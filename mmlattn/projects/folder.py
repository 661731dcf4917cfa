"""The folder of a project, written whole or not at all."""

import os
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory

from mmlattn.datasets.label_files import LabelTable, write_label_file
from mmlattn.utils.arguments import check_folder
from mmlattn.utils.configs import payload_dir
from mmlattn.utils.errors import UserError

from .config_text import RUN_DIR

CONFIG, LABELS, CLASSES = 'config.py', 'labels.csv', 'classes.txt'


def refuse_taken(out: Path) -> None:
    """Raises ``UserError`` if something is at ``out``, or a folder cannot be made there."""
    if os.path.lexists(out):
        raise UserError(f'{out} exists and is not overwritten; choose another --out-dir')
    check_folder('--out-dir', out)


def write_project(out: Path, table: LabelTable, config: str) -> None:
    """Write config, labels and classes.

    Raises:
        UserError: If something has come to be at ``out``.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f'.{out.name}-') as folder:
        whole = Path(folder, 'whole')
        whole.mkdir()
        write_label_file(table, str(whole / LABELS), 'csv-onehot')
        (whole / CLASSES).write_text('\n'.join(table.classes) + '\n', encoding='utf-8')
        (whole / CONFIG).write_text(config, encoding='utf-8')
        refuse_taken(out)
        whole.rename(out)


def pictures_from(out: Path, pictures: Path) -> str:
    """How a config in ``out`` names the folder of pictures: relative where the user did, so both move together."""
    if pictures.is_absolute():
        return str(pictures)
    # Links above are followed, as the system follows `..`; the folder itself may be one.
    folder = pictures.parent.resolve() / pictures.name
    return Path(os.path.relpath(folder, out.parent.resolve() / out.name)).as_posix()


def next_commands(out: Path, epochs: int, tune: bool) -> list[str]:
    """What to type after the project was written: check, train, ``tune`` thresholds if that can be done, predict."""
    config, trained, predictions = (
        quote(str(out / name)) for name in (CONFIG, f'{RUN_DIR}/epoch_{epochs}.pth', 'predictions')
    )
    commands = [('analysis_tools/check_dataset', f'{config} --images'), ('train', config)]
    if tune:
        commands.append(('analysis_tools/tune_thresholds', f'{config} {trained}'))
        trained = trained.replace(f'epoch_{epochs}.pth', f'epoch_{epochs}_tuned.pth')
    commands.append(('predict', f'{config} {trained} NEW_PICTURES --out-dir {predictions}'))
    return [f'python {_tool(name)} {rest}' for name, rest in commands]


def _tool(name: str) -> str:
    """What starts a tool from here: its file in a checkout that one stands in, else its name."""
    file = payload_dir().resolve() / 'tools' / f'{name}.py'
    here = Path.cwd().resolve()
    return str(file.relative_to(here)) if file.is_relative_to(here) else f'-m mmlattn {file.stem}'
