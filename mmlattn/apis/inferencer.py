"""Inference with multi-label models: the set of labels, their scores, and where the model looked."""

import fnmatch
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.model import BaseModel
from mmpretrain.apis import ImageClassificationInferencer, list_models
from mmpretrain.structures import DataSample
from torch import Tensor

from mmlattn.apis.loading import build_model, checkpoint_of, class_names, load_trained
from mmlattn.apis.pictures import PictureReader, check_there, input_channels, picture_files
from mmlattn.engine.hooks.label_constraints import constrained
from mmlattn.models.ran.mask_recording import record_masks
from mmlattn.models.ran.soft_mask import SoftMask
from mmlattn.structures.evidence import EVIDENCE_FIELDS, set_trunk_masks
from mmlattn.structures.frames import check_frame
from mmlattn.structures.known_labels import KnownLabels, set_known_labels
from mmlattn.structures.label_rules import LabelRules
from mmlattn.structures.labels import select_labels
from mmlattn.utils.arguments import check_whole
from mmlattn.utils.arrays import as_array
from mmlattn.utils.configs import config_names
from mmlattn.utils.drawings import check_drawings, drawing_names
from mmlattn.utils.errors import UserError

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
        **kwargs: As for ``ImageClassificationInferencer``.

    Example:
        >>> inferencer = MultiLabelInferencer('configs/csra_resnet-mini_multidigits.py', 'csra.pth')
        >>> results = inferencer(['a.jpg', 'b.jpg'], batch_size=2, threshold=0.4, topk=3)
        >>> sorted(results[0])
        ['attention_maps', 'pred_classes', 'pred_labels', 'pred_scores']
    """

    preprocess_kwargs = {'known'}
    forward_kwargs = {'with_evidence', 'threshold', 'topk'}

    def __init__(
        self,
        model: Any,
        pretrained: bool | str = True,
        device: str | torch.device | None = None,
        classes: Sequence[str] | str | None = None,
        trust_checkpoint: bool = False,
        **kwargs,
    ) -> None:
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
        super().__init__(model=model, pretrained=False, device=device, **kwargs)
        self.classes = class_names(model, classes)

    def __call__(
        self,
        inputs: Any,
        return_datasamples: bool = False,
        batch_size: int = 1,
        constraints: Mapping | str | Path | None = None,
        **kwargs,
    ) -> list[dict] | list[DataSample]:
        """Infer.

        Args:
            inputs (str | Path | np.ndarray | PIL.Image.Image | Iterable): A picture, several, or a folder of them:
                path, URL, or uint8 array from 0 to 255, (H, W, 3) in the order BGR or grey, (H, W) or (H, W, 1), or
                PIL image of mode RGB or L. Files are loaded, and arrays converted, as ``LoadImageFromFile`` of the
                config's test pipeline does it; ``color_type='unchanged'`` there takes other depths and channels too.
            return_datasamples (bool): Return the data samples themselves.
            batch_size (int): Pictures per forward pass.
            constraints (Mapping | str | Path, optional): What is known of the labels, for a model that decodes them:
                a json file or what it holds, see ``mmlattn/structures/known_labels.py``, such as
                ``dict(present=['person'])`` for all of ``inputs``. Pictures are named by file name or path.
            **kwargs: ``with_evidence`` (bool): what the head can tell, and the soft masks of attention modules if
                the model has any (see ``mmlattn/structures/evidence.py``). ``threshold`` (one for all classes, a list
                for each in order, or a dict by name with 0.5 for the others) and ``topk``: a class must reach its
                threshold and be among the ``topk`` best; without both the model's own decision stands. Mmpretrain's
                ``show``, ``show_dir``, ``resize``, ``rescale_factor``, ``draw_score``, ``wait_time``. Drawings in
                ``show_dir`` keep the folders that pictures do not share, and replace no file.

        Returns:
            list[dict]: For each picture ``pred_labels`` (list[int], best first), ``pred_classes`` (list[str], if
            the names are known), ``pred_scores`` (ndarray (C,), of all classes) and the evidence fields present,
            as arrays; ``label_path`` keeps the order in which labels were emitted.
        """
        check_whole('batch_size', batch_size, 1)
        inputs = self._inputs_to_list(inputs)
        check_there(item for item in inputs if isinstance(item, str))
        if kwargs.get('show_dir') is not None:
            check_drawings(_drawing_names(inputs), kwargs['show_dir'], 'show_dir')
        if constraints is None:
            return super().__call__(inputs, return_datasamples, batch_size, **kwargs)
        if kwargs.get('threshold') is not None or kwargs.get('topk') is not None:
            raise UserError(
                'threshold and topk take labels one by one and keep to no constraints: leave either of them out'
            )
        with constrained(self.model, constraints, self.classes) as known:
            kwargs['known'] = _rules_by_input(known, inputs)
            return super().__call__(inputs, return_datasamples, batch_size, **kwargs)

    @staticmethod
    def list_models(pattern: str | None = None) -> list[str]:
        """Names of our configs and of mmpretrain's classifiers that begin with a ``pattern``, wildcards allowed."""
        ours = fnmatch.filter(config_names(), f'{pattern or ""}*')
        return sorted({*ours, *list_models(pattern=pattern, task='Image Classification')})

    def _init_pipeline(self, cfg: Config) -> PictureReader:
        return PictureReader(cfg, input_channels(self.model))

    def _inputs_to_list(self, inputs: Any) -> list:
        if not isinstance(inputs, (list, tuple, Iterator)):
            inputs = [inputs]
        found = []
        for item in inputs:
            found += picture_files([item]) if isinstance(item, (str, Path)) else [item]
        return found

    def preprocess(
        self, inputs: list, batch_size: int = 1, known: Sequence[LabelRules] | None = None
    ) -> Iterator[dict]:
        """Batches of pictures, with what is ``known`` of each input."""
        rules = iter(known or ())
        for items in self._get_chunk_data(map(self.pipeline, inputs), batch_size):
            sizes = {tuple(item['inputs'].shape) for item in items}
            if len(sizes) > 1:
                raise UserError(
                    f'the test pipeline makes pictures of several sizes, such as {sorted(sizes)[:2]}, which fit into '
                    'no batch: set batch_size=1, or a Resize to one scale in the pipeline'
                )
            batch = default_collate(items)
            for sample, known_of_it in zip(batch['data_samples'], rules, strict=False):
                set_known_labels(sample, known_of_it)
            yield batch

    @torch.no_grad()
    def forward(
        self,
        inputs: dict,
        with_evidence: bool | None = None,
        threshold: float | Sequence[float] | Mapping[str, float] | None = None,
        topk: int | None = None,
    ) -> list[DataSample]:
        """Run one batch; ``pred_label`` of the samples follows ``threshold`` and ``topk``."""
        if with_evidence is None:
            samples = self.model.test_step(inputs)
        else:
            samples = self._predict(inputs, with_evidence)
        if threshold is not None or topk is not None:
            thresholds = resolve_threshold(threshold, len(samples[0].pred_score), self.classes)
            for sample in samples:
                sample.set_pred_label(select_labels(sample.pred_score, thresholds, topk))
        return samples

    def _predict(self, inputs: dict, with_evidence: bool) -> list[DataSample]:
        predictor = self.model.head if hasattr(self.model, 'head') else self.model
        tells = 'with_evidence' in inspect.signature(predictor.predict).parameters
        # Masks of a backbone that sees parts of the picture, as in RACNN, do not lie over all of it.
        backbone = dict(self.model.named_children()).get('backbone')
        modules = () if backbone is None else backbone.modules()
        masked = with_evidence and any(isinstance(module, SoftMask) for module in modules)
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

    def visualize(
        self,
        ori_inputs: list,
        preds: list[DataSample],
        show: bool = False,
        show_dir: str | Path | None = None,
        **options,
    ) -> list[np.ndarray] | None:
        """Draw with our visualizer, unless the test pipeline crops or flips, so that evidence would lie elsewhere."""
        if not show and show_dir is None:
            return None
        for sample in preds:
            if any(field in sample for field in PLACED_EVIDENCE):
                check_frame(sample)
        if self.visualizer is None:
            from mmlattn.visualization import EvidenceVisualizer

            self.visualizer = EvidenceVisualizer('inferencer')
        drawn = []
        for name, picture, sample in zip(_drawing_names(ori_inputs), ori_inputs, preds, strict=True):
            options['out_file'] = None if show_dir is None else str(Path(show_dir, name))
            options.update(name=str(name.with_suffix('')), classes=self.classes, show=show, draw_gt=False)
            drawn.append(self.visualizer.visualize_cls(self.pipeline.shown(picture), sample, **options))
        return drawn

    def postprocess(
        self, preds: list[DataSample], visualization: Any, return_datasamples: bool = False
    ) -> list[dict] | list[DataSample]:
        """Turn data samples into plain results."""
        return preds if return_datasamples else [self._result(sample) for sample in preds]

    def _result(self, sample: DataSample) -> dict:
        scores = sample.pred_score.cpu()
        labels = sorted(sample.pred_label.tolist(), key=lambda label: (-scores[label].item(), label))
        result = dict(pred_labels=labels, pred_scores=scores.float().numpy())
        if self.classes is not None:
            result['pred_classes'] = [self.classes[label] for label in labels]
        for field in (field for field in EVIDENCE_FIELDS if field in sample):
            value = sample.get(field)
            result[field] = [as_array(v) for v in value] if isinstance(value, list) else as_array(value)
        return result


