"""Whether the regions of the ST-LSTM neck have collapsed, in numbers."""

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmpretrain.structures import DataSample, label_to_onehot
from torch import Tensor, nn

from mmlattn.evaluation.functional import covered_share
from mmlattn.models.layers.spatial_transformer import theta_to_boxes
from mmlattn.models.st_lstm.constraints import overlap_penalty
from mmlattn.models.st_lstm.neck import STLSTM
from mmlattn.models.st_lstm.recurrence import STLSTMOutput
from mmlattn.models.views.decision import deciding_head
from mmlattn.registry import HOOKS
from mmlattn.utils.arguments import check_number, check_whole
from mmlattn.utils.errors import UserError
from mmlattn.utils.wrappers import without_wrapper

__all__ = ['RegionDiagnosticsHook', 'region_figures', 'true_classes']

# Regions of the other parameterisation begin at their anchors.
STARTS_SO = (
    ". Regions of loc_param='direct' and 'bounded' begin like this, in one place, so early in training it is a sign "
    'only if it stays: see whether the figures fall in the next validations'
)
FIGURES = ('scale', 'cells', 'anchor_distance', 'iou', 'coverage', 'mirrored')


@HOOKS.register_module()
class RegionDiagnosticsHook(Hook):
    """Logs what the regions of every ``STLSTM`` neck in the model do, to tell whether they look at different places.

    ==========================  ====================================================================================
    figure                      meaning, as a mean over the pictures
    ==========================  ====================================================================================
    ``regions/scale``           |s_x| and |s_y|: sides as fractions of the picture's
    ``regions/cells``           the same sides in cells of the feature map; below 1 a region reads hardly one
    ``regions/anchor_distance`` from a region's centre to its anchor, where half a side of the picture is 1; without
                                regions that have no anchor
    ``regions/iou``             intersection over union of two regions of a picture
    ``regions/coverage``        share of the picture that lies in at least one region
    ``regions/mirrored``        share of the regions with a negative scale
    ``regions/wins_k``          share of the true labels that are read from step k: there their score is highest;
                                k = 0 is the whole picture, if the neck gives it a score
    ==========================  ====================================================================================

    They appear where losses and metrics do: in the log, in ``scalars.json``, in TensorBoard. In training they are
    those of one step in ``interval``, and stay in the log until the next; in validation and testing those of all
    pictures. Several processes are counted together. With several necks the figures read
    ``regions/<name of the neck>/scale``. With several crops of a picture each crop counts as one. The share of wins
    needs a head with ``step_scores``, such as ``STLSTMHead``.

    The neck is watched by a forward hook while it is measured, so other steps cost nothing, and neither backbone nor
    neck run twice. ``torch.compile`` ignores hooks that come after it compiled: in such runs the log says that
    nothing was seen.

    After validation and testing the log warns, once for each neck, that its regions have collapsed: if their IoU
    is above ``max_iou``, their sides are shorter than ``min_cells``, or a single step wins more than ``max_wins``
    of the labels. Training steps are not judged, as regions begin in one place; where ``loc_param`` makes them,
    the warning after a validation says so.

    Args:
        interval (int): Measure every so many training iterations.
        max_iou (float): Above it the regions have collapsed; 1 never warns.
        max_wins (float): Likewise for the share of the step that wins most, if there are several.
        min_cells (float): Below it the regions have shrunk to points; 0 never warns.

    Raises:
        UserError: On a wrong argument, or when a run starts with a model that has no ``STLSTM`` neck.
    """

    def __init__(
        self, interval: int = 50, max_iou: float = 0.9, max_wins: float = 0.95, min_cells: float = 1.0
    ) -> None:
        check_whole('interval', interval, 1)
        for name, value in dict(max_iou=max_iou, max_wins=max_wins).items():
            check_number(name, value)
            if not 0 <= value <= 1:
                raise UserError(f'{name} must lie in [0, 1], got {value!r}')
        self.interval = interval
        self.max_iou = max_iou
        self.max_wins = max_wins
        check_number('min_cells', min_cells, least=0)
        self.min_cells = min_cells
        self._watches: list[NeckWatch] = []
        self._warned = set()

    def before_run(self, runner) -> None:
        """Find the necks."""
        model = without_wrapper(runner.model)
        necks = {name: module for name, module in model.named_modules() if isinstance(module, STLSTM)}
        if not necks:
            raise UserError(
                f'RegionDiagnosticsHook measures the regions of an STLSTM neck, but {type(model).__name__} has none: '
                "set model.neck=dict(type='mmlattn.STLSTM', ...), or remove the hook from custom_hooks"
            )
        self._watches = [
            NeckWatch(
                'regions' if len(necks) == 1 else f'regions/{name}',
                neck,
                getattr(model.get_submodule(name.rpartition('.')[0]), 'head', None),
            )
            for name, neck in necks.items()
        ]

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Watch one step in ``interval``."""
        if self.every_n_train_iters(runner, self.interval):
            self._start()

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Log it."""
        if self.every_n_train_iters(runner, self.interval):
            self._count(data_batch)
            self._finish(runner, 'train')

    def before_val_epoch(self, runner) -> None:
        """Watch all steps."""
        self._start()

    before_test_epoch = before_val_epoch

    def after_val_iter(self, runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]) -> None:
        """Count this batch."""
        self._count(data_batch)

    after_test_iter = after_val_iter

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Log what validation saw, and judge it."""
        self._finish(runner, 'val', judge=True)

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        """Log what testing saw, and judge it."""
        self._finish(runner, 'test', judge=True)

    def _start(self) -> None:
        for watch in self._watches:
            watch.start()

    def _count(self, data_batch: dict) -> None:
        # The data preprocessor has written the labels, mixed ones too, into these very samples.
        samples = data_batch.get('data_samples') or []
        for watch in self._watches:
            # Test-time augmentation has a list of samples for each view.
            watch.count(samples[0] if samples and isinstance(samples[0], (list, tuple)) else samples)

    def _finish(self, runner, mode: str, judge: bool = False) -> None:
        for watch in self._watches:
            figures = watch.finish()
            if not figures:
                self._warn(
                    runner,
                    watch.name,
                    f'{watch.name}: nothing was seen of the neck, so nothing is logged; is the model compiled, or '
                    'does it pass its neck by?',
                )
            for name, value in figures.items():
                runner.message_hub.update_scalar(f'{mode}/{watch.name}/{name}', value)
            if judge:
                young = mode == 'val' and watch.neck.loc_param != 'residual_anchor'
                self._judge(runner, watch.name, figures, STARTS_SO if young else '')

    def _judge(self, runner, name: str, figures: dict[str, float], note: str) -> None:
        wins = [value for key, value in figures.items() if key.startswith('wins_')]
        iou, most = figures.get('iou', 0.0), max(wins) if len(wins) > 1 else 0.0
        signs, advice = [], []
        if iou > self.max_iou:
            signs.append(f'their mean pairwise IoU is {iou:.3f}, above max_iou={self.max_iou}')
        if most > self.max_wins:
            signs.append(f'one step alone wins {most:.1%} of the true labels, above max_wins={self.max_wins}')
        if signs:
            advice.append(
                "More weight on the anchor constraint, loc_param='residual_anchor' or aux_step_weight > 0 pull them "
                f'apart{note}'
            )
        cells = figures.get('cells', self.min_cells)
        if cells < self.min_cells:
            signs.append(f'their sides are {cells:.2f} cells, below min_cells={self.min_cells}')
            advice.append("A larger beta, or loc_param='bounded' with a larger scale_range, keep them open")
        if signs:
            self._warn(
                runner,
                name + ' collapsed',
                f'{name} have collapsed: {", and ".join(signs)}. {". ".join(advice)}',
            )

    def _warn(self, runner, key: str, text: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            runner.logger.warning(text)


class NeckWatch:
    """Adds up what one neck does.

    Args:
        name (str): Under which its figures are logged.
        neck (STLSTM): Watched from :meth:`start` to :meth:`finish`.
        head (nn.Module, optional): That reads the neck.
    """

    def __init__(self, name: str, neck: STLSTM, head: nn.Module | None) -> None:
        self.name = name
        self.neck = neck
        self.head = deciding_head(head)
        self._handle = None

    def start(self) -> None:
        """Begin anew."""
        self.close()
        self._seen: list[tuple[Tensor, tuple[int, int], Tensor | None]] = []
        # Pictures, sums of the figures, labels won by steps 0 to K: as long on all processes whatever they saw.
        self._sums = torch.zeros(1 + len(FIGURES) + len(self.neck.anchors) + 1, dtype=torch.float64)
        self._handle = self.neck.register_forward_hook(self._record)

    def close(self) -> None:
        """Watch no longer."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def count(self, samples: Sequence[DataSample]) -> None:
        """Add what the neck did with one batch, given the truth."""
        for theta, grid, scores in self._seen:
            theta = theta.double().cpu()
            figures = region_figures(theta, self.neck.anchors.cpu(), self.neck.anchor_mask.cpu(), grid)
            self._sums[0] += len(theta)
            self._sums[1 : 1 + len(FIGURES)] += torch.stack([figures[name].sum() for name in FIGURES])
            if scores is not None and samples:
                self._sums[1 + len(FIGURES) :] += self._wins(scores.cpu(), samples)
        self._seen = []

    def finish(self) -> dict[str, float]:
        """Stop watching; the means over all processes, nothing if the neck has not run."""
        self.close()
        all_reduce(self._sums)
        pictures, figures, wins = self._sums.split([1, len(FIGURES), len(self.neck.anchors) + 1])
        if not pictures:
            return {}
        values = dict(zip(FIGURES, (figures / pictures).tolist(), strict=True))
        if not self.neck.anchor_mask.any():
            del values['anchor_distance']
        if len(self.neck.anchors) == 1:
            del values['iou']
        if wins.any():
            first = 0 if self.neck.include_global else 1
            values |= {
                f'wins_{k}': share for k, share in enumerate((wins / wins.sum()).tolist()) if k >= first
            }
        return values

    def _record(self, neck: STLSTM, args: tuple, output: STLSTMOutput) -> None:
        scores = None
        if hasattr(self.head, 'step_scores'):
            # Older autocast would keep weights that it cast here, without gradients, for the step itself.
            remembers = torch.is_autocast_cache_enabled()
            torch.set_autocast_cache_enabled(False)
            with torch.no_grad():
                scores = self.head.step_scores(output)
            torch.set_autocast_cache_enabled(remembers)
        self._seen.append((output.theta.detach(), neck.read_map(args[0]).shape[-2:], scores))

    def _wins(self, scores: Tensor, samples: Sequence[DataSample]) -> Tensor:
        steps = len(self.neck.anchors)
        winners = scores.argmax(dim=1) + (steps + 1 - scores.shape[1])
        # Crops of a batch come one after the other.
        truth = true_classes(samples, scores.shape[-1]).repeat(len(scores) // len(samples), 1)
        return torch.bincount(winners[truth], minlength=steps + 1)


def region_figures(theta: Tensor, anchors: Tensor, mask: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
    """What the regions of each picture do; see :class:`RegionDiagnosticsHook`.

    Args:
        theta (Tensor): Shape (B, K, 4), on the CPU, see ``layers/spatial_transformer.py``.
        anchors (Tensor): Shape (K, 2).
        mask (Tensor): Shape (K,), bool, which regions have an anchor.
        grid (tuple[int, int]): (height, width) of the feature map, in cells.

    Returns:
        dict[str, Tensor]: Shape (B,) for each figure; ``anchor_distance`` and ``iou`` are 0 where there is nothing
        to measure.
    """
    scale, centre = theta[..., :2], theta[..., 2:]
    return dict(
        scale=scale.abs().mean(dim=(-2, -1)),
        cells=(scale.abs() * scale.new_tensor(grid[::-1])).mean(dim=(-2, -1)),
        anchor_distance=((centre - anchors).norm(dim=-1) * mask).sum(dim=-1) / mask.sum().clamp(min=1),
        iou=overlap_penalty(theta).mean(dim=-1),
        coverage=theta.new_tensor([covered_share(boxes) for boxes in theta_to_boxes(theta).numpy()]),
        mirrored=(scale < 0).any(dim=-1).to(theta.dtype).mean(dim=-1),
    )


def true_classes(samples: Sequence[DataSample], num_classes: int) -> Tensor:
    """Which classes are true, mixed ones too, shape (B, C), bool, on the CPU."""
    rows = torch.zeros(len(samples), num_classes, dtype=torch.bool)
    for row, sample in zip(rows, samples, strict=True):
        if 'gt_score' in sample:
            row |= sample.gt_score.cpu() > 0
        elif 'gt_label' in sample:
            row |= label_to_onehot(sample.gt_label.cpu(), num_classes) > 0
    return rows
