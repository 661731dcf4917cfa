"""The Query2Label head: from a backbone's features to the equations of ``transformer.py``."""

from mmlattn.models.heads.queries import QueryHead
from mmlattn.models.layers.transformer_blocks import check_widths
from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_whole
from mmlattn.utils.errors import UserError
from mmlattn.utils.stored_settings import StoredSettings

from .transformer import LabelTransformer


@MODELS.register_module()
class Query2LabelHead(StoredSettings, QueryHead):
    """Query2Label (Liu et al., 2021) as a multi-label head.

    It takes the last feature map of any backbone, so the model must not pool it: ``neck=None``. Sizes are those of
    the authors' ResNet-101 on COCO, a wide transformer of one encoder and two decoder layers. The evidence is the
    attention of each class's query in the last decoder layer, averaged over the heads of the attention.

    Args:
        num_classes (int): C.
        in_channels (int): D, channels of the feature map.
        embed_dims (int, optional): d, width of the transformer, a multiple of 4, to which a 1 x 1 convolution
            projects. By default the transformer is D wide and reads the map as it is, as the authors' code does.
        feedforward_dims (int): Width inside its feed-forward blocks.
        num_heads (int): Of its attention; stored with the weights.
        num_encoder_layers (int): Layers in which locations look at each other; 0 reads the map as it is.
        num_decoder_layers (int): Layers in which the queries look at the map.
        self_attention (bool): Whether the queries look at each other too, in each decoder layer but the first. The
            authors' code can, and leaves it out unless it is asked for.
        dropout (float): Of its blocks.
        loss (dict): Config of the loss; by default the asymmetric loss with the authors' settings for COCO.
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
        embed_dims: int | None = None,
        feedforward_dims: int = 8192,
        num_heads: int = 4,
        num_encoder_layers: int = 1,
        num_decoder_layers: int = 2,
        self_attention: bool = False,
        dropout: float = 0.1,
        loss: dict = dict(type='mmlattn.MaskedAsymmetricLoss', gamma_neg=2.0, constant_focus=True),  # noqa: B006
        **kwargs,
    ) -> None:
        super().__init__(num_classes, in_channels, loss=loss, **kwargs)
        width = in_channels if embed_dims is None else embed_dims
        check_widths(width, feedforward_dims, num_heads, dropout)
        check_whole('num_encoder_layers', num_encoder_layers, 0)
        check_whole('num_decoder_layers', num_decoder_layers, 1)
        if self_attention and num_decoder_layers < 2:
            raise UserError(
                f'self_attention=True with num_decoder_layers={num_decoder_layers}: queries have nothing to tell '
                'each other before the second layer, so set num_decoder_layers to 2 or more'
            )
        if width % 4:
            raise UserError(
                f'embed_dims={width} must be a multiple of 4, for sines and cosines of two axes: set it to one'
            )
        self.transformer = LabelTransformer(
            num_classes,
            in_channels,
            embed_dims,
            feedforward_dims,
            num_heads,
            num_encoder_layers,
            num_decoder_layers,
            self_attention,
            dropout,
        )
        self.store_settings(num_heads=num_heads)

    @property
    def network(self) -> LabelTransformer:
        """It has a query for each class."""
        return self.transformer
