"""How frequent each label is in the training data, for heads that put labels in order and losses that weigh them."""

from collections.abc import Iterator

from mmengine.dist import broadcast
from mmengine.hooks import Hook
from torch import Tensor, nn

from mmlattn.engine.label_counts import count_known_labels, count_labels
from mmlattn.models.losses.class_counts import ClassCounts
from mmlattn.registry import HOOKS
from mmlattn.utils.errors import UserError


@HOOKS.register_module()
class LabelFrequencyHook(Hook):
    """Counts the labels of the training data once, before training, for heads and losses that ask.

    * Any head in the model with ``needs_label_counts`` true, such as ``CNNRNNHead``: its ``set_label_counts(counts)``
      is called; it keeps its ranking (C,) in the buffer ``label_rank``, -1 until it knows.
    * Any loss with ``class_counts``, as ``MaskedBCELoss(pos_weight='balanced')`` and ``DistributionBalancedLoss``
      have: it gets how many pictures have each class, and of how many that is known. C is the ``num_classes`` of the
      module around it. What its weights come to is logged.

    A resumed run goes on with the counts it had, even if the data has changed since; those that came with pretrained
    weights (``load_from``, ``init_cfg``) belong to other data and are replaced.
    """

    # Before EMA copies the buffers, whose size is not known earlier.
    priority = 'VERY_HIGH'
    _resumed = False

    def before_run(self, runner) -> None:
        """Give the counts their size."""
        for _, loss, num_classes in _weighing_losses(runner.model):
            loss.class_counts.reserve(num_classes)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Tell a run that goes on from one that starts with someone's weights."""
        self._resumed = runner._resume

    def before_train(self, runner) -> None:
        """Count, and tell each head and each loss.

        Raises:
            UserError: If the training data cannot tell its labels, or has one that the head does not know.
        """
        for head in runner.model.modules():
            if not getattr(head, 'needs_label_counts', False):
                continue
            if self._resumed and (head.label_rank >= 0).all():
                continue
            counts = _agreed(count_labels(runner.train_dataloader.dataset, head.num_classes))
            head.set_label_counts(counts)
            runner.logger.info(_extremes(counts))
        for name, loss, num_classes in _weighing_losses(runner.model):
            if not (self._resumed and loss.class_counts.counted):
                counts = _agreed(count_known_labels(runner.train_dataloader.dataset, num_classes))
                loss.class_counts.set_counts(counts)
                runner.logger.info(_extremes(counts[0]))
            runner.logger.info(f'{type(loss).__name__} ({name}): {loss.describe_counts()}')


def _weighing_losses(model: nn.Module) -> Iterator[tuple[str, nn.Module, int]]:
    """Losses that weigh classes, with their names and numbers of classes."""
    modules = dict(model.named_modules())
    for name, loss in modules.items():
        if not isinstance(getattr(loss, 'class_counts', None), ClassCounts):
            continue
        parts = name.split('.')
        around = [modules['.'.join(parts[:end])] for end in range(len(parts) - 1, -1, -1)]
        sizes = [module.num_classes for module in around if getattr(module, 'num_classes', None)]
        if not sizes:
            raise UserError(
                f'{type(loss).__name__} ({name}) weighs classes, but no module around it has num_classes: set '
                'num_classes of model.head'
            )
        yield name, loss, sizes[0]


def _agreed(counts: Tensor) -> Tensor:
    """Every process counts, so that an error stops all of them; but one is right, where their data differs."""
    broadcast(counts)
    return counts


def _extremes(counts: Tensor) -> str:
    return (
        f'Labels of the training data: {int(counts.max())} images have label {int(counts.argmax())}, '
        f'the most frequent one, and {int(counts.min())} have label {int(counts.argmin())}'
    )
