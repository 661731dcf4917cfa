"""CSRA without training (paper, Figure 1), and the choice of lam for any CSRA model.

A linear classifier on average-pooled features is the base term of a CSRA head. Adding lam * att to it needs no
training, only a lam; base and att do not depend on it, so one pass over a validation set serves every lam.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.utils import track_iter_progress
from mmpretrain.models import GlobalAveragePooling, LinearClsHead, MultiLabelLinearClsHead
from mmpretrain.registry import MODELS
from torch import nn
from torch.utils.data import DataLoader

from mmlattn.evaluation.functional import average_precision
from mmlattn.models import CSRAHead, LinearMultiLabelHead
from mmlattn.models.csra.pooling import MAX_TEMPERATURE
from mmlattn.structures import check_sets, label_matrix
from mmlattn.utils.errors import UserError


class PooledTerms(NamedTuple):
    """What a lam search needs of a data set: M lists of temperatures, N images, C classes.

    The logits at lam = 0 (N, C), the attention term for each list of temperatures (M, N, C), and the targets (N, C),
    int8: 1 present, 0 absent, -1 ignored.
    """

    base: np.ndarray
    att: np.ndarray
    targets: np.ndarray


class LamSearch(NamedTuple):
    """mAP in [0, 1] for every list of temperatures and every lam, (M, L), and where it is best."""

    mean_ap: np.ndarray
    best_setting: int
    best_lam: float


def training_free_model(model_cfg: dict, temperature: float = MAX_TEMPERATURE, lam: float = 0.0) -> dict:
    """The config of an ``ImageClassifier`` with a CSRA head that loads the weights of its linear head.

    Args:
        model_cfg (dict): With ``GlobalAveragePooling`` and ``LinearMultiLabelHead``, ``MultiLabelLinearClsHead`` or
            ``LinearClsHead``; the first also without a neck.
        temperature (float): T of the one head; the paper's Figure 1 uses the maximum.
        lam (float): Weight of the attention term.

    Raises:
        UserError: If the head is not linear, or the neck is not global average pooling.
    """
    cfg = copy.deepcopy(model_cfg)
    head, neck = cfg['head'], cfg.get('neck') or dict(type=None)
    head_type, neck_type = (
        MODELS.get(part['type']) if isinstance(part['type'], str) else part['type'] for part in (head, neck)
    )
    ours = head_type is LinearMultiLabelHead and head.get('pool', 'avg') == 'avg'
    if not ours and head_type not in (LinearClsHead, MultiLabelLinearClsHead):
        raise UserError(
            "expected LinearMultiLabelHead with pool='avg', MultiLabelLinearClsHead or LinearClsHead, which are one "
            f'linear layer on averages, got {head}'
        )
    averages = ours and neck_type is None
    if not averages and (neck_type is not GlobalAveragePooling or neck.get('dim', 2) != 2):
        raise UserError(
            f'expected the neck GlobalAveragePooling(), whose average is the base term, got {neck}'
        )
    kept = ['num_classes', 'in_channels']
    # The loss and topk of LinearClsHead are for a single label.
    kept += ['loss', 'thr', 'topk'] if head_type is not LinearClsHead else []
    kept += ['unknown', 'num_extra_tokens', 'token_grid', 'with_evidence'] if ours else []
    csra = dict(lam=lam, temperatures=[temperature], normalize=False, bias=True)
    cfg['neck'] = None
    cfg['head'] = dict(type='mmlattn.CSRAHead', **{key: head[key] for key in kept if key in head}, **csra)
    return cfg


@torch.no_grad()
def collect_terms(model: nn.Module, loader: DataLoader, settings: Sequence[Sequence[float]]) -> PooledTerms:
    """Run a model with a ``CSRAHead`` over validation batches once and keep both terms of its logits.

    ``settings`` are lists of temperatures to try, one temperature per head.

    Raises:
        UserError: If the head is no ``CSRAHead``, or a label is soft.
    """
    if not isinstance(model.head, CSRAHead):
        raise UserError(f'expected a model with a CSRAHead, got {type(model.head).__name__}')
    model.eval()
    bases, atts, targets = [], [], []
    for batch in track_iter_progress((loader, len(loader))):
        batch = model.data_preprocessor(batch, False)
        feats = model.extract_feat(batch['inputs'])
        terms = [model.head.pooled_terms(feats, temperatures) for temperatures in settings]
        bases.append(terms[0][0].float().cpu())
        atts.append(torch.stack([att for _, att in terms]).float().cpu())
        targets.append(label_matrix(batch['data_samples'], model.head.num_classes).cpu())
    targets = torch.cat(targets)
    check_sets(targets, 'the search for lam')
    return PooledTerms(torch.cat(bases).numpy(), torch.cat(atts, dim=1).numpy(), targets.char().numpy())


def search_lam(terms: PooledTerms, lams: Sequence[float]) -> LamSearch:
    """Mean AP of base + lam * att over a grid of ``lams``; classes without a positive are left out of the mean.

    Ties go to the first list of temperatures and the first lam, so list the plainest first.

    Raises:
        UserError: If no class has a positive.
    """
    present = (terms.targets == 1).any(axis=0)
    if not present.any():
        raise UserError('no class has a positive image in this data set, so there is no mAP to choose lam by')
    mean_ap = np.array(
        [
            [average_precision(terms.base + lam * att, terms.targets)[present].mean() for lam in lams]
            for att in terms.att
        ]
    )
    setting, index = np.unravel_index(mean_ap.argmax(), mean_ap.shape)
    return LamSearch(mean_ap, int(setting), float(lams[index]))
