"""A linear classifier of its own for each query."""

import torch
from torch import Tensor, nn

from .precision import full_precision, widen


class GroupLinear(nn.Module):
    """Logits of C classes from K <= C decoded queries: query k speaks for the classes k g ... k g + g - 1.

        s_c = W_kj . h_k + b_c,    k = floor(c / g),  j = c mod g,  g = ceil(C / K)

    With K = C it is one row for each class. The last K g - C columns of W stand for no class and are cut off; where K
    is so large that g (K - 1) >= C, the last queries speak for none at all.

    Args:
        num_classes (int): C.
        num_queries (int): K.
        dims (int): d, width of h.
    """

    def __init__(self, num_classes: int, num_queries: int, dims: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.group_size = -(-num_classes // num_queries)
        self.weight = nn.Parameter(torch.empty(num_queries, dims, self.group_size))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        bound = dims**-0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, h: Tensor) -> Tensor:
        """From h (B, K, d) to (B, C), float32 also under autocast."""
        with full_precision(h):
            scores = torch.bmm(widen(h).transpose(0, 1), widen(self.weight)).transpose(0, 1)  # (B, K, g)
            return scores.flatten(1)[:, : self.num_classes] + widen(self.bias)

    def of_classes(self, x: Tensor) -> Tensor:
        """What belongs to each class, (B, C, ...), of what belongs to its query, (B, K, ...)."""
        return x.repeat_interleave(self.group_size, dim=1)[:, : self.num_classes]
