"""What to draw of a data sample: one :class:`Panel` for each thing worth looking at, no drawing yet.

Points are (x, y) and boxes xyxy, in [0, 1] of the picture. A maker of panels gets the sample, the classes to show and
its wording.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from mmlattn.structures.evidence import attention_peaks

from .wording import Wording

# With more regions than this a picture shows only those that a class was read from.
MAX_REGIONS = 12
# With more than these the caption of the truth begins with their number, as it will be cut.
MANY_LABELS = 3
# The line of a list that has no other.
NO_LABELS = ('no labels', 'predicted')


@dataclass(frozen=True)
class Region:
    """One box (4,) with its turn, counted from 1, and the classes that were read from it.

    Boxes drawn together have different styles, which say their colour and line.
    """

    box: Tensor
    number: int
    style: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One picture cell and its caption.

    Attributes:
        title: Caption above the picture; two blanks stand before what is kept where a long name is cut.
        outcome: Key of ``OUTCOME_COLORS``, the mark before the caption, or 'predicted', which has none.
        heat: Shape (h, w), non-negative; laid over the whole picture.
        heat_text: What the colours of ``heat`` say, for the legend.
        heat_gamma: Power of ``heat`` that is drawn, see ``overlay``.
        heat_opacity: How much of the picture the hottest place hides.
        peak: Shape (2,), (x, y).
        boxes: Shape (K, 4), outlined.
        regions: Drawn over the picture with their numbers.
        regions_text: What the numbers say, for the legend.
        lit: Shape (4,), the box outside of which the picture is dimmed.
        zoom: Shape (4,), the part of the picture that is shown, enlarged. ``boxes`` and ``regions`` are then in
            [0, 1] of this part, and boxes may stick out of it.
        lines: (text, outcome) written on a blank cell in place of the picture.
        steps: How many of the first ``lines`` followed each other; they are numbered and joined by arrows.
        turn: The number that ``title`` has among such steps.
        listed: Captions of classes that need not be listed elsewhere, besides ``title``.
        notes: What else the legend has to explain of the captions.
    """

    title: str
    outcome: str = 'predicted'
    heat: Tensor | None = None
    heat_text: str = 'attention, none to most'
    heat_gamma: float = 0.5
    heat_opacity: float = 1.0
    peak: Tensor | None = None
    boxes: Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    regions: tuple[Region, ...] = ()
    regions_text: str = 'region, numbered in order'
    lit: Tensor | None = None
    zoom: Tensor | None = None
    lines: tuple[tuple[str, str], ...] = ()
    steps: int = 0
    turn: int | None = None
    listed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def cut(self, room: int) -> 'Panel':
        """With at most so many lines, of which the last counts those that do not fit."""
        if len(self.lines) <= room:
            return self
        hidden = self.lines[room - 1 :]
        counts = Counter(outcome for _, outcome in hidden if outcome != 'predicted')
        told = ', '.join(f'{count} {outcome}' for outcome, count in counts.items())
        rest = f'and {len(hidden)} more' + (f': {told}' if told else '')
        return replace(
            self, lines=(*self.lines[: room - 1], (rest, 'predicted')), steps=min(self.steps, room - 1)
        )


def sample_panels(
    sample: DataSample,
    classes: Sequence[str] | None = None,
    max_classes: int = 4,
    draw_gt: bool = True,
    draw_pred: bool = True,
    draw_score: bool = True,
) -> list[Panel]:
    """All panels of one sample: the picture with its true boxes, the evidence, and a list of labels not drawn there.

    Arguments are those of ``EvidenceVisualizer`` and its ``visualize_cls``; evidence of at most ``max_classes``
    classes is drawn, best scores first.
    """
    words = Wording(sample, classes, draw_gt, draw_pred, draw_score)
    title = 'picture'
    if words.present is not None:
        count = f' ({len(words.present)})' if len(words.present) > MANY_LABELS else ''
        title = f'truth{count}: ' + (', '.join(map(words.name, words.present)) or 'nothing')
    found = list(words.outcomes)
    evidence = [
        panel
        for name, make in EVIDENCE_PANELS.items()
        if draw_pred and name in sample
        for panel in make(sample, found[:max_classes], words)
    ]
    listed = {caption for panel in evidence for caption in (panel.title, *panel.listed)}
    lines = [(words.caption(label), outcome) for label, outcome in words.outcomes.items()]
    if rest := tuple(line for line in lines if line[0] not in listed):
        if len(rest) == len(found):
            evidence = [Panel('labels', lines=rest), *evidence]
        elif evidence[-1].lines:
            evidence[-1] = replace(evidence[-1], lines=evidence[-1].lines + rest)
        else:
            evidence.append(Panel(f'{len(rest)} more', lines=rest))
    if draw_pred and 'pred_label' in sample and not (found or evidence):
        evidence = [Panel('labels', lines=(NO_LABELS,))]
    return [Panel(title, boxes=words.true_boxes()), *evidence]


