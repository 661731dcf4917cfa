"""Inference with multi-label models: the set of labels, their scores, and where the model looked."""

import copy
import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.apis import ImageClassificationInferencer, list_models
from mmpretrain.structures import DataSample
from rich.progress import track
from torch import Tensor

from mmlattn.apis.loading import build_model, check_device, checkpoint_of, class_names, load_trained
from mmlattn.apis.picture_files import path_of, pictures_of, place_of, without_picture
from mmlattn.apis.pictures import PictureReader, check_there, input_channels
from mmlattn.apis.prediction_loader import chunks_of
from mmlattn.apis.prediction_run import evidence_of, knowing, predict_chunks, result_of, rules_of
from mmlattn.apis.video_frames import Frame
from mmlattn.datasets.unreadable_pictures import ON_ERROR
from mmlattn.models.ran.mask_recording import record_masks
from mmlattn.models.views.decision import head_of
from mmlattn.models.views.stored_decision import announce, apply_decision
from mmlattn.structures.evidence import EVIDENCE_FIELDS, set_trunk_masks
from mmlattn.structures.frames import check_frame
from mmlattn.utils.arguments import check_choice, check_number, check_whole, complete_options
from mmlattn.utils.configs import config_names
from mmlattn.utils.drawings import check_drawings, drawing_names
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import finite_or_null
from mmlattn.utils.launch.tta import add_views

# All evidence but that which says nothing about places in the picture.
PLACED_EVIDENCE = set(EVIDENCE_FIELDS) - {'label_path', 'path_logprob'}


