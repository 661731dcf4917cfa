"""How frequent each label is in the training data, for heads that put labels in order."""

from collections import Counter

import torch
from mmengine.dataset import RepeatDataset
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from torch import Tensor
from torch.utils.data import ConcatDataset

from mmlattn.engine.reproducibility import SeededDataset
from mmlattn.registry import HOOKS
from mmlattn.utils.errors import UserError


@HOOKS.register_module()
class LabelFrequencyHook(Hook):
    """Counts the labels of the training data once, before training, for heads such as ``CNNRNNHead``.

    Finds any head in the model with ``needs_label_counts`` true and calls its ``set_label_counts(counts)``; it keeps
    its ranking (C,) in the buffer ``label_rank``, -1 until it knows. A resumed run goes on with the ranking it had,
    even if the data has changed since; one that came with pretrained weights (``load_from``, ``init_cfg``) belongs to
    other data and is replaced.
    """

    _resumed = False

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Tell a run that goes on from one that starts with someone's weights."""
        self._resumed = runner._resume

    def before_train(self, runner) -> None:
        """Count, and tell each head.

        Raises:
            UserError: If the training data cannot tell its labels, or has one that the head does not know.
        """
        for head in runner.model.modules():
            if not getattr(head, 'needs_label_counts', False):
                continue
            if self._resumed and (head.label_rank >= 0).all():
                continue
            # Every process counts, so that an error stops all of them; but one is right, where their data differs.
            counts = count_labels(runner.train_dataloader.dataset, head.num_classes)
            broadcast(counts)
            head.set_label_counts(counts)
            runner.logger.info(
                f'Labels of the training data: {int(counts.max())} images have label {int(counts.argmax())}, '
                f'the most frequent one, and {int(counts.min())} have label {int(counts.argmin())}'
            )


def count_labels(dataset, num_classes: int) -> Tensor:
    """Images with each of C labels, as often as an epoch shows them, (C,) long; a label listed twice counts once.

    The data set has ``get_cat_ids(index)``, as those of mmengine, mmpretrain and mmdet have, or is a
    ``ConcatDataset``, ``RepeatDataset`` or ``SeededDataset`` of such.

    Raises:
        UserError: If the data set cannot tell its labels, or has one outside of 0 to C - 1.
    """
    if isinstance(dataset, SeededDataset):
        return count_labels(dataset.dataset, num_classes)
    if isinstance(dataset, RepeatDataset):
        return dataset.times * count_labels(dataset.dataset, num_classes)
    if isinstance(dataset, ConcatDataset):
        return sum(count_labels(part, num_classes) for part in dataset.datasets)
    counts = Counter(label for index in range(len(dataset)) for label in _labels_of(dataset, index))
    unknown = [label for label in counts if not 0 <= label < num_classes]
    if unknown:
        raise UserError(
            f'{type(dataset).__name__} has images with label {unknown[0]}, but the head has num_classes='
            f'{num_classes}, labels 0 to {num_classes - 1}: set num_classes, or correct the annotations'
        )
    return torch.tensor([counts[label] for label in range(num_classes)])


def _labels_of(dataset, index: int) -> set[int]:
    try:
        return set(map(int, dataset.get_cat_ids(index)))
    except (AttributeError, KeyError, NotImplementedError, TypeError) as error:
        raise UserError(
            f'{type(dataset).__name__} cannot tell which labels its images have: get_cat_ids({index}) gives '
            f'{error!r}. Use a data set of labelled images such as mmpretrain.MultiLabelDataset, or give the head '
            'label_freq=[images with each label]'
        ) from error
