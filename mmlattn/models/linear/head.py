"""The linear head that others are compared with: on pooled features, or at every location with the scores pooled."""

from torch import Tensor, nn

from mmlattn.models.heads.multi_label import MultiLabelHead
from mmlattn.models.layers.feature_layout import last_output
from mmlattn.models.layers.precision import widen
from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_number
from mmlattn.utils.errors import UserError
from mmlattn.utils.stored_settings import StoredSettings

from .pooling import POOLS, pool_scores, score_maps


@MODELS.register_module()
class LinearMultiLabelHead(StoredSettings, MultiLabelHead):
    """A linear classifier whose loss leaves unknown labels out, as our heads do.

    On pooled features (B, D) it is mmpretrain's ``MultiLabelLinearClsHead``, with the same weights under the same
    names; that one takes an unknown label for an absent one. It reads a feature map too (``neck=None``) and then
    pools the scores of all locations, see ``linear/pooling.py``. The evidence needs the map: it is the score map of
    each class, its lowest score moved to 0 and its sum to 1, whatever pools the scores.

    Args:
        num_classes (int): C.
        in_channels (int): D, of the features.
        pool (str): 'avg'; 'max'; or 'lse', the logarithm of the mean exponential. The latter two need the map.
        sharpness (float): r of 'lse', above 0; large is close to the maximum. Like ``pool`` it is stored with weights
            that were trained with another one than 'avg'.
        loss (dict): Config of the loss.
        **kwargs: ``thr``, ``topk``, ``with_evidence``, ``unknown``, ``num_extra_tokens``, ``token_grid`` and
            ``init_cfg`` of :class:`mmlattn.models.heads.multi_label.MultiLabelHead`. Weights start at N(0, 0.01).

    Raises:
        UserError: For an impossible argument, features that cannot be read, or on loading weights that were trained
            with another pooling.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss: dict = dict(type='mmpretrain.CrossEntropyLoss', use_sigmoid=True),  # noqa: B006
        unknown: str = 'mask',
        *,
        pool: str = 'avg',
        sharpness: float = 5.0,
        init_cfg: dict | None = dict(type='Normal', layer='Linear', std=0.01),  # noqa: B006
        **kwargs,
    ) -> None:
        super().__init__(num_classes, in_channels, loss=loss, unknown=unknown, init_cfg=init_cfg, **kwargs)
        check_choice('pool', pool, POOLS)
        check_number('sharpness', sharpness, least=0)
        if not sharpness:
            raise UserError("sharpness must be above 0, got 0: its limit at 0 is pool='avg'")
        self.pool, self.sharpness = pool, sharpness
        self.fc = nn.Linear(in_channels, num_classes)
        self.settings_travel = pool != 'avg'
        self.store_settings(pool=pool, **(dict(sharpness=float(sharpness)) if pool == 'lse' else {}))

    def pre_logits(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """What the classifier reads: pooled features (B, D), or those of all locations, (B, N, D)."""
        x = last_output(feats)
        if x.dim() == 2 and self.pool == 'avg':
            return x
        return self.feature_map(x).flatten(2).transpose(1, 2)

    def predict_tensors(
        self, feats: tuple[Tensor] | Tensor, with_evidence: bool = False
    ) -> dict[str, Tensor]:
        """``logits`` (B, C), and if asked for ``attention_maps`` (B, C, h, w), the score map of each class."""
        x = self.pre_logits(feats)
        scores = self.fc(x)
        if x.dim() == 2:
            if with_evidence:
                raise UserError(
                    'with_evidence=True, but pooled features do not tell where they were read: set neck=None, and '
                    'LinearMultiLabelHead averages by itself'
                )
            return dict(logits=widen(scores))
        found = dict(logits=pool_scores(scores, self.pool, self.sharpness))
        if with_evidence:
            found['attention_maps'] = score_maps(scores).unflatten(-1, self.feature_map(feats).shape[-2:])
        return found
