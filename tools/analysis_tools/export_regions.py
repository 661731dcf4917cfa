"""Write where a model saw each class as pseudo boxes in COCO's format, to train or compare a detector with.

One box for each label that the model predicts (or, with --labels gt, that the data set tells), in pixels of the
original picture, and its score: the region with the label's highest score, or the box round the largest connected
part of its attention map. Pictures pass through the test pipeline of the config, which must show them whole.

python tools/analysis_tools/export_regions.py CONFIG CHECKPOINT --out pseudo.json --split train --labels gt
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmpretrain.structures import DataSample

from mmlattn.apis import MultiLabelInferencer
from mmlattn.apis.tested import batches_of, split_dataset
from mmlattn.datasets import COCOMultiLabel
from mmlattn.datasets.annotation_files import is_whole, load_json
from mmlattn.evaluation.functional.localization import seen_in
from mmlattn.structures.evidence import EVIDENCE_KINDS, read_places
from mmlattn.structures.frames import check_frame
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_missing_data, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_trust, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument('--out', type=Path, required=True, help='the file to write, .json')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='test', help='default test')
    parser.add_argument(
        '--labels',
        choices=['pred', 'gt'],
        default='pred',
        help='box the labels that the model predicts (default) or those of the data set',
    )
    parser.add_argument(
        '--threshold',
        type=float,
        help="box labels from this score on; default: the model's own decision, or all gt",
    )
    parser.add_argument(
        '--evidence', choices=EVIDENCE_KINDS, default='auto', help='what to read; default what there is'
    )
    parser.add_argument(
        '--map-threshold', type=float, default=0.2, help="share of an attention map's maximum; default 0.2"
    )
    parser.add_argument('--device', default='cpu')
    add_trust(parser)
    parser.add_argument('--batch-size', type=int, help="default: test_dataloader's")
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.out.suffix != '.json':
        parser.error(f'--out must end in .json, got {args.out}')
    if args.out.exists():
        parser.error(f'--out {args.out} exists already: give another name, or remove it')
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        parser.error(f'--threshold must lie in [0, 1], got {args.threshold}')
    if args.batch_size is not None and args.batch_size < 1:
        parser.error(f'--batch-size must be at least 1, got {args.batch_size}')
    if not 0 < args.map_threshold <= 1:
        parser.error(f'--map-threshold must be above 0 and at most 1, got {args.map_threshold}')
    return args


def build_dataset(cfg: Config, split: str) -> BaseDataset:
    """The data set of a split with the test pipeline.

    Raises:
        UserError: If there is none, it wraps another one, or it has no files or no names of classes.
    """
    dataset = split_dataset(cfg, split)
    if not dataset.metainfo.get('classes') or 'img_path' not in dataset.get_data_info(0):
        raise UserError(
            f'{type(dataset).__name__} has no picture files or no names of classes, both of which the export names'
        )
    return dataset


def category_ids(dataset: BaseDataset) -> list[int]:
    """Id of each class: that of the json which the data set read, else 1 to C."""
    classes = dataset.metainfo['classes']
    if not isinstance(dataset, COCOMultiLabel):
        return list(range(1, len(classes) + 1))
    categories = load_json(dataset.ann_file, dict(categories=list))['categories']
    ids = {category['name']: category['id'] for category in categories}
    return [ids[name] for name in classes]


def predictions(
    inferencer: MultiLabelInferencer, dataset: BaseDataset, cfg: Config, threshold: float | None
) -> Iterator[DataSample]:
    """Run the model.

    Yields:
        DataSample: One for each item, in order, with evidence.

    Raises:
        UserError: If pictures of one batch differ in size; padding would move the evidence.
    """
    loading = cfg.test_dataloader
    for batch in batches_of(dataset, loading.get('batch_size', 1), 'looking', loading.get('num_workers', 0)):
        for sample in batch['data_samples']:
            sample.pop('gt_label', None)  # or one-hot targets for another number of classes would end it here
        yield from inferencer.forward(batch, with_evidence=True, threshold=threshold)


def pixel_boxes(sample: DataSample, labels: Sequence[int], args: argparse.Namespace) -> list[tuple]:
    """Where the sample's model saw labels.

    Returns:
        list[tuple]: (label, [x, y, width, height], score) of each that was seen anywhere, the box in hundredths of a
        pixel of the original picture.
    """
    check_frame(sample)
    seen = seen_in(read_places(sample, args.evidence), args.map_threshold)
    size = np.tile(sample.ori_shape[1::-1], 2)
    scores = sample.pred_score.tolist()
    found = []
    for label in labels:
        box = seen.box(label)
        if box is None or (args.threshold is not None and scores[label] < args.threshold):
            continue
        left, top, right, bottom = (box * size).tolist()
        found.append((label, [round(v, 2) for v in (left, top, right - left, bottom - top)], scores[label]))
    return found


def export(dataset: BaseDataset, samples: Iterator[DataSample], args: argparse.Namespace) -> dict:
    """The content of the file.

    Raises:
        UserError: If the model has another number of classes than the data set, or labels are asked for that the data
            set does not have.
    """
    classes, ids = dataset.metainfo['classes'], category_ids(dataset)
    images, annotations = [], []
    for index, sample in enumerate(samples):
        info = dataset.get_data_info(index)
        if len(sample.pred_score) != len(classes):
            raise UserError(
                f'the model scores {len(sample.pred_score)} classes but the data set has {len(classes)}: set '
                'num_classes of model.head to the number of classes, or choose metainfo.classes of the data set'
            )
        labels = sample.pred_label if args.labels == 'pred' else info.get('gt_label')
        if labels is None:
            raise UserError(f'{info["img_path"]} has no labels in the data set: use --labels pred')
        image_id = info['img_id'] if is_whole(info.get('img_id')) else index + 1
        height, width = sample.ori_shape[:2]
        path, folder = info['img_path'], dataset.img_prefix
        name = os.path.relpath(path, folder) if folder else path
        images.append(dict(id=image_id, file_name=name, width=width, height=height))
        for label, box, score in pixel_boxes(sample, np.atleast_1d(labels).tolist(), args):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=ids[label],
                    bbox=box,
                    area=round(box[2] * box[3], 2),
                    iscrowd=0,
                    score=score,
                )
            )
    categories = [dict(id=identity, name=name) for identity, name in zip(ids, classes, strict=True)]
    return dict(images=images, annotations=annotations, categories=categories)


def main() -> None:
    """Export."""
    args = parse_args()
    cfg = read_config(args)
    if cfg.get('default_scope', 'mmpretrain') != 'mmpretrain':
        raise UserError(
            f'{args.config} is no config of a classifier, so there are no labels to find boxes for'
        )
    if args.batch_size:
        cfg.test_dataloader.batch_size = args.batch_size
    with explain_missing_data(cfg, [args.split]):
        dataset = build_dataset(cfg, args.split)
    inferencer = MultiLabelInferencer(
        cfg, args.checkpoint, device=args.device, trust_checkpoint=args.trust_checkpoint
    )
    threshold = args.threshold if args.labels == 'pred' else None
    content = export(dataset, predictions(inferencer, dataset, cfg, threshold), args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open('x', encoding='utf-8') as file:
        file.write(to_json(content))
    print(f'{len(content["annotations"])} boxes of {len(content["images"])} pictures written to {args.out}')


if __name__ == '__main__':
    run_tool(main)
