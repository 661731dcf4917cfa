"""The one visualizer of mmlattn: pictures, labels, and where the model looked."""

from collections.abc import Sequence
from dataclasses import replace

import mmcv
import numpy as np
import torch
from matplotlib.patches import Rectangle
from mmengine.dist import master_only
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer

from mmlattn.registry import VISUALIZERS
from mmlattn.utils.errors import UserError

from .layout import SheetLayout, fit_picture, overlay, spotlight, zoom_picture
from .legend import draw_legend
from .marks import draw_arrow, draw_peak, draw_regions, draw_turn, fit_label
from .panels import OUTCOME_COLORS, Panel, sample_panels


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
        *args, **kwargs: As for ``UniversalVisualizer``.
    """

    def __init__(
        self, name: str = 'visualizer', *args, cell_size: int = 200, max_classes: int = 4, **kwargs
    ) -> None:
        super().__init__(name, *args, **kwargs)
        if cell_size < 80:
            raise UserError(f'cell_size must be at least 80 pixels to be captioned, got {cell_size}')
        self.cell_size = cell_size
        self.max_classes = max_classes

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
        blocks = [sample_panels(s, classes, self.max_classes, **panel_options) for s in data_samples]
        cell = max(cell_size or self.cell_size, 80)
        cells, columns = max(2, *map(len, blocks)), min(columns, len(blocks))
        layout = SheetLayout(cells, len(blocks), columns, cell, heading=cell // 5 if title else 0)
        drawn = [panel for block in blocks for panel in block]
        # Drawn to count its lines: set_image clears the sheet.
        layout = replace(layout, legend=draw_legend(self.ax_save, layout, drawn) * layout.caption)
        width, height = layout.size
        self.set_image(np.full((height, width, 3), 255, np.uint8))
        self.ax_save.set_autoscale_on(False)
        if title:
            self._write(title, layout.margin, layout.margin, 'predicted', cell / 11, weight='bold', va='top')
        for index, (image, panels) in enumerate(zip(images, blocks, strict=True)):
            picture = fit_picture(image, cell)
            for number, panel in enumerate(panels):
                shown = picture if panel.zoom is None else zoom_picture(image, panel.zoom.numpy(), cell)
                self._draw_panel(shown, panel, layout.cell_corner(index, number), cell, text_cfg or {})
        draw_legend(self.ax_save, layout, drawn)
        return self.get_image()

    def _draw_panel(
        self, picture: np.ndarray, panel: Panel, corner: tuple[int, int], cell: int, text_cfg: dict
    ) -> None:
        x, y = corner
        letters = max(cell / 15, 9)
        indent = 0.0
        if panel.turn is not None:
            indent, radius = 1.7 * letters, 0.6 * letters
            color = OUTCOME_COLORS[panel.outcome]
            draw_turn(self.ax_save, panel.turn, color, x + radius, y - cell // 40 - radius, radius)
        self._write(
            panel.title, x + indent, y - cell // 40, panel.outcome, letters, cell - indent, **text_cfg
        )
        if panel.lines:
            self._draw_lines(panel, (x, y), cell, letters, text_cfg)
            return
        if panel.heat is not None:
            picture = overlay(picture, panel.heat.numpy(), gamma=panel.heat_gamma)
        if panel.lit is not None:
            picture = spotlight(picture, panel.lit.numpy())
        height, width = picture.shape[:2]
        x, y = x + (cell - width) // 2, y + (cell - height) // 2
        self.ax_save.imshow(picture, extent=(x, x + width, y + height, y), interpolation='none')
        scale, origin = torch.tensor([width, height]), torch.tensor([x, y])
        if len(panel.boxes):
            boxes = panel.boxes.cpu() * scale.repeat(2) + origin.repeat(2)
            line = max(cell / 130, 1)
            self.draw_bboxes(boxes, edge_colors='black', line_widths=2.2 * line, alpha=0.7)
            self.draw_bboxes(boxes, edge_colors='white', line_widths=line, alpha=1)
            if panel.zoom is not None:
                frame = Rectangle((x, y), width, height, transform=self.ax_save.transData)
                for outlines in self.ax_save.collections[-2:]:
                    outlines.set_clip_path(frame)
        if panel.regions:
            draw_regions(self.ax_save, panel.regions, (x, y), (width, height), cell)
        if panel.peak is not None:
            draw_peak(self.ax_save, *(panel.peak * scale + origin).tolist(), 1.4 * cell / 30, edge=cell / 240)

    def _draw_lines(
        self, panel: Panel, corner: tuple[int, int], cell: int, letters: float, text_cfg: dict
    ) -> None:
        (x, y), spacing, radius = corner, max(cell / 9, 1.2 * letters), 0.54 * letters
        shown, room = panel.lines, int(cell / spacing) - 1
        if len(shown) > room:
            shown = (*shown[: room - 1], (f'and {len(shown) - room + 1} more', 'predicted'))
        # Where the last line counts the others, it is no step.
        steps = min(panel.steps, len(shown) - (len(shown) < len(panel.lines)))
        indent = 3 * radius if steps else 0.0
        for row, (text, outcome) in enumerate(shown):
            bottom = y + (row + 1) * spacing
            middle = bottom - 0.55 * letters
            if row < steps:
                draw_turn(self.ax_save, row + 1, OUTCOME_COLORS[outcome], x + radius, middle, radius)
            if 0 < row < steps:
                draw_arrow(self.ax_save, x + radius, middle - spacing + radius, middle - radius, letters)
            self._write(text, x + indent, bottom, outcome, letters, cell - indent, **text_cfg)

    def _write(
        self, text: str, x: float, y: float, outcome: str, size: float, width: float | None = None, **style
    ) -> None:
        """``size`` and ``width`` in pixels; matplotlib wants points."""
        points, color = size * 72 / self.dpi, OUTCOME_COLORS[outcome]
        default = dict(
            size=points, color=color, va='bottom', ha='left', family='sans-serif', parse_math=False
        )
        label = self.ax_save.text(x, y, text, **(default | style))
        if width is not None:
            fit_label(label, width)
