"""The picture at the end of the demo; called by run_demo.py."""

import argparse
from pathlib import Path

import mmcv
from mmengine.config import Config

__all__ = ['draw_gallery']


def draw_gallery(
    config: Path, checkpoint: Path, data_root: Path, out_file: Path, count: int, cell: int
) -> None:
    """Draw the first held-out pictures, not chosen ones, with what the model saw in them.

    Args:
        config (Path): Of the trained model.
        checkpoint (Path): Its weights.
        data_root (Path): Folder of the data set.
        out_file (Path): PNG to write.
        count (int): Pictures drawn.
        cell (int): Side of a cell, pixels.
    """
    from mmpretrain.registry import DATASETS

    from mmlattn.apis import MultiLabelInferencer
    from mmlattn.visualization import EvidenceVisualizer

    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.data_root = str(data_root)
    inferencer = MultiLabelInferencer(cfg, pretrained=str(checkpoint), device='cpu')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    count = min(count, len(dataset))
    paths = [dataset.get_data_info(index)['img_path'] for index in range(count)]
    samples = inferencer(paths, batch_size=count, with_evidence=True, return_datasamples=True)
    for index, sample in enumerate(samples):
        truth = dataset[index]['data_samples']
        sample.set_gt_label(truth.gt_label)
        for field in ('gt_boxes', 'gt_box_labels'):
            sample.set_field(truth.get(field), field)
    images = [mmcv.imread(path, channel_order='rgb') for path in paths]
    sheet = EvidenceVisualizer(max_classes=3).draw_sheet(
        images,
        samples,
        inferencer.classes,
        title='Held-out scenes: what CSRA found, and where it looked',
        columns=2,
        cell_size=cell,
    )
    mmcv.imwrite(sheet[..., ::-1], str(out_file))


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ('config', 'checkpoint', 'data_root', 'out_file'):
        parser.add_argument(name, type=Path)
    parser.add_argument('--count', type=int, required=True)
    parser.add_argument('--cell', type=int, required=True)
    draw_gallery(**vars(parser.parse_args()))


if __name__ == '__main__':
    main()
