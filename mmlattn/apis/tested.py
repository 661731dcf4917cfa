"""A model on a split of a config, or predictions in a file: what was said of each picture, and each to look at."""

import copy
import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.structures import DataSample
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from mmlattn.datasets.unknown_labels import check_unknown_arrive
from mmlattn.datasets.unreadable_pictures import guard_pictures
from mmlattn.engine.hooks.class_names import compare_classes
from mmlattn.models.views.decision import deciding_head, head_of
from mmlattn.models.views.stored_decision import DECIDED
from mmlattn.structures.evidence import EVIDENCE_FIELDS, PLACES, read_places
from mmlattn.structures.frames import check_frame, keeps_frame
from mmlattn.structures.labels import check_sets, label_matrix, label_sets, listed_labels, selection_mask
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import dataset_of, type_name
from mmlattn.visualization.pages.findings import Tested

from .inferencer import MultiLabelInferencer
from .pictures import PictureReader, shown_picture
from .prediction_run import label_thresholds

_WRITE_ANEW = 'write it with tools/test.py CONFIG CHECKPOINT --out FILE.pkl'


def split_dataset(cfg: Config, split: str) -> BaseDataset:
    """The data set of a split with the test pipeline, which names the picture that it cannot read.

    Raises:
        UserError: If there is none, or it wraps others, whose pipelines are their own.
    """
    found = [dataset_of(cfg, name) for name in (split, 'test')]
    for name, dataset in zip((split, 'test'), found, strict=True):
        if not dataset:
            raise UserError(f'the config has no {name}_dataloader.dataset')
    own, test = copy.deepcopy(found)
    if type_name(own) == 'SeededDataset':  # tools/train.py wraps it, and dumps the config so
        own = own.dataset
    if 'pipeline' not in own:
        raise UserError(
            f'{split}_dataloader.dataset is a {type_name(own)}, which has no pipeline of its own: give the data set '
            'inside'
        )
    own.pipeline = test.pipeline
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(own)
    guard_pictures(dataset, 'raise', training=False)
    return dataset


def batches_of(dataset: Dataset, batch_size: int, doing: str, workers: int = 0) -> Iterator[dict]:
    """Batches of a data set in its order, with a bar that says what is being done; ``workers`` are processes.

    Raises:
        UserError: If pictures of one batch differ in size.
    """
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=workers, collate_fn=pseudo_collate)
    for batch in track(loader, doing):
        if len({image.shape for image in batch['inputs']}) > 1:
            raise UserError(
                'the test pipeline makes pictures of several sizes, which fit into no batch: --batch-size 1'
            )
        yield batch


