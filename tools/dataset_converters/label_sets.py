"""Labels that co-occur by rule, and digits that are hard to read without knowing it.

The rule is a table: a scene shows exactly the digits of one row, every row is as likely as any other. With N rows a
label occurs in (rows that hold it) / N of the scenes, two labels together in (rows that hold both) / N, and most sets
of labels never. Hiding digits makes the rule worth knowing: what one digit leaves open, the others may settle.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from mmlattn.utils.errors import UserError

FAINT = 0.4  # Brightness of a faint digit's ink, as a share of its own.


def draw_label_sets(
    rng: np.random.Generator, number: int, num_labels: int, max_size: int
) -> tuple[tuple[int, ...], ...]:
    """Draw a table of different label sets in which every label is in two sets or more, so that none tells its set.

    Args:
        rng (np.random.Generator): Source of the draws.
        number (int): Sets to draw. As many are of size 1 as of size 2, ..., ``max_size``; one more of the
            smaller sizes where that doesn't come out even.
        num_labels (int): Labels to choose from.
        max_size (int): Labels in the largest sets.

    Returns:
        tuple[tuple[int, ...], ...]: The sets, smallest first, labels ascending.

    Raises:
        UserError: If there is no such table, or a thousand draws did not find one.
    """
    pools = {size: list(combinations(range(num_labels), size)) for size in range(1, max_size + 1)}
    counts = Counter(index % max_size + 1 for index in range(number))
    if all(count <= len(pools[size]) for size, count in counts.items()):
        for _ in range(1000):
            picks = {
                size: rng.choice(len(pools[size]), count, replace=False) for size, count in counts.items()
            }
            table = tuple(pools[size][pick] for size in sorted(picks) for pick in sorted(picks[size]))
            members = Counter(label for row in table for label in row)
            if len(members) == num_labels and min(members.values()) > 1:
                return table
    raise UserError(
        f'found no {number} different sets of 1 to {max_size} of {num_labels} labels, as many of each size, with '
        'every label in at least two of them; ask for another number of sets or for larger ones'
    )


def describe_label_sets(table: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Say the table and what it makes of the labels, in two lines."""
    members = Counter(label for row in table for label in row)
    pairs = {pair for row in table for pair in combinations(row, 2)}
    possible = len(names) * (len(names) - 1) // 2
    shares = ', '.join(f'{name} in {100 * members[c] / len(table):.0f} %' for c, name in enumerate(names))
    rows = ' | '.join(' '.join(names[c] for c in row) for row in table)
    return f'label sets: {rows}\n{shares}; {len(pairs)} of {possible} pairs occur'


def hide_ink(rng: np.random.Generator, ink: np.ndarray) -> np.ndarray:
    """Make a digit hard to read: with equal odds faint, or one half of it covered, on a side drawn at random.

    Args:
        rng (np.random.Generator): Source of the draws.
        ink (np.ndarray): Shape (H, W), uint8. It is left as it is.

    Returns:
        np.ndarray: Shape (H, W), uint8; zero where the digit is covered.
    """
    if rng.random() < 0.5:
        return (ink * FAINT).astype(np.uint8)
    hidden = ink.copy()
    height, width = ink.shape
    sides = (np.s_[: height // 2], np.s_[-(height // 2) :], np.s_[:, : width // 2], np.s_[:, -(width // 2) :])
    hidden[sides[rng.integers(4)]] = 0
    return hidden
