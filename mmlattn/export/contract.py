"""The outputs of an exported file: one contract for every classifier.

A file has one input, ``image``, and some of these outputs, by name. ``scores`` is always there.
"""

from collections.abc import Iterable
from dataclasses import dataclass

INPUT = 'image'


@dataclass(frozen=True)
class Output:
    """One output: the names of its axes, of which the first is the pictures, and what it means."""

    axes: tuple[str, ...]
    meaning: str


#: By name, in the order in which a file has them. Evidence is called as in ``mmlattn/structures/evidence.py``.
OUTPUTS = {
    'scores': Output(
        ('batch', 'classes'), 'score of each class in [0, 1], as predict gives it, not calibrated'
    ),
    'logits': Output(
        ('batch', 'classes'), 'raw score of each class, from which the activation makes the score'
    ),
    'label_path': Output(
        ('batch', 'steps'), 'labels in the order in which they were emitted, -1 behind the last'
    ),
    'path_logprob': Output(('batch',), 'log-probability of label_path'),
    'attention_maps': Output(
        ('batch', 'classes', 'map_height', 'map_width'),
        'where each class was read from; sums to 1 over a map, all zero for a class that was not emitted',
    ),
    'regions': Output(
        ('batch', 'regions', '4'), 'boxes looked at, in order: x1, y1, x2, y2 in [0, 1] of the input'
    ),
    'region_scores': Output(('batch', 'regions', 'classes'), 'what each region alone said of each class'),
    'fused_scores': Output(
        ('batch', 'regions - 1', 'classes'), 'row k: what the first k + 2 regions together say of each class'
    ),
}
#: Soft masks of attention modules are outputs of their own, as each has a size of its own.
MASK = 'trunk_masks_'
MASK_OUTPUT = Output(
    ('batch', 'channels', 'map_height', 'map_width'),
    'soft mask of one attention module, see trunk_mask_names',
)


def output(name: str) -> Output:
    """What the output of a name is."""
    return MASK_OUTPUT if name.startswith(MASK) else OUTPUTS[name]


def in_order(names: Iterable[str]) -> list[str]:
    """Names of outputs as a file has them; soft masks, in the order of the network, last."""
    names = list(names)
    masks = [name for name in names if name.startswith(MASK)]
    return [name for name in OUTPUTS if name in names] + sorted(masks, key=lambda n: int(n[len(MASK) :]))


def described(names: Iterable[str], dtypes: Iterable[str]) -> list[dict]:
    """The outputs of a file as its metadata tell them."""
    return [
        dict(name=name, axes=list(output(name).axes), dtype=dtype, meaning=output(name).meaning)
        for name, dtype in zip(names, dtypes, strict=True)
    ]
