"""How frequent each class is in the training data, for losses that weigh by it; ``LabelFrequencyHook`` counts."""

import torch
from torch import Tensor, nn

from mmlattn.utils.errors import UserError


class ClassCounts(nn.Module):
    """Pictures that have each of C classes, and pictures of which that is known.

    Counts are a buffer, (2, C) of whole numbers and -1 until known, so a checkpoint holds them: a run that resumes,
    maybe beside other data, goes on with the same weights. A state dict without counts leaves those that are there;
    one of another number of classes belongs to other data.
    """

    def __init__(self) -> None:
        super().__init__()
        # Its size is known when the head around the loss is.
        self.register_buffer('counts', torch.empty(2, 0, dtype=torch.long))
        self.counted = False

    def reserve(self, num_classes: int) -> None:
        """Give the buffer its size before others, such as an average of the weights, copy it.

        Counts of another number of classes belong to other data and are dropped.
        """
        if self.counts.shape[1] != num_classes:
            self.counts = self.counts.new_full((2, num_classes), -1)
            self.counted = False

    def set_counts(self, counts: Tensor) -> None:
        """Take over ``present`` and ``known``, (2, C)."""
        self.reserve(counts.shape[1])
        self.counts.copy_(counts)
        self.counted = True

    def read(self, scores: Tensor, loss: str) -> Tensor:
        """The counts (2, C) beside the scores (..., C) of the loss of that name.

        Raises:
            UserError: If nobody has counted, or another number of classes.
        """
        if not self.counted:
            raise UserError(
                f'{loss} weighs classes by how frequent they are, which nobody has counted yet: add '
                "custom_hooks=[..., dict(type='mmlattn.LabelFrequencyHook')] to the config"
            )
        if self.counts.shape[1] != scores.shape[-1]:
            raise UserError(
                f'{loss} has counts of {self.counts.shape[1]} classes, the head scores {scores.shape[-1]}: the '
                'weights are of another head'
            )
        return self.counts.to(scores.device)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        stored = state_dict.get(f'{prefix}counts')
        if stored is not None and self.counts.shape[1] == 0:
            self.reserve(stored.shape[-1])
        if stored is None or stored.shape != self.counts.shape:
            state_dict[f'{prefix}counts'] = self.counts
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.counted = self.counts.numel() > 0 and not self.counts.is_meta and bool((self.counts >= 0).all())


def balanced_pos_weight(counts: Tensor, most: float) -> Tensor:
    """Known pictures without a class for each one with it, (C,), from 1 / ``most`` to ``most``.

    Present and absent labels of a class then weigh the same in all. Without the cap the few pictures of a rare class
    would decide the step that they are in.
    """
    present, known = counts.double()
    return ((known - present) / present.clamp(min=1)).clamp(1 / most, most).float()
