"""The ML-Decoder head: from a backbone's features to the equations of ``decoder.py``."""

from mmlattn.models.heads.queries import QueryHead
from mmlattn.models.layers.transformer_blocks import check_widths
from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_whole
from mmlattn.utils.errors import UserError
from mmlattn.utils.stored_settings import StoredSettings

from .decoder import MLDecoder


@MODELS.register_module()
class MLDecoderHead(StoredSettings, QueryHead):
    """ML-Decoder (Ridnik et al., WACV 2023) as a multi-label head.

    It takes the last feature map of any backbone, so the model must not pool it: ``neck=None``. Sizes are the
    paper's. The evidence is the attention of the query that speaks for the class, averaged over the heads of the
    attention: classes of one group have one map.

    Args:
        num_classes (int): C.
        in_channels (int): D, channels of the feature map.
        num_groups (int, optional): K, how many queries share the classes, at most C; one for each class by default.
            Class c is read from query floor(c / ceil(C / K)).
        embed_dims (int): d, width of the decoder.
        feedforward_dims (int): Width inside its feed-forward block.
        num_heads (int): Of its attention; stored with the weights.
        dropout (float): Of its blocks.
        learnable_queries (bool): Whether the queries are learnt; the paper keeps the random ones.
        loss (dict): Config of the loss; by default the asymmetric loss of the authors' recipe, summed over classes
            and averaged over pictures, where they sum over both.
        **kwargs: ``thr``, ``topk``, ``with_evidence``, ``unknown``, ``num_extra_tokens``, ``token_grid`` and
            ``init_cfg`` of :class:`mmlattn.models.heads.multi_label.MultiLabelHead`.

    Raises:
        UserError: For an impossible combination of arguments, a feature map that cannot be read, or on loading
            weights that were trained with another number of heads.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        num_groups: int | None = None,
        embed_dims: int = 768,
        feedforward_dims: int = 2048,
        num_heads: int = 8,
        dropout: float = 0.1,
        learnable_queries: bool = False,
        loss: dict = dict(type='mmlattn.MaskedAsymmetricLoss', gamma_neg=4.0, constant_focus=True),  # noqa: B006
        **kwargs,
    ) -> None:
        super().__init__(num_classes, in_channels, loss=loss, **kwargs)
        check_widths(embed_dims, feedforward_dims, num_heads, dropout)
        if num_groups is not None:
            check_whole('num_groups', num_groups, 1)
            if num_groups > num_classes:
                raise UserError(
                    f'num_groups={num_groups} queries can not share num_classes={num_classes}: set num_groups to at '
                    'most the number of classes, or leave it out for one query each'
                )
        self.decoder = MLDecoder(
            num_classes,
            num_groups or num_classes,
            in_channels,
            embed_dims,
            feedforward_dims,
            num_heads,
            dropout,
            learnable_queries,
        )
        self.store_settings(num_heads=num_heads)

    @property
    def network(self) -> MLDecoder:
        """Its queries stand for groups of classes."""
        return self.decoder