def _attention_panels(sample: DataSample, shown: Sequence[int], words: Wording) -> list[Panel]:
    """One panel for each class shown: its map, the map's peak, and the true boxes of that class.

    Of a decoder those it emitted, numbered, in that order: the others have no map.
    """
    turns = {label: turn for turn, label in enumerate(_path(sample), start=1)}
    if 'label_path' in sample:
        shown = sorted((label for label in shown if label in turns), key=turns.get)
    panels = []
    for label in shown:
        panel = _class_panel(label, words, turn=turns.get(label))
        panels.append(_with_map(panel, sample.attention_maps[label].detach().cpu().float()))
    return panels


def _with_map(panel: Panel, heat: Tensor) -> Panel:
    """With an attention map, and the height of its peak over its mean, which the map fades with.

    Colours are shares of the peak, so a map that says nothing would otherwise cover the picture evenly.
    """
    if not heat.isfinite().all():
        return replace(panel, title=f'{panel.title}  map not finite', listed=(panel.title,))
    if not heat.any():
        return replace(panel, heat=heat)
    ratio = float(heat.max() / heat.mean())
    told = f'{ratio:.1f}' if ratio < 10 else f'{ratio:.0f}'
    return replace(
        panel,
        title=f'{panel.title}  ×{told}',
        listed=(panel.title,),
        heat=heat,
        heat_opacity=max(1 - 1 / ratio, 0),
        # Of a flat map the first cell would have it.
        peak=None if told == '1.0' else attention_peaks(heat),
        notes=('×: peak over mean; flat maps fade',),
    )


def _class_panel(label: int, words: Wording, **evidence) -> Panel:
    return Panel(words.caption(label), words.outcomes[label], boxes=words.true_boxes(label), **evidence)


def _path_panels(sample: DataSample, shown: Sequence[int], words: Wording) -> list[Panel]:
    """One panel: the labels in the order in which they were emitted, those known before, and those missed."""
    path, known = _path(sample), sample.get('label_present', torch.zeros(0)).tolist()
    missed = [label for label, outcome in words.outcomes.items() if outcome == 'missed']
    steps = [(words.caption(label) + '  known' * (label in known), words.outcome(label)) for label in path]
    lines = (
        *(steps or [NO_LABELS]),
        *((words.caption(label), 'missed') for label in missed),
    )
    title, notes = 'label path', ()
    if words.draw_score and 'path_logprob' in sample:
        title += f'  p = {math.exp(sample.path_logprob):.2g}'
        notes = ('p: probability of the path',)
    if set(known) & set(path):
        notes += ('known: told before decoding',)
    listed = tuple(map(words.caption, missed + path))
    return [Panel(title, lines=lines, steps=len(steps), listed=listed, notes=notes)]


def _path(sample: DataSample) -> list[int]:
    return sample.get('label_path', torch.zeros(0)).tolist()


def _region_panels(sample: DataSample, shown: Sequence[int], words: Wording) -> list[Panel]:
    """All regions with what was read from them; then the region of each class shown, with its true boxes.

    Of very many regions, as several crops of a picture give, only those are drawn that a class was read from. Neither
    a region with NaN or infinity is drawn, nor a class that was read from it.
    """
    if 'region_names' in sample:
        return _scale_panels(sample, words)
    boxes, source = sample.regions.detach().cpu().float(), {}
    finite = drawn = boxes.isfinite().all(dim=1).nonzero().flatten().tolist()
    if 'region_scores' in sample and len(boxes):
        best = {label: int(sample.region_scores[:, label].argmax()) for label in shown}
        source = {label: row for label, row in best.items() if row in finite}
    if len(finite) > MAX_REGIONS:
        drawn = sorted(set(source.values())) or finite[:MAX_REGIONS]
    if len(finite) < len(boxes):
        title = f'{len(boxes) - len(finite)} of {len(boxes)} regions not finite'
    elif len(finite) > MAX_REGIONS:
        few = f'{len(drawn)} of {len(boxes)} regions'
        title = f'{few} read' if source else f'first {few}'
    else:
        title = {0: 'no regions', 1: '1 region'}.get(len(boxes), f'{len(boxes)} regions, in order')
    names = {row: tuple(words.name(label) for label in shown if source.get(label) == row) for row in drawn}
    regions = {row: Region(boxes[row], row + 1, style, names[row]) for style, row in enumerate(drawn)}
    text = Panel.regions_text + (': classes read from it' if any(names.values()) else '')
    panels = [Panel(title, regions=tuple(regions.values()), regions_text=text)]
    for label, row in source.items():
        region = replace(regions[row], names=())
        panels.append(_class_panel(label, words, regions=(region,), regions_text=text, lit=region.box))
    return panels


