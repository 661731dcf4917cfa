"""The files that PASCAL VOC's test server takes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmlattn.evaluation.functional.checks import check_results
from mmlattn.registry import METRICS
from mmlattn.utils.arguments import check_choice, check_folder
from mmlattn.utils.arrays import as_array
from mmlattn.utils.errors import UserError


@METRICS.register_module()
class VOCSubmission(BaseMetric):
    """Writes one file for each class, with a line ``<image id> <confidence>`` for each picture; measures nothing.

    The layout is that of the development kit of VOC 2012 (section 3.3), below ``out_dir``:
    ``results/VOC2012/Main/comp1_cls_test_car.txt``, to be packed as ``tar czf results.tgz results`` there. Needs
    ``pred_score`` (C,) of each sample, and its ``img_id``, or else takes the name of the picture's file without
    extension. Confidences are written with all their digits, since the server ranks by them. An unannotated test set
    is read by :class:`mmlattn.VOCBox`.

    Args:
        out_dir (str): Where to write. No file of this competition and image set may be there yet.
        year (str): The folder under ``results``.
        competition (str): 'comp1', trained on VOC's own training data alone, or 'comp2', on any other data too, as
            weights of ImageNet are.
        image_set (str): As in the names of the files.
        **kwargs: Of mmengine's ``BaseMetric``.

    Raises:
        UserError: If files are there already, before anything is computed; for scores that are not finite, a picture
            twice, or classes without names.
    """

    default_prefix = 'voc-submission'

    def __init__(
        self,
        out_dir: str,
        year: str = 'VOC2012',
        competition: str = 'comp1',
        image_set: str = 'test',
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        check_choice('competition', competition, ('comp1', 'comp2'))
        check_folder('out_dir', out_dir)
        self.folder = Path(out_dir, 'results', year, 'Main')
        self.start = f'{competition}_cls_{image_set}_'
        there = sorted(self.folder.glob(f'{self.start}*.txt'))
        if there:
            raise UserError(f'{there[0]} exists already; choose another out_dir of VOCSubmission')

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep (image id, scores) of each sample, the scores (C,) float32."""
        for sample in data_samples:
            if sample.get('pred_score') is None:
                raise UserError('a data sample has no pred_score: the head must predict scores of labels')
            name = sample.get('img_id') or Path(sample.get('img_path') or '').stem
            if not name:
                raise UserError(
                    'a data sample has neither img_id nor img_path: keep them in meta_keys of PackInputs'
                )
            scores = as_array(sample['pred_score']).astype(np.float32)
            if not np.isfinite(scores).all():
                raise UserError(f'the scores of {name} are not all finite, got {scores.tolist()[:5]} ...')
            self.results.append((str(name), scores))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Write the files, of the results of all processes; returns how many pictures they hold."""
        check_results(results)
        names, scores = [name for name, _ in results], np.stack([scores for _, scores in results])
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f'{twice} is predicted twice: list each picture once')
        classes = (self.dataset_meta or {}).get('classes') or ()
        if len(classes) != scores.shape[1]:
            raise UserError(
                f'the model scores {scores.shape[1]} classes but the data set names {len(classes)}: set num_classes '
                'of model.head and of data_preprocessor to the number of classes'
            )
        wrong = [name for name in classes if os.sep in name or name.split() != [name]]
        if wrong:
            raise UserError(f'{wrong[0]!r} can not be part of the name of a file: rename the class')
        self.folder.mkdir(parents=True, exist_ok=True)
        for column, name in enumerate(classes):
            with (self.folder / f'{self.start}{name}.txt').open('x', encoding='utf-8') as file:
                for image, score in zip(names, scores[:, column], strict=True):
                    file.write(f'{image} {np.format_float_positional(score, trim="0")}\n')
        print_log(f'wrote {len(classes)} files for {len(names)} pictures to {self.folder}', 'current')
        return dict(pictures=len(names))
