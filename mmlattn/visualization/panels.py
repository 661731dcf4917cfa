"""What to draw of a data sample: one :class:`Panel` for each thing worth looking at, no drawing yet."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from mmlattn.structures import attention_peaks

from .wording import ShownClass, Wording, label_outcomes

__all__ = ['OUTCOME_COLORS', 'Panel', 'Region', 'sample_panels']

# Okabe and Ito's palette: told apart with any colour vision.
OUTCOME_COLORS = dict(
    correct='#0072B2', wrong='#D55E00', missed='#8A5A83', ignored='#666666', predicted='#1A1A1A'
)

# With more regions than this a picture shows only those that a class was read from.
MAX_REGIONS = 12


@dataclass(frozen=True)
class Region:
    """One numbered box.

    Args:
        box (Tensor): Shape (4,), xyxy in [0, 1] of the picture.
        number (int): Its turn, counted from 1.
        style (int): Which colour and line it has; boxes drawn together have different ones.
        names (tuple[str, ...]): Classes that were read from it, written beside the number.
    """

    box: Tensor
    number: int
    style: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One picture cell and its caption.

    Args:
        title (str): Caption above the picture.
        outcome (str): Key of ``OUTCOME_COLORS``, the caption's colour.
        heat (Tensor, optional): Shape (h, w), non-negative; laid over the whole picture.
        heat_text (str): What the colours of ``heat`` say, for the legend.
        heat_gamma (float): Power of ``heat`` that is drawn, see ``overlay``.
        peak (Tensor, optional): Shape (2,), (x, y) in [0, 1] of the picture.
        boxes (Tensor): Shape (K, 4), xyxy in [0, 1] of the picture, outlined.
        regions (tuple[Region, ...]): Drawn over the picture with their numbers.
        lit (Tensor, optional): Shape (4,), xyxy in [0, 1] of the picture, which is dimmed outside.
        zoom (Tensor, optional): Shape (4,), xyxy in [0, 1] of the picture, of which only this is shown, enlarged.
            ``boxes`` and ``regions`` are then in [0, 1] of what is shown, and boxes may stick out of it.
        lines (tuple[tuple[str, str], ...]): (text, outcome) written on a blank cell in place of the picture.
        steps (int): So many of the first ``lines`` followed each other; they are numbered and joined by arrows.
        turn (int, optional): The number that ``title`` has among such steps.
        told (tuple[str, ...]): Captions of classes that need not be listed, besides ``title``.
    """

    title: str
    outcome: str = 'predicted'
    heat: Tensor | None = None
    heat_text: str = 'attention, none to most'
    heat_gamma: float = 0.5
    peak: Tensor | None = None
    boxes: Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    regions: tuple[Region, ...] = ()
    lit: Tensor | None = None
    zoom: Tensor | None = None
    lines: tuple[tuple[str, str], ...] = ()
    steps: int = 0
    turn: int | None = None
    told: tuple[str, ...] = ()


def sample_panels(
    sample: DataSample,
    classes: Sequence[str] | None = None,
    max_classes: int = 4,
    draw_gt: bool = True,
    draw_pred: bool = True,
    draw_score: bool = True,
) -> list[Panel]:
    """All panels of one sample: the picture with its true boxes, the evidence, and a list of labels not drawn there.

    Args:
        sample (DataSample): Prediction, ground truth and evidence, whatever of them there is.
        classes (Sequence[str], optional): Class names; their numbers without.
        max_classes (int): Draw evidence of at most so many classes, best scores first.
        draw_gt (bool): Whether to show the ground truth.
        draw_pred (bool): Whether to show the prediction and its evidence.
        draw_score (bool): Whether captions give scores.

    Returns:
        list[Panel]: At least one, the picture itself.
    """
    words = Wording(sample, classes, draw_gt, draw_score)
    title = 'picture'
    if draw_gt and 'gt_label' in sample:
        names = [str(classes[i]) if classes is not None else str(i) for i in sample.gt_label.tolist()]
        title = 'truth: ' + (', '.join(names) or 'nothing')
    found = [words.describe(*item) for item in label_outcomes(sample, draw_gt, draw_pred).items()]
    evidence = [
        panel
        for name, make in EVIDENCE_PANELS.items()
        if draw_pred and name in sample
        for panel in make(sample, found[:max_classes], words)
    ]
    told = {caption for panel in evidence for caption in (panel.title, *panel.told)}
    if rest := tuple((item.caption, item.outcome) for item in found if item.caption not in told):
        if len(rest) == len(found):
            evidence = [Panel('labels', lines=rest), *evidence]
        elif evidence[-1].lines:
            evidence[-1] = replace(evidence[-1], lines=evidence[-1].lines + rest)
        else:
            evidence.append(Panel(f'{len(rest)} more', lines=rest))
    return [Panel(title, boxes=words.true_boxes()), *evidence]


def _attention_panels(sample: DataSample, shown: Sequence[ShownClass], words: Wording) -> list[Panel]:
    """One panel for each class shown: its map, the map's peak, and the true boxes of that class.

    Of a decoder those it emitted, numbered, in that order: the others have no map.
    """
    turns = {label: turn for turn, label in enumerate(_path(sample), start=1)}
    if 'label_path' in sample:
        shown = sorted((item for item in shown if item.label in turns), key=lambda item: turns[item.label])
    panels = []
    for item in shown:
        heat = sample.attention_maps[item.label].detach().cpu().float()
        peak = attention_peaks(heat) if heat.any() else None
        turn = turns.get(item.label)
        panels.append(Panel(item.caption, item.outcome, heat, peak=peak, boxes=item.boxes, turn=turn))
    return panels


