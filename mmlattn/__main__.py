"""The tools by name, from wherever they are installed: ``python -m mmlattn predict ...``."""

import runpy
import sys
from difflib import get_close_matches
from pathlib import Path

from mmlattn.utils.configs import payload_dir


def commands() -> dict[str, Path]:
    """Every tool in Python, by the name of its file; ``train``, ``test`` and the like stand first."""
    tools = payload_dir() / 'tools'
    files = [*sorted(tools.glob('*.py')), *sorted(tools.glob('*/*.py'))]
    # What is imported by a tool, as the demo's parts are, has no such line.
    return {
        file.stem: file for file in files if "if __name__ == '__main__':" in file.read_text(encoding='utf-8')
    }


def overview(tools: dict[str, Path]) -> str:
    """What can be called, with the first line of what each says of itself."""
    width = max(map(len, tools))
    lines = [f'  {name:{width}}  {_first_line(file)}' for name, file in tools.items()]
    return '\n'.join(['usage: python -m mmlattn COMMAND ...   (COMMAND --help says more)', '', *lines])


def _first_line(file: Path) -> str:
    line = file.read_text(encoding='utf-8').partition('\n')[0]
    return line.removeprefix('r').strip('"').rstrip('.')


def main() -> None:
    """Run the tool that the first argument names, with the others."""
    tools = commands()
    name = sys.argv[1] if len(sys.argv) > 1 else '--help'
    if name in ('-h', '--help'):
        print(overview(tools))
        return
    if name not in tools:
        near = get_close_matches(name, tools, n=3)
        hint = f'did you mean {" or ".join(near)}?' if near else 'python -m mmlattn --help has all'
        print(f'error: there is no command {name}: {hint}', file=sys.stderr)
        sys.exit(1)
    file = tools[name]
    # As if the file itself had been started: its name for messages, its folder for what lies beside it. The working
    # directory stays on the path, so that custom_imports finds a project's own modules.
    sys.argv[:] = [str(file), *sys.argv[2:]]
    sys.path.insert(0, str(file.parent))
    runpy.run_path(str(file), run_name='__main__')


if __name__ == '__main__':
    main()
