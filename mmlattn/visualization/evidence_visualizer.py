"""The one visualizer of mmlattn: pictures, labels, and where the model looked."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import matplotlib
import mmcv
import numpy as np
import torch
from matplotlib.patches import Rectangle
from mmengine.dist import master_only
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer

from mmlattn.registry import VISUALIZERS
from mmlattn.utils.errors import UserError

from .fonts import drawable_names, find_families, font_family, without_letters
from .layout import SheetLayout, check_picture, fit_picture, fitted_height, overlay, spotlight, zoom_picture
from .legend import draw_legend
from .marks import draw_arrow, draw_outcome, draw_peak, draw_regions, draw_turn, fit_label
from .palette import INK, OUTCOME_COLORS
from .panels import Panel, sample_panels

# Width of a mark before a text, with the space after it, in heights of the letters.
MARK = 1.5


@VISUALIZERS.register_module()
class EvidenceVisualizer(UniversalVisualizer):
    """Draw samples with their evidence, through mmpretrain's hooks and tools as well as by hand.

    One block for each picture: the picture with its true boxes, then one cell for each piece of evidence (see
    ``mmlattn/structures/evidence.py``). A sample without evidence gets a list of its labels.

    Boxes and maps are drawn as fractions of the picture given, so it should be the picture the network saw, or
    the original if the test pipeline only resizes it. True boxes are told of the original: they are left out if the
    sample says that the network saw it cropped, padded or flipped.

    Args:
        name (str): Name of the instance.
        cell_size (int): Side of a cell, pixels, at least 80.
        max_classes (int): Draw at most so many classes of a picture, best scores first.
        font (str, optional): A font file, or the family of an installed font, for all that is written. Letters that
            it lacks, such as those of Chinese, Japanese and Korean class names, are taken from installed fonts that
            have them; classes named with letters that none has are drawn by number, with a warning.
        *args, **kwargs: As for ``UniversalVisualizer``.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        *args,
        cell_size: int = 200,
        max_classes: int = 4,
        font: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(name, *args, **kwargs)
        if cell_size < 80:
            raise UserError(f'cell_size must be at least 80 pixels to be captioned, got {cell_size}')
        self.cell_size = cell_size
        self.max_classes = max_classes
        self.font = None if font is None else font_family(font)

    @master_only
    def visualize_cls(
        self,
        image: np.ndarray,
        data_sample: DataSample,
        classes: Sequence[str] | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        draw_score: bool = True,
        resize: int | None = None,
        rescale_factor: float | None = None,
        text_cfg: dict | None = None,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        name: str = '',
        step: int = 0,
    ) -> np.ndarray:
        """Draw one sample; mmpretrain's ``VisualizationHook`` and inferencer call this.

        Arguments are those of ``UniversalVisualizer``, but ``image`` (uint8) is RGB (H, W, 3) or grey (H, W, 1),
        ``resize`` is the side of the cells instead of ``cell_size``, ``rescale_factor`` says it in longer sides of
        the picture, and ``draw_pred`` takes in the evidence. Without an ``out_file`` the drawing goes to the storage
        backends. It is returned, (H', W', 3), uint8, RGB.
        """
        if resize is None and rescale_factor is not None:
            resize = round(max(image.shape[:2]) * rescale_factor)
        options = dict(draw_gt=draw_gt, draw_pred=draw_pred, draw_score=draw_score)
        drawn = self.draw_sheet(
            [image], [data_sample], classes, cell_size=resize, text_cfg=text_cfg, **options
        )
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(drawn[..., ::-1], str(out_file))
        else:
            self.add_image(name, drawn, step=step)
        return drawn

    @master_only
    def draw_sheet(
        self,
        images: Sequence[np.ndarray],
        data_samples: Sequence[DataSample],
        classes: Sequence[str] | None = None,
        *,
        title: str = '',
        columns: int = 1,
        cell_size: int | None = None,
        text_cfg: dict | None = None,
        **panel_options: bool,
    ) -> np.ndarray:
        """Draw many samples on one sheet with one legend; arguments not named are those of :meth:`visualize_cls`.

        Args:
            images (Sequence[np.ndarray]): Sizes may differ.
            data_samples (Sequence[DataSample]): One for each image.
            classes (Sequence[str], optional): Class names; those of the data set by default.
            title (str): Heading of the sheet.
            columns (int): Samples side by side.
            cell_size (int, optional): Overrides the visualizer's.
            **panel_options (bool): ``draw_gt``, ``draw_pred``, ``draw_score``.
        """
        if not images or len(images) != len(data_samples):
            raise UserError(
                f'need at least one image and one data sample for each, got {len(images)} images and '
                f'{len(data_samples)} samples'
            )
        if classes is None and self.dataset_meta is not None:
            classes = self.dataset_meta.get('classes')
        families, missing = find_families([title, *map(str, classes or ())], self.font)
        names = drawable_names(classes, missing)
        blocks = [sample_panels(s, names, self.max_classes, **panel_options) for s in data_samples]
        title = without_letters(title, missing)
        return self._draw_families(images, blocks, families, cell_size, title, columns, text_cfg)

    @master_only
    def draw_panels(
        self,
        images: Sequence[np.ndarray],
        blocks: Sequence[Sequence[Panel]],
        *,
        cell_size: int | None = None,
    ) -> np.ndarray:
        """Draw panels that were made by hand, a block for each picture, one block below the other."""
        if not images or len(images) != len(blocks):
            raise UserError(
                f'need panels for each of one or more images, got {len(images)} images and {len(blocks)} blocks'
            )
        written = [text for block in blocks for panel in block for text in (panel.title, *dict(panel.lines))]
        families, _ = find_families(written, self.font)
        return self._draw_families(images, blocks, families, cell_size=cell_size)

    def _draw_families(
        self,
        images: Sequence[np.ndarray],
        blocks: Sequence[Sequence[Panel]],
        families: Sequence[str],
        cell_size: int | None,
        title: str = '',
        columns: int = 1,
        text_cfg: dict | None = None,
    ) -> np.ndarray:
        cell = max(cell_size or self.cell_size, 80)
        cells, columns = max(2, *map(len, blocks)), min(columns, len(blocks))
        layout = SheetLayout(cells, len(blocks), columns, cell, heading=cell // 5 if title else 0)
        blocks = [[panel.cut(layout.lines) for panel in block] for block in blocks]
        with matplotlib.rc_context({'font.family': families, 'text.parse_math': False}):
            self._draw_blocks([*map(check_picture, images)], blocks, layout, title, text_cfg or {})
            return self.get_image()

    def _draw_blocks(
        self,
        images: Sequence[np.ndarray],
        blocks: Sequence[Sequence[Panel]],
        layout: SheetLayout,
        title: str,
        text_cfg: dict,
    ) -> None:
        drawn = [panel for block in blocks for panel in block]
        # Drawn to count its lines: set_image clears the sheet.
        legend = draw_legend(self.ax_save, layout, drawn) * layout.caption
        layout = replace(layout, legend=legend, low=_needed_height(images, blocks, layout))
        width, height = layout.size
        self.set_image(np.full((height, width, 3), 255, np.uint8))
        self.ax_save.set_autoscale_on(False)
        if title:
            margin, room = layout.margin, width - 2 * layout.margin
            self._write(title, margin, margin, layout.cell / 11, room, weight='bold', va='top')
        for index, (image, panels) in enumerate(zip(images, blocks, strict=True)):
            picture = fit_picture(image, layout.cell)
            for number, panel in enumerate(panels):
                zoomed = panel.zoom is not None
                shown = zoom_picture(image, panel.zoom.numpy(), layout.cell) if zoomed else picture
                self._draw_panel(shown, panel, layout, layout.cell_corner(index, number), text_cfg)
        draw_legend(self.ax_save, layout, drawn)

    def _draw_panel(
        self,
        picture: np.ndarray,
        panel: Panel,
        layout: SheetLayout,
        corner: tuple[int, int],
        text_cfg: dict,
    ) -> None:
        (x, y), cell = corner, layout.cell
        self._write_marked(panel.title, x, y - cell // 40, panel.outcome, panel.turn, layout, text_cfg)
        if panel.lines:
            self._draw_lines(panel, (x, y), layout, text_cfg)
            return
        if panel.heat is not None:
            picture = overlay(picture, panel.heat.numpy(), panel.heat_gamma, panel.heat_opacity)
        if panel.lit is not None:
            picture = spotlight(picture, panel.lit.numpy())
        height, width = picture.shape[:2]
        self.ax_save.imshow(picture, extent=(x, x + width, y + height, y), interpolation='none')
        self._draw_places(panel, (x, y), (width, height), cell)

    def _draw_places(self, panel: Panel, corner: tuple[int, int], size: tuple[int, int], cell: int) -> None:
        scale, origin = torch.tensor(size), torch.tensor(corner)
        if len(panel.boxes):
            boxes = panel.boxes.cpu() * scale.repeat(2) + origin.repeat(2)
            line = max(cell / 130, 1)
            self.draw_bboxes(boxes, edge_colors='black', line_widths=2.2 * line, alpha=0.7)
            self.draw_bboxes(boxes, edge_colors='white', line_widths=line, alpha=1)
            if panel.zoom is not None:
                frame = Rectangle(corner, *size, transform=self.ax_save.transData)
                for outlines in self.ax_save.collections[-2:]:
                    outlines.set_clip_path(frame)
        if panel.regions:
            draw_regions(self.ax_save, panel.regions, corner, size, cell)
        if panel.peak is not None:
            draw_peak(self.ax_save, *(panel.peak * scale + origin).tolist(), 1.4 * cell / 30, edge=cell / 240)

    def _draw_lines(self, panel: Panel, corner: tuple[int, int], layout: SheetLayout, text_cfg: dict) -> None:
        (x, y), letters = corner, layout.letters
        for row, (text, outcome) in enumerate(panel.lines):
            bottom = y + (row + 1) * layout.line
            turn = row + 1 if row < panel.steps else None
            # Names stand below each other where some have a number before them.
            indent = MARK * letters if panel.steps and turn is None else 0
            self._write_marked(text, x, bottom, outcome, turn, layout, text_cfg, indent)
            if 0 < row < panel.steps:
                middle, radius = bottom - 0.55 * letters, 0.54 * letters
                start = middle - layout.line + radius
                draw_arrow(self.ax_save, x + radius, start, middle - radius, letters)

    def _write_marked(
        self,
        text: str,
        x: float,
        bottom: float,
        outcome: str,
        turn: int | None,
        layout: SheetLayout,
        text_cfg: dict,
        indent: float = 0,
    ) -> None:
        """A line of text in a cell, after its number and the mark of its outcome, if it has them."""
        letters = layout.letters
        radius, middle = 0.54 * letters, bottom - 0.55 * letters
        if turn is not None:
            draw_turn(self.ax_save, turn, x + indent + radius, middle, radius)
            indent += MARK * letters
        if outcome in OUTCOME_COLORS:
            draw_outcome(self.ax_save, outcome, x + indent + radius, middle, radius)
            indent += MARK * letters
        self._write(text, x + indent, bottom, letters, layout.cell - indent, **text_cfg)

    def _write(self, text: str, x: float, y: float, size: float, width: float, **style) -> None:
        """``size`` and ``width`` in pixels; matplotlib wants points."""
        default = dict(size=size * 72 / self.dpi, color=INK, va='bottom', ha='left')
        fit_label(self.ax_save.text(x, y, text, **(default | style)), width)


def _needed_height(
    images: Sequence[np.ndarray], blocks: Sequence[Sequence[Panel]], layout: SheetLayout
) -> int:
    """Of the cells: the highest picture, part of a picture, or list in them."""
    heights = []
    for image, panels in zip(images, blocks, strict=True):
        height, width = image.shape[:2]
        for panel in panels:
            x0, y0, x1, y1 = (0, 0, 1, 1) if panel.zoom is None else panel.zoom.tolist()
            lines = (len(panel.lines) + 1) * layout.line
            size = (height * (y1 - y0), width * (x1 - x0))
            heights.append(ceil(lines) if panel.lines else fitted_height(size, layout.cell))
    return min(max(heights), layout.cell)