class MultiLabelInferencer(ImageClassificationInferencer):
    """Like mmpretrain's inferencer, but it returns the label set, with thresholds chosen at call time.

    Args:
        model (BaseModel | str | Config): A config, the path or the name of one, see :meth:`list_models`, or a model
            with its weights, from ``mmpretrain.get_model``.
        pretrained (bool | str): Path or URL of the checkpoint, which must have all weights of the model; by default
            ``load_from`` of the config. Without either ``False`` must be said: then the weights are random.
        device (str | torch.device, optional): Where to run.
        classes (Sequence[str] | str, optional): A name for each class, or the path of a file with one a line; by
            default those stored in the checkpoint, or else of the config's test data set.
        trust_checkpoint (bool): Open checkpoints that can run code on this machine.
        tta (bool | Mapping): Look at several views of each picture and decide once: by ``tta_pipeline`` and
            ``tta_model`` of the config, or else at the picture and its mirror image. A dict may name ``scales``, a
            list of numbers, and ``crops``, 'five', see ``add_views`` in ``mmlattn/utils/launch/tta.py``.
        use_decision (bool): Whether scores and labels are those of the decision that
            ``tools/analysis_tools/tune_thresholds.py`` stored in the checkpoint, if it has one.
        **kwargs: As for ``ImageClassificationInferencer``.

    Example:
        >>> inferencer = MultiLabelInferencer('configs/csra_resnet-mini_multidigits.py', 'csra.pth')
        >>> results = inferencer(['a.jpg', 'b.jpg'], batch_size=2, threshold=0.4, topk=3)
        >>> sorted(results[0])
        ['attention_maps', 'name', 'path', 'pred_classes', 'pred_labels', 'pred_scores']
    """

    forward_kwargs = {'with_evidence', 'threshold', 'topk'}

    def __init__(
        self,
        model: Any,
        pretrained: bool | str = True,
        device: str | torch.device | None = None,
        classes: Sequence[str] | str | None = None,
        trust_checkpoint: bool = False,
        use_decision: bool = True,
        tta: bool | Mapping = False,
        **kwargs,
    ) -> None:
        if device is not None:
            check_device(device)
        if not isinstance(model, BaseModel):
            placing = {k: kwargs.pop(k) for k in ('device_map', 'offload_folder') if k in kwargs}
            model = build_model(model, **kwargs)
            kwargs, pretrained = placing, checkpoint_of(model, pretrained)
        elif not hasattr(model, '_config'):
            raise UserError(
                f'this {type(model).__name__} does not know its config, which says how pictures are prepared: '
                'build it with mmpretrain.get_model(cfg), or give the config'
            )
        if isinstance(pretrained, (str, Path)):
            # Mmpretrain loads what fits, reports the rest in hundreds of lines, and goes on.
            load_trained(model, str(pretrained), trust=trust_checkpoint)
        self._augmented = augmented(model._config, tta)
        super().__init__(model=model, pretrained=False, device=device, **kwargs)
        self.tta_model = None
        if self._augmented is not None:
            with DefaultScope.overwrite_default_scope('mmpretrain'):
                self.tta_model = MODELS.build(dict(self._augmented.tta_model, module=self.model)).eval()
        self.classes = class_names(model, classes)
        self.num_classes = getattr(head_of(model), 'num_classes', None) or len(self.classes or ())
        self.decision = getattr(model, '_decision', None) if use_decision else None
        announce(self.decision, 'the checkpoint')

    def __call__(
        self,
        inputs: Any,
        return_datasamples: bool = False,
        batch_size: int = 1,
        constraints: Mapping | str | Path | None = None,
        *,
        workers: int = 0,
        on_error: str = 'raise',
        fps: float = 1.0,
        plain: bool = False,
        **kwargs,
    ) -> list[dict] | list[DataSample]:
        """Infer.

        Args:
            inputs (str | Path | np.ndarray | PIL.Image.Image | Iterable): A picture, several, a folder of them, in
                natural order of their names, or a video file: path, URL, or uint8 array from 0 to 255, (H, W, 3) in
                the order BGR or grey, (H, W) or (H, W, 1), or PIL image of mode RGB or L. Files are loaded, and
                arrays converted, as ``LoadImageFromFile`` of the config's test pipeline does it;
                ``color_type='unchanged'`` there takes other depths and channels too. Of a generator no more is held
                than is computed, unless there is something to draw.
            return_datasamples (bool): Return the data samples themselves.
            batch_size (int): Pictures per forward pass.
            constraints (Mapping | str | Path, optional): What is known of the labels, for a model that decodes them:
                a json file or what it holds, see ``mmlattn/structures/known_labels.py``, such as
                ``dict(present=['person'])`` for all of ``inputs``. Pictures are named by file name or path.
            workers (int): Processes that load pictures while others are computed; 0 loads in this one.
            on_error (str): What becomes of a picture that cannot be read. ``'raise'``: a ``UserError``. ``'skip'``:
                its result is a dict of ``name``, ``path`` and ``error`` alone, or a data sample with ``error``.
            fps (float): Frames for each second of a video.
            plain (bool): Lists and numbers in the place of arrays, so that ``json.dumps`` takes the results.
            **kwargs: ``with_evidence`` (bool): what the head can tell, and the soft masks of attention modules if
                the model has any (see ``mmlattn/structures/evidence.py``). ``threshold`` (one for all classes, a list
                for each in order, or a dict by name, with the stored threshold or else 0.5 for the others) and
                ``topk``: a class must reach its threshold and be among the ``topk`` best; without both the stored
                decision stands, or else the model's own. Mmpretrain's
                ``show``, ``show_dir``, ``resize``, ``rescale_factor``, ``draw_score``, ``wait_time``. Drawings in
                ``show_dir`` keep the folders that pictures do not share, and replace no file.

        Returns:
            list[dict]: For each picture ``name`` and ``path`` of its file (None for arrays; of a video's frame
            ``time`` in seconds, too), ``pred_labels`` (list[int], best first), ``pred_classes`` (list[str], if the
            names are known), ``pred_scores`` (ndarray (C,), of all classes) and the evidence fields present, as
            arrays; ``label_path`` keeps the order in which labels were emitted.
        """
        check_whole('batch_size', batch_size, 1)
        check_whole('workers', workers, 0)
        check_number('fps', fps, least=1e-6)
        check_choice('on_error', on_error, ON_ERROR)
        _, forward, drawing, _ = self._dispatch_kwargs(**kwargs)
        draws = drawing.get('show') or drawing.get('show_dir') is not None
        items, total = pictures_of(inputs, fps), None
        if draws or constraints is not None or not isinstance(inputs, Iterator):
            items = list(items)
            total = ceil(len(items) / batch_size)
            if on_error == 'raise':
                check_there(item for item in items if isinstance(item, str))
        if drawing.get('show_dir') is not None:
            check_drawings(_drawing_names(items), drawing['show_dir'], 'show_dir')
        pairs = []
        with knowing(self, constraints, **forward) as known:
            rules = known and rules_of(known, [item for item in items if isinstance(item, str)])
            chosen = dict(forward, workers=workers, skip=on_error == 'skip', rules=rules)
            chunks = predict_chunks(self, chunks_of(items, batch_size), **chosen)
            for chunk, samples in track(chunks, 'Inference', total=total):
                problem = next((sample for sample in samples if isinstance(sample, str)), None)
                if problem and on_error == 'raise':
                    raise UserError(problem)
                pairs += zip(chunk if draws else map(without_picture, chunk), samples, strict=True)
        items, samples = zip(*pairs, strict=True) if pairs else ((), ())
        self.visualize(items, samples, **drawing)
        if return_datasamples:
            return [_as_sample(*pair) for pair in pairs]
        results = [result_of(*pair, self.classes) for pair in pairs]
        return finite_or_null(results) if plain else results

    @staticmethod
    def list_models(pattern: str | None = None) -> list[str]:
        """Names of our configs and of mmpretrain's classifiers that begin with a ``pattern``, wildcards allowed."""
        ours = fnmatch.filter(config_names(), f'{pattern or ""}*')
        return sorted({*ours, *list_models(pattern=pattern, task='Image Classification')})

    def _init_pipeline(self, cfg: Config) -> PictureReader:
        return PictureReader(self._augmented or cfg, input_channels(self.model))

    @property
    def can_tell(self) -> bool:
        """Whether ``with_evidence=True`` can be asked for."""
        tells, has_masks = evidence_of(self.model)
        # Of several views only what a head tells is put together.
        return tells and hasattr(self.model, 'head') if self.tta_model is not None else tells or has_masks

    def preprocess(self, inputs: list, batch_size: int = 1) -> Iterator[dict]:
        """Batches of pictures of one size."""
        yield from map(default_collate, self._get_chunk_data(map(self.pipeline, inputs), batch_size))

    @torch.no_grad()
    def forward(
        self,
        inputs: dict,
        with_evidence: bool | None = None,
        threshold: float | Sequence[float] | Mapping[str, float] | None = None,
        topk: int | None = None,
    ) -> list[DataSample]:
        """Run one batch; ``pred_label`` follows ``threshold`` and ``topk``, or else the stored decision."""
        if self.tta_model is not None:
            samples = self._predict_views(inputs, with_evidence)
        elif with_evidence is None:
            samples = self.model.test_step(inputs)
        else:
            samples = self._predict(inputs, with_evidence)
        stored = self.decision.thresholds if self.decision else ()
        thresholds = resolve_threshold(threshold, len(samples[0].pred_score), self.classes, stored)
        return apply_decision(samples, self.decision, thresholds, topk)

    def _predict(self, inputs: dict, with_evidence: bool) -> list[DataSample]:
        predictor = getattr(self.model, 'head', self.model)
        tells, has_masks = evidence_of(self.model)
        masked = with_evidence and has_masks
        if with_evidence and not (tells or masked):
            raise UserError(
                f'{type(predictor).__name__} cannot tell where it looked; leave with_evidence out, or use a head or '
                'classifier of mmlattn such as CSRAHead'
            )
        options = dict(with_evidence=with_evidence) if tells else {}
        with record_masks(self.model) if masked else nullcontext() as masks:
            samples = self.model.predict(**self.model.data_preprocessor(inputs, False), **options)
        if masked:
            set_trunk_masks(samples, masks)
        return samples

    def _predict_views(self, inputs: dict, with_evidence: bool | None) -> list[DataSample]:
        if with_evidence is None:
            return self.tta_model.test_step(inputs)
        before, self.tta_model.with_evidence = self.tta_model.with_evidence, with_evidence
        try:
            if with_evidence and not self.can_tell:
                raise UserError(
                    f'{type(getattr(self.model, "head", self.model)).__name__} tells nothing that can be said of '
                    'several views together: leave with_evidence out, or tta'
                )
            return self.tta_model.test_step(inputs)
        finally:
            self.tta_model.with_evidence = before

    def visualize(
        self,
        ori_inputs: Sequence,
        preds: Sequence[DataSample | str],
        show: bool = False,
        show_dir: str | Path | None = None,
        **options,
    ) -> list[np.ndarray] | None:
        """Draw with our visualizer, unless the test pipeline crops or flips, so that evidence would lie elsewhere."""
        if not show and show_dir is None:
            return None
        shown = [
            triple
            for triple in zip(ori_inputs, preds, _drawing_names(ori_inputs), strict=True)
            if not isinstance(triple[1], str)
        ]
        for _, sample, _ in shown:
            _check_drawable(sample)  # before anything is drawn
        drawn = []
        for picture, sample, name in shown:
            file = None if show_dir is None else str(Path(show_dir, name))
            options.update(out_file=file, name=str(name.with_suffix('')), show=show)
            drawn.append(self.draw(picture, sample, **options))
        return drawn

    def draw(self, picture: Any, sample: DataSample, **options) -> np.ndarray:
        """Draw a prediction beside its picture, (H, W, 3), RGB, with ``options`` of ``visualize_cls``."""
        _check_drawable(sample)
        if self.visualizer is None:
            from mmlattn.visualization import EvidenceVisualizer

            self.visualizer = EvidenceVisualizer('inferencer')
        options.update(classes=self.classes, draw_gt=False)
        return self.visualizer.visualize_cls(self.pipeline.shown(picture), sample, **options)

    def postprocess(
        self, preds: list[DataSample], visualization: Any, return_datasamples: bool = False
    ) -> list[dict] | list[DataSample]:
        """Turn data samples into plain results."""
        return preds if return_datasamples else [result_of(None, sample, self.classes) for sample in preds]


