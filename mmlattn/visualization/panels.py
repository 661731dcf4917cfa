"""What to draw of a data sample: one :class:`Panel` for each thing worth looking at, no drawing yet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from mmlattn.structures import attention_peaks

__all__ = ['OUTCOME_COLORS', 'Panel', 'Region', 'label_outcomes', 'sample_panels']

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
        lines (tuple[tuple[str, str], ...]): (text, outcome) written on a blank cell in place of the picture.
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
    lines: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ShownClass:
    """A class whose evidence is drawn.

    Args:
        label (int): Its index.
        outcome (str): Key of ``OUTCOME_COLORS``.
        name (str): Its name.
        caption (str): Name and score.
        boxes (Tensor): Shape (N, 4), true boxes of the class, xyxy in [0, 1] of the picture.
    """

    label: int
    outcome: str
    name: str
    caption: str
    boxes: Tensor


def label_outcomes(sample: DataSample, draw_gt: bool = True, draw_pred: bool = True) -> dict[int, str]:
    """Compare predicted with true labels.

    Args:
        sample (DataSample): Any of ``pred_label``, ``pred_score``, ``gt_label``, ``gt_label_ignore``.
        draw_gt (bool): Whether to look at the ground truth.
        draw_pred (bool): Whether to look at the prediction.

    Returns:
        dict[int, str]: 'correct', 'wrong', 'missed' or 'ignored' for each class that is predicted or true, best
        score first; 'predicted' for all when there is no truth to compare with.
    """
    predicted = set(sample.pred_label.tolist()) if draw_pred and 'pred_label' in sample else set()
    if not draw_gt or 'gt_label' not in sample:
        outcomes = dict.fromkeys(predicted, 'predicted')
    else:
        true = set(sample.gt_label.tolist())
        ignored = set(sample.get('gt_label_ignore', torch.zeros(0)).tolist()) - true
        outcomes = dict.fromkeys(predicted, 'wrong') | dict.fromkeys(predicted & ignored, 'ignored')
        outcomes |= dict.fromkeys(predicted & true, 'correct')
        outcomes |= dict.fromkeys(true - predicted, 'missed')
    scores = sample.pred_score.tolist() if 'pred_score' in sample else None
    return dict(sorted(outcomes.items(), key=lambda item: (-scores[item[0]] if scores else 0, item[0])))


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

    def describe(label: int, outcome: str) -> ShownClass:
        name = str(classes[label]) if classes is not None else f'class {label}'
        score = f'  {sample.pred_score[label]:.2f}' if draw_score and 'pred_score' in sample else ''
        boxes = torch.zeros(0, 4)
        if draw_gt and 'gt_boxes' in sample:
            boxes = torch.as_tensor(sample.gt_boxes)[torch.as_tensor(sample.gt_box_labels) == label]
        return ShownClass(label, outcome, name, name + score, boxes)

    title, boxes = 'picture', torch.zeros(0, 4)
    if draw_gt and 'gt_label' in sample:
        names = [str(classes[i]) if classes is not None else str(i) for i in sample.gt_label.tolist()]
        title = 'truth: ' + (', '.join(names) or 'nothing')
        boxes = torch.as_tensor(sample.get('gt_boxes', boxes))
    found = [describe(*item) for item in label_outcomes(sample, draw_gt, draw_pred).items()]
    evidence = [
        panel
        for name, make in EVIDENCE_PANELS.items()
        if draw_pred and name in sample
        for panel in make(sample, found[:max_classes])
    ]
    drawn = {panel.title for panel in evidence}
    if rest := [item for item in found if item.caption not in drawn]:
        listed = Panel('labels', lines=tuple((item.caption, item.outcome) for item in rest))
        if len(rest) == len(found):
            evidence = [listed, *evidence]
        else:
            evidence.append(replace(listed, title=f'{len(rest)} more'))
    return [Panel(title, boxes=boxes), *evidence]


def _attention_panels(sample: DataSample, shown: Sequence[ShownClass]) -> list[Panel]:
    """One panel for each class shown: its map, the map's peak, and the true boxes of that class."""
    panels = []
    for item in shown:
        heat = sample.attention_maps[item.label].detach().cpu().float()
        peak = attention_peaks(heat) if heat.any() else None
        panels.append(Panel(item.caption, item.outcome, heat, peak=peak, boxes=item.boxes))
    return panels


def _region_panels(sample: DataSample, shown: Sequence[ShownClass]) -> list[Panel]:
    """All regions with what was read from them; then the region of each class shown, with its true boxes.

    Of very many regions, as several crops of a picture give, only those are drawn that a class was read from. Neither
    a region with NaN or infinity is drawn, nor a class that was read from it.
    """
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


def _mask_panels(sample: DataSample, shown: Sequence[ShownClass]) -> list[Panel]:
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
    attention_maps=_attention_panels, regions=_region_panels, trunk_masks=_mask_panels
)