def _path_panels(sample: DataSample, shown: Sequence[ShownClass], words: Wording) -> list[Panel]:
    """One panel: the labels in the order in which they were emitted, those known before, and those missed."""
    scores, known = sample.get('pred_score'), sample.get('label_present', torch.zeros(0)).tolist()
    path = _path(sample)
    lines = [
        (words.caption(label, scores) + ('  known' if label in known else ''), words.outcome(label))
        for label in path
    ]
    outcomes = label_outcomes(sample, words.draw_gt)
    missed = [words.caption(label, scores) for label, outcome in outcomes.items() if outcome == 'missed']
    lines = [*(lines or [('no labels', 'predicted')]), *((caption, 'missed') for caption in missed)]
    title = 'label path'
    if words.draw_score and 'path_logprob' in sample:
        title += f'  p = {math.exp(sample.path_logprob):.2g}'
    told = (*missed, *(words.caption(label, scores) for label in path))
    return [Panel(title, lines=tuple(lines), steps=len(path), told=told)]


def _path(sample: DataSample) -> list[int]:
    return sample.get('label_path', torch.zeros(0)).tolist()


def _region_panels(sample: DataSample, shown: Sequence[ShownClass], words: Wording) -> list[Panel]:
    """All regions with what was read from them; then the region of each class shown, with its true boxes.

    Of very many regions, as several crops of a picture give, only those are drawn that a class was read from. Neither
    a region with NaN or infinity is drawn, nor a class that was read from it.
    """
    if 'region_names' in sample:
        return _scale_panels(sample, words)
    boxes, source = sample.regions.detach().cpu().float(), {}
    drawn, title = boxes.isfinite().all(dim=1).nonzero().flatten().tolist(), f'{len(boxes)} regions, in order'
    if 'region_scores' in sample and len(boxes):
        best = {item.label: int(sample.region_scores[:, item.label].argmax()) for item in shown}
        source = {label: row for label, row in best.items() if row in drawn}
    if len(boxes) < 2:
        title = '1 region' if len(boxes) else 'no regions'
    lost = len(boxes) - len(drawn)
    if len(drawn) > MAX_REGIONS:
        drawn = sorted(set(source.values())) or drawn[:MAX_REGIONS]
        few = f'{len(drawn)} of {len(boxes)} regions'
        title = f'{few} read' if source else f'first {few}'
    if lost:
        title = f'{lost} of {len(boxes)} regions not finite'
    regions = {
        row: Region(
            boxes[row],
            row + 1,
            style,
            tuple(item.name for item in shown if source.get(item.label) == row),
        )
        for style, row in enumerate(drawn)
    }
    panels = [Panel(title, regions=tuple(regions.values()))]
    for item in (item for item in shown if item.label in source):
        region = replace(regions[source[item.label]], names=())
        panels.append(Panel(item.caption, item.outcome, boxes=item.boxes, regions=(region,), lit=region.box))
    return panels


def _scale_panels(sample: DataSample, words: Wording) -> list[Panel]:
    """What each scale says of what it saw, with the boxes that later ones zoom in on; what they say together."""
    boxes, scores = sample.regions.detach().cpu().float().clone(), sample.get('region_scores')
    boxes[:1] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    panels = []
    for row, name in enumerate(sample.region_names):
        says, outcome = words.best(scores[row]) if scores is not None else ('', 'predicted')
        seen = _zoomed_panel(boxes, row, words.true_boxes())
        told = (says,) if len(boxes) == 1 else ()
        panels.append(replace(seen, title=f'{name}: {says}' if says else name, outcome=outcome, told=told))
    if fused := [words.best(row) for row in sample.get('fused_scores', ())]:
        numbers = ['+'.join(map(str, range(1, count + 3))) for count in range(len(fused))]
        lines = tuple((f'{n}: {says}', outcome) for n, (says, outcome) in zip(numbers, fused, strict=True))
        panels.append(Panel('together', lines=lines, told=(fused[-1][0],)))
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
    return Panel('', boxes=true[overlaps], regions=tuple(regions), zoom=boxes[row] if row else None)


def _within(boxes: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) as seen in a frame (4,), which goes from 0 to 1, and which of them have a part in it.

    What sticks out is cut off a little outside of the frame, so that no side that is not there is drawn.
    """
    moved = (boxes - frame[:2].repeat(2)) / (frame[2:] - frame[:2]).repeat(2)
    return moved.clamp(-0.05, 1.05), ((moved[:, :2] < 1) & (moved[:, 2:] > 0)).all(dim=1)


def _mask_panels(sample: DataSample, shown: Sequence[ShownClass], words: Wording) -> list[Panel]:
    """One panel for each attention module: the mean of its mask over the channels, from its lowest to its highest.

    Such means stay close to 0.5, so they are stretched to the full range of colours; the caption gives the range.
    """
    names = sample.get('trunk_mask_names', tuple(f'mask {i + 1}' for i in range(len(sample.trunk_masks))))
    panels = []
    for name, mask in zip(names, sample.trunk_masks, strict=True):
        mean = mask.detach().cpu().float().mean(dim=0)
        low, high = mean.aminmax()
        heat = (mean - low) / (high - low) if high > low else torch.zeros_like(mean)
        short = name.replace('backbone.', '').replace('.attention', '.')
        title = f'{short}: {low:.2f} to {high:.2f}'
        panels.append(Panel(title, heat=heat, heat_text='mean mask, its lowest to its highest', heat_gamma=1))
    return panels


# One entry for each evidence field that can be drawn; a new system adds its own.
EVIDENCE_PANELS: dict[str, Callable[..., list[Panel]]] = dict(
    label_path=_path_panels,
    attention_maps=_attention_panels,
    regions=_region_panels,
    trunk_masks=_mask_panels,
)
