"""Scores that are numbers: a set of labels made of others means nothing."""

from collections.abc import Sequence

import torch
from mmpretrain.structures import DataSample

from mmlattn.utils.errors import UserError


def unscored(samples: Sequence[DataSample]) -> list[int]:
    """Which samples have a ``pred_score`` with anything in it but finite numbers; a GPU is waited for once."""
    scored = [i for i, sample in enumerate(samples) if sample.get('pred_score') is not None]
    if not scored:
        return []
    finite = torch.stack([samples[i].pred_score.isfinite().all() for i in scored]).tolist()
    return [i for i, sound in zip(scored, finite, strict=True) if not sound]


def scores_problem(sample: DataSample) -> str:
    """What is wrong with a sample of :func:`unscored`, and what to do."""
    score = sample.pred_score
    return (
        f'{int((~score.isfinite()).sum())} of {len(score)} scores are no finite numbers, so no label can be told: '
        'predict in full precision (without --amp and test_cfg.fp16), and look at the picture and at '
        'data_preprocessor.std'
    )


def check_scores(samples: Sequence[DataSample]) -> None:
    """Raises ``UserError`` for the first sample of :func:`unscored`, with its picture."""
    for index in unscored(samples):
        raise UserError(
            f'{samples[index].get("img_path", f"picture {index}")}: {scores_problem(samples[index])}'
        )
