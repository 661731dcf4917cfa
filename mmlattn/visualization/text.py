"""How wide text is drawn, and how much of it fits."""

from matplotlib.text import Text

__all__ = ['fit_label', 'label_width']


def label_width(label: Text) -> float:
    """Width of a text that stands on an axes, pixels."""
    return label.get_window_extent().width


def fit_label(label: Text, width: float) -> None:
    """Shorten a text, with an ellipsis, to a width in pixels.

    At least its first letter stays, and a score, which follows two spaces, as a whole.
    """
    name, *score = label.get_text().split('  ')
    for length in range(len(name) - 1, 0, -1):
        if label_width(label) <= width:
            return
        label.set_text('  '.join([name[:length].rstrip() + '…', *score]))
