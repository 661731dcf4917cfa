"""Heads whose queries look at the map, each for one class or for a group of them."""

from abc import abstractmethod

from torch import Tensor, nn

from .multi_label import MultiLabelHead


class QueryHead(MultiLabelHead):
    """A multi-label head with K queries; a subclass has :attr:`network`. Arguments are those of ``MultiLabelHead``.

    The evidence is where the query that speaks for the class looked: classes of one group have one map.
    """

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """What holds the equations.

        ``decode(x, with_maps)`` gives what each query found in a map (B, D, h, w), (B, K, d), and if asked for where
        it looked, (B, K, h * w); ``classify`` is the ``GroupLinear`` that scores what was found.
        """

    def pre_logits(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """What each query found, (B, K, d)."""
        return self.network.decode(self.feature_map(feats))[0]

    def predict_tensors(
        self, feats: tuple[Tensor] | Tensor, with_evidence: bool = False
    ) -> dict[str, Tensor]:
        """``logits`` (B, C), and if asked for ``attention_maps`` (B, C, h, w) of each class's query."""
        x = self.feature_map(feats)
        decoded, maps = self.network.decode(x, with_evidence)
        found = dict(logits=self.network.classify(decoded))
        if with_evidence:
            found['attention_maps'] = self.network.classify.of_classes(maps).unflatten(-1, x.shape[-2:])
        return found
