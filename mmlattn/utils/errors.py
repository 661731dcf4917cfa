"""Errors that a person at the keyboard can put right."""


class UserError(ValueError):
    """A wrong path, option or file: the message says what came, what was expected and what to change.

    The tools print the message of a ``UserError`` alone; every other exception keeps its traceback.
    """
