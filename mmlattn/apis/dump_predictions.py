"""What a test run predicted as a table or json, as ``tools/predict.py`` writes it, with the true labels."""

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric

from mmlattn.structures.labels import best_first, listed_labels
from mmlattn.utils.arrays import as_array
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json

from .picture_files import name_of, path_of
from .prediction_files import distinct_names, picture_line, table_header, table_row


class DumpPredictions(BaseMetric):
    """Writes ``path``, ``labels``, ``truth`` and the scores of each picture, after the test.

    Args:
        out_file (str): Ends in ``.csv`` or ``.json``; it must not be there.
    """

    default_prefix = 'predictions'

    def __init__(self, out_file: str) -> None:
        super().__init__()
        self.out_file = out_file

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep what is written of a batch."""
        if any(sample.get('pred_score') is None for sample in data_samples):
            raise UserError(
                'these predictions have no pred_score for each class: write them to --out FILE.pkl'
            )
        classes = self._classes(len(data_samples[0]['pred_score']))
        for sample, labels in zip(data_samples, listed_labels(data_samples, field='pred_label'), strict=True):
            path, scores = sample.get('img_path'), torch.as_tensor(sample['pred_score']).cpu()
            result = dict(
                name=name_of(path),
                path=path_of(path),
                pred_labels=best_first(scores, labels.cpu()).tolist(),
                pred_scores=as_array(scores),
            )
            line = picture_line(result, classes, None)
            if sample.get('gt_label') is not None:
                line['truth'] = [classes[n] for n in listed_labels([sample])[0].tolist()]
            self.results.append(line)

    def _classes(self, count: int) -> list[str]:
        """Of so many scores: the names of the data set, or numbers where it has others."""
        names = (self.dataset_meta or {}).get('classes') or ()
        return distinct_names(names if len(names) == count else list(map(str, range(count))))

    def compute_metrics(self, results: list[dict]) -> dict:
        """Write the file."""
        Path(self.out_file).parent.mkdir(parents=True, exist_ok=True)
        with open(self.out_file, 'x', encoding='utf-8', errors='surrogateescape', newline='') as file:
            if self.out_file.endswith('.json'):
                file.write(to_json(results, indent=1) + '\n')
                return {}
            table = csv.writer(file, lineterminator='\n')
            classes = list(results[0]['scores']) if results else []
            sets = ['labels', 'truth'] if all('truth' in line for line in results) else ['labels']
            table.writerow(table_header(classes, sets))
            table.writerows(table_row(line, classes, sets) for line in results)
        return {}
