"""Whether the regions of the ST-LSTM neck have collapsed, in numbers."""

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce_dict
from mmengine.hooks import Hook
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmlattn.evaluation.functional.localization import covered_share
from mmlattn.models.layers.spatial_transformer import theta_to_boxes
from mmlattn.models.st_lstm.constraints import overlap_penalty
from mmlattn.models.st_lstm.neck import STLSTM, STLSTMOutput
from mmlattn.models.views.decision import deciding_head
from mmlattn.registry import HOOKS
from mmlattn.structures import label_matrix
from mmlattn.utils.arguments import check_whole
from mmlattn.utils.errors import UserError
from mmlattn.utils.weights import without_wrapper

FIGURES = ('scale', 'cells', 'anchor_distance', 'iou', 'coverage', 'mirrored')
# Beyond these means regions have collapsed: they lie on each other, one takes all labels, or they are points.
MAX_IOU, MAX_WINS, MIN_CELLS = 0.9, 0.95, 1.0


@HOOKS.register_module()
class RegionDiagnosticsHook(Hook):
    """Logs what the regions of the ``STLSTM`` neck do, to tell whether they look at different places.

    ==========================  ====================================================================================
    figure                      meaning, as a mean over the pictures
    ==========================  ====================================================================================
    ``regions/scale``           |s_x| and |s_y|: sides as fractions of the picture's
    ``regions/cells``           the same sides in cells of the feature map; below 1 a region reads hardly one
    ``regions/anchor_distance`` from a region's centre to its anchor, where half a side of the picture is 1; without
                                regions that have no anchor
    ``regions/spread``          from a region's centre to where it is in the mean of the pictures, root mean square:
                                near 0, regions are where they are whatever the picture shows
    ``regions/iou``             intersection over union of two regions of a picture
    ``regions/coverage``        share of the picture that lies in at least one region
    ``regions/mirrored``        share of the regions with a negative scale
    ``regions/wins_k``          share of the true labels that are read from step k: there their score is highest;
                                k = 0 is the whole picture, if the neck gives it a score
    ==========================  ====================================================================================

    In training they are those of one step in ``interval``, and stay in the log until the next; in validation and
    testing those of all pictures, of all processes, and of all crops of a picture. Wins need a head with
    ``step_scores``, such as ``STLSTMHead``. Other steps cost nothing.

    After validation and testing the log warns, once, if the regions have collapsed: if their IoU is above 0.9, a
    single step of several wins more than 95 % of the labels, or their sides are shorter than a cell. Training steps
    are not judged, as most regions begin in one place. It also warns of a neck that is not seen, as in a model
    that was compiled.

    Args:
        interval (int): Measure every so many training iterations.

    Raises:
        UserError: When a run starts with a model that does not have one ``STLSTM`` neck.
    """

    def __init__(self, interval: int = 50) -> None:
        check_whole('interval', interval, 1)
        self.interval = interval
        self._warned = set()

    def before_run(self, runner) -> None:
        """Find the neck, and the head beside it."""
        model = without_wrapper(runner.model)
        necks = {name: module for name, module in model.named_modules() if isinstance(module, STLSTM)}
        if len(necks) != 1:
            raise UserError(
                f'RegionDiagnosticsHook measures the regions of an STLSTM neck, but {type(model).__name__} has '
                f"{len(necks) or 'none'}: set model.neck=dict(type='mmlattn.STLSTM', ...), or remove the hook from "
                'custom_hooks'
            )
        ((name, neck),) = necks.items()
        owner = model.get_submodule(name.rpartition('.')[0])
        self._meter = RegionMeter(neck, getattr(owner, 'head', None))

    def _before_epoch(self, runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._meter.start()

    def _before_iter(self, runner, batch_idx: int, data_batch=None, mode: str = 'train') -> None:
        if mode == 'train' and self.every_n_train_iters(runner, self.interval):
            self._meter.start()

    def _after_iter(self, runner, batch_idx: int, data_batch=None, outputs=None, mode: str = 'train') -> None:
        if mode == 'train' and not self.every_n_train_iters(runner, self.interval):
            return
        # The data preprocessor has written the labels, mixed ones too, into these very samples.
        samples = data_batch.get('data_samples') or []
        # Test-time augmentation has a list of samples for each view.
        self._meter.count(samples[0] if samples and isinstance(samples[0], (list, tuple)) else samples)
        if mode == 'train':
            self._log(runner, mode)

    def _after_epoch(self, runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._log(runner, mode)

    def _log(self, runner, mode: str) -> None:
        figures = self._meter.finish()
        for name, value in figures.items():
            runner.message_hub.update_scalar(f'{mode}/regions/{name}', value)
        kind, warning = 'unseen', 'regions: nothing was seen of the neck, so nothing is logged; '
        warning += 'is the model compiled, or does it pass its neck by?'
        if figures:
            kind, warning = 'collapsed', '' if mode == 'train' else self._judge(figures, mode)
        if warning and kind not in self._warned:
            self._warned.add(kind)
            runner.logger.warning(warning)

    def _judge(self, figures: dict[str, float], mode: str) -> str:
        """The signs of collapse and what helps, or nothing."""
        wins = [value for name, value in figures.items() if name.startswith('wins_')]
        signs, advice = [], ''
        if figures.get('iou', 0.0) > MAX_IOU:
            signs.append(f'their mean pairwise IoU is {figures["iou"]:.3f}, above {MAX_IOU}')
        if len(wins) > 1 and max(wins) > MAX_WINS:
            signs.append(f'one step alone wins {max(wins):.1%} of the true labels, above {MAX_WINS:.0%}')
        if signs:
            advice += (
                " More weight on the anchor constraint, loc_param='residual_anchor' or aux_step_weight > 0 pull them "
                'apart.'
            )
            if mode == 'val' and self._meter.neck.loc_param != 'residual_anchor':
                advice += (
                    " Regions of loc_param='direct' and 'bounded' begin like this, in one place, so early in training"
                    ' it is a sign only if it stays: see whether the figures fall in the next validations.'
                )
        if figures['cells'] < MIN_CELLS:
            signs.append(f'their sides are {figures["cells"]:.2f} cells, below {MIN_CELLS:g}')
            advice += " A larger beta, or loc_param='bounded' with a larger scale_range, keep them open."
        return f'regions have collapsed: {", and ".join(signs)}.{advice}' if signs else ''


class RegionMeter:
    """Sums up what the regions of a neck do, from :meth:`start` to :meth:`finish`."""

    def __init__(self, neck: STLSTM, head: nn.Module | None) -> None:
        self.neck = neck
        self.head = deciding_head(head)

    def start(self) -> None:
        """Begin anew to watch the neck."""
        self._seen: list[tuple[Tensor, tuple[int, int], Tensor | None]] = []
        # The same entries in all processes, whatever they see. Wins are those of steps 0 to K.
        steps = self.neck.num_steps
        sizes = dict(figures=len(FIGURES), pictures=1, wins=steps + 1, centres=(steps, 2), squares=(steps, 2))
        self._sums = {name: torch.zeros(size, dtype=torch.float64) for name, size in sizes.items()}
        self._handle = self.neck.register_forward_hook(self._record)

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

    def count(self, samples: Sequence[DataSample]) -> None:
        """Add what was seen since the last count, given the samples of the batch."""
        for theta, grid, scores in self._seen:
            anchors, mask = self.neck.anchors.cpu(), self.neck.anchor_mask.cpu()
            figures = region_figures(theta.double().cpu(), anchors, mask, grid)
            self._sums['figures'] += torch.stack([figures[name].sum() for name in FIGURES])
            self._sums['pictures'] += len(theta)
            centres = theta[..., 2:].double().cpu()
            self._sums['centres'] += centres.sum(dim=0)
            self._sums['squares'] += centres.square().sum(dim=0)
            if scores is not None and samples:
                self._sums['wins'] += self._count_wins(scores.cpu(), samples)
        self._seen = []

    def _count_wins(self, scores: Tensor, samples: Sequence[DataSample]) -> Tensor:
        steps = self.neck.num_steps
        winners = scores.argmax(dim=1) + (steps + 1 - scores.shape[1])
        unlabelled = DataSample().set_gt_label([])
        samples = [s if 'gt_label' in s or 'gt_score' in s else unlabelled for s in samples]
        # Crops of a batch come one after the other.
        truth = label_matrix(samples, scores.shape[-1]).repeat(len(scores) // len(samples), 1) > 0
        return torch.bincount(winners[truth.cpu()], minlength=steps + 1)

    def finish(self) -> dict[str, float]:
        """Stop watching; the means over all processes, nothing if the neck has not run."""
        self._handle.remove()
        all_reduce_dict(self._sums)
        pictures, wins = self._sums['pictures'].item(), self._sums['wins']
        if not pictures:
            return {}
        means = dict(zip(FIGURES, (self._sums['figures'] / pictures).tolist(), strict=True))
        if not self.neck.anchor_mask.any():
            del means['anchor_distance']
        if self.neck.num_steps == 1:
            del means['iou']
        if pictures > 1:
            variance = self._sums['squares'] / pictures - (self._sums['centres'] / pictures).square()
            means['spread'] = variance.clamp(min=0).sum(dim=-1).mean().sqrt().item()
        if wins.any():
            first = 0 if self.neck.include_global else 1
            means |= {f'wins_{k}': (wins[k] / wins.sum()).item() for k in range(first, len(wins))}
        return means


def region_figures(theta: Tensor, anchors: Tensor, mask: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
    """What the regions of each picture do, (B,) for each of ``FIGURES``; 0 where there is nothing to measure.

    From theta (B, K, 4), on the CPU, see ``layers/spatial_transformer.py``; anchors (K, 2), of the regions where
    ``mask`` (K,) is true; and the feature map's (height, width) in cells.
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
