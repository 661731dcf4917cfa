"""From pictures to results, batch by batch: what the inferencer, and the tool that predicts folders, share."""

import hashlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch import nn

from mmlattn.engine.hooks.label_constraints import constrained
from mmlattn.models.ran.mask_recording import backbone_masks
from mmlattn.models.views.decision import deciding_head, head_of
from mmlattn.structures.evidence import EVIDENCE_FIELDS
from mmlattn.structures.finite_scores import scores_problem, unscored
from mmlattn.structures.known_labels import KnownLabels, set_known_labels
from mmlattn.structures.label_rules import LabelRules
from mmlattn.structures.labels import best_first
from mmlattn.utils.arrays import as_array
from mmlattn.utils.checkpoint.digests import digest
from mmlattn.utils.errors import UserError

from .picture_files import name_of, path_of
from .prediction_loader import NOT_PASSED, load_chunks
from .video_frames import Frame


def predict_chunks(
    inferencer: ImageClassificationInferencer,
    chunks: Iterable[Sequence],
    *,
    workers: int = 0,
    skip: bool = False,
    rules: Callable[[Any], LabelRules] | None = None,
    **forward: Any,
) -> Iterator[tuple[Sequence, list[DataSample | str]]]:
    """Predict chunks of pictures in their order; pictures of one size in a chunk make one batch.

    Args:
        inferencer (MultiLabelInferencer): Whose pipeline and model are used.
        chunks (Iterable[Sequence]): Of pictures, see :func:`~mmlattn.apis.prediction_loader.load_chunks`.
        workers (int): Processes that load.
        skip (bool): As there.
        rules (Callable, optional): What is known of a picture, for models that take constraints.
        **forward: As for ``MultiLabelInferencer.forward``.

    Yields:
        tuple: A chunk and, for each picture, its data sample, or why there is none.

    Raises:
        UserError: If no picture of the first chunk passes the transforms, two or more: then it is their fault.
    """
    first = True
    for items, prepared in load_chunks(chunks, inferencer.pipeline, workers, skip):
        found: list = [prepared.problems.get(place) for place in range(len(items))]
        blamed = [problem for problem in found if problem and NOT_PASSED in problem]
        if first and len(blamed) > 1 and not prepared.groups:
            raise UserError(blamed[0])
        first = False
        for places, batch in prepared.groups:
            if rules is not None:
                given = batch['data_samples']
                for samples in given if isinstance(given[0], (list, tuple)) else [given]:
                    for place, sample in zip(places, samples, strict=True):
                        set_known_labels(sample, rules(items[place]))
            samples = inferencer.forward(batch, **forward)
            for place, sample in zip(places, samples, strict=True):
                found[place] = sample
            for place in (places[index] for index in unscored(samples)):
                found[place] = f'{path_of(items[place]) or "a picture"}: {scores_problem(found[place])}'
        yield items, found


def result_of(picture: Any, sample: DataSample | str, classes: Sequence[str] | None) -> dict:
    """What the inferencer returns of a picture, of its data sample or of why there is none."""
    result = dict(name=name_of(picture), path=path_of(picture))
    if isinstance(picture, Frame):
        result['time'] = picture.time
    if isinstance(sample, str):
        return dict(result, error=sample)
    scores = sample.pred_score.cpu()
    labels = best_first(scores, sample.pred_label.cpu()).tolist()
    result.update(pred_labels=labels, pred_scores=scores.float().numpy())
    if classes is not None:
        result['pred_classes'] = [classes[label] for label in labels]
    for field in (field for field in EVIDENCE_FIELDS if field in sample):
        value = sample.get(field)
        result[field] = [as_array(v) for v in value] if isinstance(value, list) else as_array(value)
    return result


@contextmanager
def knowing(
    inferencer: ImageClassificationInferencer,
    constraints: Any,
    threshold: Any = None,
    topk: int | None = None,
    **_: Any,
) -> Iterator[KnownLabels | None]:
    """Let the model know ``constraints``, which :func:`rules_of` takes apart, for a while; None are none.

    Raises:
        UserError: If the model takes none, or there are other rules for its labels.
    """
    if constraints is None:
        yield None
        return
    if threshold is not None or topk is not None:
        raise UserError(
            'threshold and topk take labels one by one and keep to no constraints: leave either of them out'
        )
    with constrained(inferencer.model, constraints, inferencer.classes) as known:
        yield known


def rules_of(known: KnownLabels, files: Iterable[str]) -> Callable[[Any], LabelRules]:
    """What is known of each picture; of one that is no file of ``files``, what holds for all pictures."""
    pictures, unused = known.match(files)
    if unused:
        warnings.warn(unused, stacklevel=3)
    return lambda item: pictures.get(path_of(item), known.rules)


def evidence_of(model: nn.Module) -> tuple[bool, bool]:
    """Whether the head, or the model without one, tells where it looked, and whether the backbone has soft masks."""
    predictor = getattr(model, 'head', model)
    tells = 'with_evidence' in inspect.signature(predictor.predict).parameters
    return tells, bool(backbone_masks(model))


def label_thresholds(
    inferencer: ImageClassificationInferencer, threshold: float | None, topk: int | None
) -> list[float] | None:
    """The score from which on each of C classes is predicted; None where another rule decides.

    Args:
        inferencer (MultiLabelInferencer): Whose stored decision counts, or else the rule of its head.
        threshold (float, optional): For all classes, in its place.
        topk (int, optional): Without a threshold it decides alone.
    """
    if threshold is not None:
        return [float(threshold)] * inferencer.num_classes
    if topk is not None:
        return None
    if inferencer.decision is not None:
        # Without thresholds the head's own rule decides on scores that are not those of the results.
        return list(inferencer.decision.thresholds) or None
    head = deciding_head(head_of(inferencer.model))
    decoding = getattr(head, 'decoding', None)
    if decoding is not None:
        own = decoding.thr if decoding.set_from == 'marginal' else None
    else:
        own = head.thr if isinstance(head, MultiLabelClsHead) else None
    return None if own is None else [float(own)] * inferencer.num_classes


def fingerprints(
    inferencer: ImageClassificationInferencer, constraints: Path | None = None
) -> dict[str, str]:
    """Checksums of all that predictions come from besides the options: weights, model, pipeline, constraints."""
    cfg, decision = inferencer.config, inferencer.decision
    parts = dict(
        model=[cfg.model, cfg.get('data_preprocessor')],
        pipeline=cfg.test_dataloader.dataset.pipeline,
        calibration=None if decision is None else [decision.scale, decision.shift],
        constraints=None if constraints is None else constraints.read_bytes(),
    )
    found = {name: hashlib.sha256(repr(part).encode()).hexdigest() for name, part in parts.items()}
    return dict(found, weights=digest(inferencer.model.state_dict()))