def _drawing_names(inputs: Sequence) -> list[Path]:
    """Names of the drawings; arrays have no path and are numbered."""
    return drawing_names([item if isinstance(item, str) else number for number, item in enumerate(inputs)])


def _rules_by_input(known: KnownLabels, inputs: Sequence) -> list[LabelRules]:
    """What is known of each input; of arrays, which have no name, what holds for all pictures."""
    pictures, unused = known.match(item for item in inputs if isinstance(item, str))
    if unused:
        warnings.warn(unused, stacklevel=3)
    return [pictures.get(item, known.rules) if isinstance(item, str) else known.rules for item in inputs]


def resolve_threshold(
    threshold: float | Sequence[float] | Mapping[str, float] | None,
    num_classes: int,
    classes: Sequence[str] | None = None,
) -> Tensor | None:
    """The threshold of each of C classes, (C,), from one for all, a list, or a mapping with 0.5 for the others."""
    if threshold is None:
        return None
    if isinstance(threshold, Mapping):
        unknown = set(threshold) - set(classes or ())
        if unknown:
            raise UserError(
                f'thresholds for unknown classes: {sorted(unknown)}; known are {list(classes or ())}'
            )
        threshold = [threshold.get(name, 0.5) for name in classes]
    thresholds = torch.as_tensor(threshold, dtype=torch.float32)
    if thresholds.dim() and thresholds.shape != (num_classes,):
        raise UserError(
            f'need one threshold or one for each of {num_classes} classes, got {thresholds.numel()}'
        )
    if not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise UserError(f'thresholds must lie in [0, 1], got {threshold}')
    return thresholds.expand(num_classes)