def augmented(cfg: Config, tta: bool | Mapping) -> Config | None:
    """A config whose test pipeline makes the views that ``tta`` asks for; None for none."""
    if tta is False or tta is None:
        return None
    if tta is not True:
        complete_options('tta', tta, dict(scales=None, crops=None))
    cfg = copy.deepcopy(cfg)
    add_views(cfg, **({} if tta is True else tta))
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    return cfg


def _check_drawable(sample: DataSample) -> None:
    if any(field in sample for field in PLACED_EVIDENCE):
        check_frame(sample)


def _as_sample(picture: Any, sample: DataSample | str) -> DataSample:
    """A sample that tells its file; one that has none tells why."""
    if isinstance(sample, str):
        return DataSample(metainfo=dict(img_path=path_of(picture), error=sample))
    return sample


def _drawing_names(inputs: Sequence) -> list[Path]:
    """Names of the drawings; arrays have no path and are numbered."""
    # The drawing of a frame keeps the whole name with its time, as of a file that ends in .png.
    places = [f'{place_of(item)}.png' if isinstance(item, Frame) else path_of(item) for item in inputs]
    return drawing_names([number if place is None else place for number, place in enumerate(places)])


def resolve_threshold(
    threshold: float | Sequence[float] | Mapping[str, float] | None,
    num_classes: int,
    classes: Sequence[str] | None = None,
    stored: Sequence[float] = (),
) -> Tensor | None:
    """The threshold of each of C classes, (C,), from one for all, a list, or a mapping.

    Classes that the mapping does not name have that of ``stored``, (C,) or empty, or else 0.5.
    """
    if threshold is None:
        return None
    if isinstance(threshold, Mapping):
        unknown = set(threshold) - set(classes or ())
        if unknown:
            raise UserError(
                f'thresholds for unknown classes: {sorted(unknown)}; known are {list(classes or ())}'
            )
    given = list(threshold.values()) if isinstance(threshold, Mapping) else threshold
    thresholds = torch.as_tensor(given, dtype=torch.float32)
    if not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise UserError(f'thresholds must lie in [0, 1], got {threshold}')
    if isinstance(threshold, Mapping):
        others = dict(zip(classes or range(num_classes), stored or [0.5] * num_classes, strict=False))
        return torch.tensor([threshold.get(name, other) for name, other in others.items()])
    if thresholds.dim() and thresholds.shape != (num_classes,):
        raise UserError(
            f'need one threshold or one for each of {num_classes} classes, got {thresholds.numel()}'
        )
    return thresholds.expand(num_classes)