class ModelTest:
    """A model on a split.

    Args:
        cfg (Config): Of the model and its data.
        checkpoint (str): Path or URL of its weights.
        split (str): ``'train'``, ``'val'`` or ``'test'``; the test pipeline prepares its pictures.
        threshold (float, optional): For all classes, in the place of the model's rule or the stored decision.
        use_decision (bool): Whether a decision stored in the checkpoint counts.
        batch_size (int, optional): That of the test loader by default.
        device (str): Where to run.
        trust (bool): Open a checkpoint that can run code.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: str,
        split: str = 'test',
        *,
        threshold: float | None = None,
        use_decision: bool = True,
        batch_size: int | None = None,
        device: str = 'cpu',
        trust: bool = False,
    ) -> None:
        self.dataset = split_dataset(cfg, split)
        check_unknown_arrive(self.dataset, f'the {split} data set with the test pipeline')
        self.loading = cfg.get('test_dataloader') or {}
        self.batch_size, self.threshold = batch_size or self.loading.get('batch_size', 1), threshold
        self.inferencer = MultiLabelInferencer(
            cfg, checkpoint, device=device, trust_checkpoint=trust, use_decision=use_decision
        )
        self.head = deciding_head(head_of(self.inferencer.model))
        if threshold is not None and not (
            isinstance(self.head, MultiLabelClsHead) or hasattr(self.head, 'select')
        ):
            raise UserError(
                f'{type(self.head).__name__} gives each picture its best class: leave --threshold out'
            )
        self.no_evidence = ''

    @property
    def rule(self) -> str:
        """How labels are decided, in one line."""
        decision = self.inferencer.decision
        if self.threshold is not None:
            scores = ', calibrated scores' if decision is not None else ''
            return f'a score of at least {self.threshold:g}, given for all classes{scores}'
        if decision is not None:
            return f'the decision stored in the checkpoint: {decision.summary()}'
        return own_rule(self.head)

    @property
    def thresholds(self) -> Sequence[float] | None:
        """Of the classes, where labels are predicted by such and nothing else."""
        return label_thresholds(self.inferencer, self.threshold, None)

    def run(self) -> Tested:
        """Test; raises ``UserError`` for pictures that make no batch, or where classes differ."""
        classes, samples = (self.dataset.metainfo or {}).get('classes'), []
        outputs = getattr(head_of(self.inferencer.model), 'num_classes', None)
        if classes is not None and outputs not in (None, len(classes)):
            raise UserError(
                f'the model scores {outputs} classes but the data set has {len(classes)}: set num_classes of '
                'model.head to the number of classes, or choose metainfo.classes of the data set'
            )
        if classes is not None and self.inferencer.classes is not None:
            compare_classes(self.inferencer.classes, classes, 'the checkpoint', 'the data set')
        workers = self.loading.get('num_workers', 0)
        for batch in batches_of(self.dataset, self.batch_size, 'testing', workers):
            samples += self.inferencer.forward(batch, with_evidence=False, threshold=self.threshold)
        return tested_samples(samples, classes or self.inferencer.classes)

    def look(self, number: int, evidence: bool) -> tuple[np.ndarray, DataSample | None]:
        """A picture in RGB and, with ``evidence``, its sample with what the model can tell.

        The picture is the original where the network saw all of it, else what the network saw, so that evidence lies
        where it was.
        """
        item, reader = self.dataset[number], self.inferencer.pipeline
        sample = self._predict(item) if evidence else None
        path = item['data_samples'].get('img_path')
        if path is not None and (not evidence or keeps_frame(sample)):
            return reader.shown(path), sample
        to_rgb = getattr(self.inferencer.model.data_preprocessor, 'to_rgb', False)
        return shown_picture(item['inputs'], reader, to_rgb), sample

    def _predict(self, item: dict) -> DataSample:
        batch = pseudo_collate([item])
        if not self.no_evidence:
            try:
                return self.inferencer.forward(batch, with_evidence=True, threshold=self.threshold)[0]
            except UserError as error:
                if 'with_evidence' not in str(error):
                    raise
                self.no_evidence = (
                    f'{type(self.head).__name__} cannot tell where it looked, so nothing is drawn'
                )
        return self.inferencer.forward(batch, with_evidence=False, threshold=self.threshold)[0]


class FileTest:
    """Predictions in a file.

    Args:
        cfg (Config): Whose test data set has the names of the classes, and whose pipeline loads the pictures.
        name (str): What messages call the file.
        samples (Sequence[dict]): What ``load_predictions`` read from it.
        threshold (float, optional): For all classes, in the place of the labels in the file.
    """

    def __init__(
        self, cfg: Config, name: str, samples: Sequence[dict], *, threshold: float | None = None
    ) -> None:
        self.name, self.samples, self.threshold = name, samples, threshold
        self.classes = (split_dataset(cfg, 'test').metainfo or {}).get('classes')
        self.reader = PictureReader(cfg)
        self.no_evidence = ''

    @property
    def rule(self) -> str:
        """How labels are decided, in one line."""
        if self.threshold is not None:
            return f'a score of at least {self.threshold:g}, given for all classes'
        decided = self.samples[0].get(DECIDED)
        return self.name + (f': {decided}' if isinstance(decided, str) else '')

    @property
    def thresholds(self) -> Sequence[float] | None:
        """Of the classes, if one is given: the file does not tell."""
        if self.threshold is None:
            return None
        return [self.threshold] * len(self.samples[0]['pred_score'])

    def run(self) -> Tested:
        """Read; raises ``UserError`` for what are no predictions of these classes."""
        for sample in self.samples:
            if not isinstance(sample.get('img_path'), str):
                raise UserError(
                    f'{self.name} has a prediction without img_path, the path of its picture: keep it in meta_keys '
                    'of PackInputs'
                )
            score, first = sample.get('pred_score'), self.samples[0].get('pred_score')
            if not torch.is_tensor(score) or score.dim() != 1 or len(score) != len(first):
                raise UserError(
                    f'{self.name}: pred_score of {sample["img_path"]} is no tensor with one score for each class: '
                    f'{_WRITE_ANEW}'
                )
        count = len(self.samples[0]['pred_score'])
        if self.classes is not None and len(self.classes) != count:
            raise UserError(
                f'{self.name} scores {count} classes and the test data set of the config has {len(self.classes)}: '
                'give the config that the predictions were made with'
            )
        tested = tested_samples(self.samples, self.classes)
        if self.threshold is None:
            return tested
        if tested.exclusive:
            raise UserError(
                f'{self.name} has one label for each picture, the best class: leave --threshold out'
            )
        predicted = selection_mask(torch.from_numpy(tested.scores), self.threshold).numpy()
        return Tested(tested.names, tested.classes, tested.scores, predicted, tested.targets)

    def look(self, number: int, evidence: bool) -> tuple[np.ndarray, DataSample | None]:
        """A picture in RGB and, with ``evidence``, its sample with what the file has."""
        found = self.samples[number]
        picture = self.reader.shown(found['img_path'])
        if not evidence:
            return picture, None
        sample = DataSample()
        for key, value in found.items():
            kind = 'data' if torch.is_tensor(value) or key in EVIDENCE_FIELDS else 'metainfo'
            sample.set_field(value, key, field_type=kind)
        told = [field for field in EVIDENCE_FIELDS if field in sample]
        if self.threshold is not None:
            sample.set_pred_label(selection_mask(sample.pred_score, self.threshold).nonzero()[:, 0])
        if not told:
            self.no_evidence = (
                f'{self.name} holds no evidence, so none is drawn: test with model.head.with_evidence=True, or give '
                'the checkpoint'
            )
        elif not keeps_frame(sample):
            try:
                check_frame(sample)
            except UserError as error:
                self.no_evidence = f'no evidence is drawn: {error}'
            for field in told:
                sample.pop(field)
        elif any(field in sample for field in PLACES):
            read_places(sample)
        return picture, sample


def tested_samples(samples: Sequence, classes: Sequence[str] | None) -> Tested:
    """Predictions with their truth, data samples or mappings, as arrays; classes without names go by number."""
    scores = torch.stack([sample.get('pred_score').detach().cpu().float() for sample in samples])
    count = scores.shape[1]
    predicted = listed_labels(samples, count, 'pred_label')
    targets = label_matrix(samples, count).cpu()
    check_sets(targets, 'the page of errors')
    return Tested(
        names=short_names([sample.get('img_path') or f'picture {n}' for n, sample in enumerate(samples)]),
        classes=tuple(classes or (f'class {c}' for c in range(count))),
        scores=scores.numpy(),
        predicted=label_sets((labels.tolist() for labels in predicted), count),
        targets=targets.numpy().astype(np.int8),
    )


def short_names(paths: Sequence[str]) -> list[str]:
    """Paths without the folders that all of them share."""
    folders = {os.path.dirname(path) for path in paths}
    try:
        shared = os.path.commonpath(folders)
    except ValueError:  # some are absolute
        return list(paths)
    return [os.path.relpath(path, shared) if shared else path for path in paths]


def own_rule(head: torch.nn.Module) -> str:
    """The rule by which a head decides, as far as it tells."""
    name = type(head).__name__
    if not (isinstance(head, MultiLabelClsHead) or hasattr(head, 'select')):
        return f'the best class: {name}'
    how = ''
    if getattr(head, 'thr', None) is not None:
        how = f', a score of at least {head.thr:g}'
    elif isinstance(getattr(head, 'topk', None), int):
        how = f', the {head.topk} best classes'
    return f"the head's own rule: {name}{how}"
