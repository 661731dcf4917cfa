"""What the console shows of long messages: their headlines. The log file of the run has all of them."""

import logging
import re

from mmengine.logging import MMLogger
from mmengine.runner import Runner

#: Messages of a hundred lines and more that mmengine logs before the first step.
_LONG = r'^(System environment|Config|Hooks will be executed in the following order):'
_METRICS = r'(?:Epoch|Iter)\((?:val|test)\) \S*\[\d+/\d+\]\s+'
_FEW, _OF_EACH = 8, 4
#: Messages that come once for each weight, and their headlines.
_OF_WEIGHTS = {
    r'^paramwise_options -- ': 'paramwise_options: a line for each weight with a rate or decay of its own',
    r' is skipped since its requires_grad=False$': 'weights that do not learn (requires_grad=False): a line for each',
}


class HeadlineFormatter(logging.Formatter):
    """Shortens what another formatter makes of a message.

    Args:
        full (logging.Formatter): The other one.
        log_file (str): Where the whole message is.
    """

    def __init__(self, full: logging.Formatter, log_file: str) -> None:
        super().__init__()
        self._full, self._log_file = full, log_file

    def format(self, record: logging.LogRecord) -> str:
        """The message, or its headline and where the rest is."""
        text, message = self._full.format(record), record.getMessage()
        headline = _of_lines(message) or _of_metrics(message) or _of_weights(message)
        return text.replace(message, f'{headline} in {self._log_file}') if headline else text


class FirstOfWeights(logging.Filter):
    """Of the messages that come once for each weight, lets the first one through: its headline stands for all."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is shown."""
        headline = _of_weights(record.getMessage())
        if headline in self._seen:
            return False
        if headline is not None:
            self._seen.add(headline)
        return True


class HeadlineRunner(Runner):
    """mmengine's Runner, with headlines on the console from its first message on."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """The logger of the parent."""
        return show_headlines(super().build_logger(*args, **kwargs))


def show_headlines(logger: MMLogger) -> MMLogger:
    """Let the console of a logger show headlines, if it has a file too; returns the logger."""
    files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    for handler in logger.handlers if files else ():
        if handler not in files and not isinstance(handler.formatter, HeadlineFormatter):
            handler.setFormatter(HeadlineFormatter(handler.formatter, files[0].baseFilename))
            handler.addFilter(FirstOfWeights())
    return logger


def _of_lines(message: str) -> str | None:
    found = re.search(_LONG, message, re.MULTILINE)
    return f'{found[1]}: {len(message.splitlines())} lines' if found else None


def _of_weights(message: str) -> str | None:
    return next((headline for found, headline in _OF_WEIGHTS.items() if re.search(found, message)), None)


def _of_metrics(message: str) -> str | None:
    """Of many values the first ones of each prefix."""
    start = re.match(_METRICS, message)
    if start is None:
        return None
    values = message[start.end() :].split()
    names, numbers = values[::2], values[1::2]
    if len(names) <= _FEW or len(names) != len(numbers) or not all(n.endswith(':') for n in names):
        return None
    prefixes = [name.rpartition('/')[0] for name in names]
    shown = [
        f'{name} {number}'
        for index, (name, number) in enumerate(zip(names, numbers, strict=True))
        if prefixes[:index].count(prefixes[index]) < _OF_EACH
    ]
    return f'{start[0]}{"  ".join(shown)}  and {len(names) - len(shown)} more'
