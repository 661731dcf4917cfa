"""Colours that are told apart with any colour vision, and letters that are legible on each of them."""

from matplotlib.colors import to_rgb

#: M. Okabe and K. Ito, Color Universal Design, 2008.
OKABE_ITO = dict(
    black='#000000', orange='#E69F00', sky_blue='#56B4E9', bluish_green='#009E73', yellow='#F0E442',
    blue='#0072B2', vermillion='#D55E00', reddish_purple='#CC79A7',
)  # fmt: skip
INK = '#1A1A1A'
#: Of the marks before a name; what is predicted without a truth has none.
OUTCOME_COLORS = dict(
    correct=OKABE_ITO['blue'],
    wrong=OKABE_ITO['vermillion'],
    missed=OKABE_ITO['reddish_purple'],
    ignored=OKABE_ITO['black'],
)
REGION_COLORS = tuple(
    OKABE_ITO[name]
    for name in ('orange', 'sky_blue', 'bluish_green', 'yellow', 'reddish_purple', 'blue', 'vermillion')
)


def contrast(color: str, ground: str) -> float:
    """Contrast ratio of two colours, 1 to 21, as the Web Content Accessibility Guidelines 2.1 define it."""
    darker, lighter = sorted((_luminance(color), _luminance(ground)))
    return (lighter + 0.05) / (darker + 0.05)


def legible_on(ground: str) -> str:
    """Black or white, whichever stands out more: at least 4.5 : 1 on any ground."""
    return max('black', 'white', key=lambda color: contrast(color, ground))


def _luminance(color: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