def _scale_panels(sample: DataSample, words: Wording) -> list[Panel]:
    """What each scale says of what it saw, with the boxes that later ones zoom in on; what they say together."""
    boxes, scores = sample.regions.detach().cpu().float().clone(), sample.get('region_scores')
    boxes[:1] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    panels = []
    for row, name in enumerate(sample.region_names):
        says, outcome = words.best(scores[row]) if scores is not None else ('', 'predicted')
        seen = _zoomed_panel(boxes, row, words.true_boxes())
        listed = (says,) if len(boxes) == 1 else ()
        panels.append(
            replace(seen, title=f'{name}: {says}' if says else name, outcome=outcome, listed=listed)
        )
    if fused := [words.best(row) for row in sample.get('fused_scores', ())]:
        numbers = ['+'.join(map(str, range(1, count + 3))) for count in range(len(fused))]
        lines = tuple((f'{n}: {says}', outcome) for n, (says, outcome) in zip(numbers, fused, strict=True))
        notes = ('1+2: scales 1 and 2 together',)
        panels.append(Panel('together', lines=lines, listed=(fused[-1][0],), notes=notes))
    return panels


def _zoomed_panel(boxes: Tensor, row: int, true: Tensor) -> Panel:
    """One of the boxes (K, 4) enlarged, in it the later ones and the true ones; the first is the whole picture."""
    sound = boxes.isfinite().all(dim=1) & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    if not sound[row]:
        return Panel('', lines=(('no region to show', 'predicted'),))
    nested, overlaps = _within(boxes, boxes[row])
    sound[: max(row, 1)] = False  # an outline around the whole picture tells nothing
    regions = [Region(nested[i], i + 1, i) for i in (sound & overlaps).nonzero().flatten().tolist()]
    true, overlaps = _within(true, boxes[row])
    zoom = boxes[row] if row else None
    text = 'what the scale of this number sees'
    return Panel('', boxes=true[overlaps], regions=tuple(regions), regions_text=text, zoom=zoom)


def _within(boxes: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) as seen in a frame (4,), which goes from 0 to 1, and which of them have a part in it.

    What sticks out is cut off a little outside of the frame, so that no side that is not there is drawn.
    """
    moved = (boxes - frame[:2].repeat(2)) / (frame[2:] - frame[:2]).repeat(2)
    return moved.clamp(-0.05, 1.05), ((moved[:, :2] < 1) & (moved[:, 2:] > 0)).all(dim=1)


def _mask_panels(sample: DataSample, shown: Sequence[int], words: Wording) -> list[Panel]:
    """One panel for each attention module: the mean of its mask over the channels, from its lowest to its highest.

    Such means stay close to 0.5, so they are stretched to the full range of colours; the caption gives the range.
    """
    names = sample.get('trunk_mask_names', tuple(f'mask {i + 1}' for i in range(len(sample.trunk_masks))))
    panels = []
    for name, mask in zip(names, sample.trunk_masks, strict=True):
        mean = mask.detach().cpu().float().mean(dim=0)
        low, high = mean.aminmax()
        spread = f'{low:.2f}' != f'{high:.2f}'
        # What the caption calls one value is not made to look like two.
        heat = (mean - low) / (high - low) if spread else torch.zeros_like(mean)
        short = name.replace('backbone.', '').replace('.attention', '.')
        title = f'{short}  {low:.2f} to {high:.2f}'
        panels.append(Panel(title, heat=heat, heat_text='mean mask, its lowest to its highest', heat_gamma=1))
    return panels


# One entry for each evidence field that can be drawn; a new system adds its own.
EVIDENCE_PANELS: dict[str, Callable[..., list[Panel]]] = dict(
    label_path=_path_panels,
    attention_maps=_attention_panels,
    regions=_region_panels,
    trunk_masks=_mask_panels,
)
