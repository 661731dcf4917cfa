"""The CSRA head: from a backbone's features to the equations of ``pooling.py``."""

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from mmlattn.models.heads.multi_label import MultiLabelHead
from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_number
from mmlattn.utils.errors import UserError
from mmlattn.utils.stored_settings import StoredSettings

from . import pooling
from .official_files import read_official_files
from .state_dicts import to_packed


@MODELS.register_module()
class CSRAHead(StoredSettings, MultiLabelHead):
    """Class-specific residual attention (ICCV 2021) as a multi-label head.

    It takes the last feature map of any backbone, so the model must not pool it: ``neck=None``, and where needed
    ViT/DINOv2 ``out_type='featmap'`` or ``'raw'``, ConvNeXt ``gap_before_final_norm=False``, timm
    ``features_only=True``. The arguments of mmpretrain's ``CSRAClsHead`` mean the same here, and its state dicts
    load, as do those that ``state_dicts.py`` lists; a classifier with this head loads the whole files of the authors,
    see ``official_files.py``. ``feats`` are the outputs of the backbone, of which the last is read: (B, D, h, w),
    (B, h, w, D) or (B, N, D).

    Args:
        num_classes (int): C.
        in_channels (int): D, channels of the feature map.
        num_heads (int, optional): H. Without ``temperatures`` one of 1, 2, 4, 6, 8, the paper's settings.
        lam (float): Weight of the attention term; 0 leaves a normalised linear classifier. It may be set later too.
        temperatures (Sequence[float], optional): One per head; 99 or ``float('inf')`` is the spatial maximum.
            Defaults to the paper's list for ``num_heads``.
        normalize (bool): Divide each classifier row by its norm, as the authors' code does.
        bias (bool): Add one bias per class to the logits. The paper has none.
        loss_reduction (str): 'sum_classes', as in mmpretrain: summed over classes, averaged over the batch; or
            'mean', as in the authors' code: averaged over both, unknown labels left out. They differ by the factor
            C, so a learning rate goes with one of them.
        num_extra_tokens (int): Leading tokens of a (B, N, D) input that are no patches: 1 for a class token, 2 for
            distilled DeiT.
        token_grid (tuple[int, int], optional): (h, w) of the patch tokens when they form no square.
        with_evidence (bool): Whether ``predict`` adds ``attention_maps``, shape (C, h, w), to each sample.
        loss, thr, topk: As for mmpretrain's ``MultiLabelClsHead``: a class is predicted where its score is at least
            ``thr``, 0.5 by default, or among the ``topk`` best.
        unknown (str): 'mask' leaves unknown labels out of the loss, 'negative' takes them for absent; see
            :func:`mmlattn.structures.labels.training_targets`.
        init_cfg (dict, optional): The rows start uniform in +-1/sqrt(D), PyTorch's default for a convolution; for
            another start name the head, as in ``dict(type='Normal', layer='CSRAHead', std=0.01)``.

    Raises:
        UserError: For an impossible combination of arguments, a feature map that cannot be read, or on loading
            weights that were trained with another lam, other temperatures or the other normalisation.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_heads: int | None = None,
        lam: float = 0.1,
        *,
        temperatures: Sequence[float] | None = None,
        normalize: bool = True,
        bias: bool = False,
        loss_reduction: str = 'sum_classes',
        num_extra_tokens: int = 0,
        token_grid: tuple[int, int] | None = None,
        with_evidence: bool = False,
        loss: dict = dict(type='mmpretrain.CrossEntropyLoss', use_sigmoid=True),  # noqa: B006
        thr: float | None = None,
        topk: int | None = None,
        unknown: str = 'mask',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            in_channels,
            loss=loss,
            thr=thr,
            topk=topk,
            with_evidence=with_evidence,
            unknown=unknown,
            num_extra_tokens=num_extra_tokens,
            token_grid=token_grid,
            init_cfg=init_cfg,
        )
        check_choice('loss_reduction', loss_reduction, ('sum_classes', 'mean'))
        check_number('lam', lam)
        temperatures = _resolve_temperatures(num_heads, temperatures)
        self.num_heads = len(temperatures)
        self.loss_reduction = loss_reduction
        self.weight = nn.Parameter(torch.empty(self.num_heads, num_classes, in_channels))
        self.bias = nn.Parameter(torch.zeros(num_classes)) if bias else None
        bound = in_channels**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        self.store_settings(lam=float(lam), temperatures=temperatures, normalize=bool(normalize))

    @property
    def lam(self) -> float:
        """Weight of the attention term; may be set, and is stored with the weights."""
        return self._settings['lam']

    @lam.setter
    def lam(self, value: float) -> None:
        check_number('lam', value)
        self.store_settings(**{**self._settings, 'lam': float(value)})

    @property
    def temperatures(self) -> tuple[float, ...]:
        """One per head, fixed."""
        return tuple(self._settings['temperatures'])

    @property
    def normalize(self) -> bool:
        """Whether the rows are normalised, fixed."""
        return self._settings['normalize']

    def pre_logits(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """The last feature map, as (B, D, h, w)."""
        return self.feature_map(feats)

    def pooled_terms(
        self, feats: tuple[Tensor] | Tensor, temperatures: Sequence[float] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The parts of the logits, base + lam * att, each (B, C); other temperatures than the head's may be tried."""
        if temperatures is not None:
            temperatures = _resolve_temperatures(self.num_heads, temperatures)
        scores = pooling.class_scores(self.pre_logits(feats), self.weight)
        base, att = pooling.pooled_terms(scores, temperatures or self.temperatures, self._scale())
        return base if self.bias is None else base + self.bias, att

    def predict_tensors(
        self, feats: tuple[Tensor] | Tensor, with_evidence: bool = False
    ) -> dict[str, Tensor]:
        """``logits`` (B, C), and if asked for ``attention_maps`` (B, C, h, w)."""
        x = self.pre_logits(feats)
        scores = pooling.class_scores(x, self.weight)
        found = dict(logits=self._logits(scores))
        if with_evidence:
            maps = pooling.attention_maps(scores, self.temperatures, self._scale())
            found['attention_maps'] = maps.unflatten(-1, x.shape[-2:])
        return found

    def _scale(self) -> Tensor | None:
        return pooling.inverse_norms(self.weight) if self.normalize else None

    def _logits(self, scores: Tensor) -> Tensor:
        logits = pooling.residual_attention(scores, self.temperatures, self.lam, self._scale())
        return logits if self.bias is None else logits + self.bias

    def _loss_of(self, cls_score: Tensor, target: Tensor, **kwargs) -> Tensor:
        loss = super()._loss_of(cls_score, target, **kwargs)
        if self.loss_reduction == 'mean':
            # The known labels of a picture, C where all are known; losses are averaged over the pictures already.
            loss = loss / (max(int((target >= 0).sum()), 1) / len(target))
        return loss

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        to_packed(state_dict, prefix, self)
        weight = state_dict.get(f'{prefix}weight')
        if weight is None or weight.shape[1:] != self.weight.shape[1:]:
            # Another number of classes, as in fine-tuning: the loader reports it, and its settings do not matter.
            state_dict.pop(f'{prefix}stored_settings', None)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _resolve_temperatures(num_heads: int | None, temperatures: Sequence[float] | None) -> tuple[float, ...]:
    listed = pooling.PAPER_TEMPERATURES
    if temperatures is None:
        if num_heads not in listed:
            raise UserError(
                f'num_heads must be one of {sorted(listed)}, for which the paper lists temperatures, got '
                f'{num_heads}; for another number give temperatures=[...]'
            )
        return listed[num_heads]
    numbers = isinstance(temperatures, Sequence) and all(isinstance(t, Real) and t >= 0 for t in temperatures)
    if not numbers or not temperatures:
        raise UserError(f'temperatures must be a non-empty list of numbers >= 0, got {temperatures!r}')
    temperatures = tuple(pooling.MAX_TEMPERATURE if t == math.inf else t for t in temperatures)
    if num_heads not in (None, len(temperatures)):
        raise UserError(f'num_heads={num_heads} but {len(temperatures)} temperatures were given')
    return temperatures


def _let_read_official_files(classifier: nn.Module, name: str, head: nn.Module) -> None:
    """A head sees no weights but its own, so the classifier that takes it in gets the reader of whole files."""
    if name == 'head' and isinstance(head, CSRAHead):
        classifier.register_load_state_dict_pre_hook(read_official_files)


register_module_module_registration_hook(_let_read_official_files)
