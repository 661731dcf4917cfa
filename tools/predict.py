"""Predict the labels of pictures, folders and videos into one table.

python tools/predict.py CONFIG CHECKPOINT pictures --out-dir predictions
python tools/predict.py CONFIG CHECKPOINT a.jpg 'more/**/*.png' list.txt clip.mp4 --fps 2 --out-dir predictions

DIR/predictions.csv has a row for each picture: its labels, and of each class the score and the threshold.
DIR/predictions.jsonl has the same as one json a line, and evidence on demand. Pictures that cannot be read are named
at the end and in DIR/failed.csv; the exit status is then 2. A run that was ended goes on with --resume.
"""

import argparse
import sys
from pathlib import Path

from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_config, run_tool
from mmlattn.utils.launch.flags import (
    add_cfg_options,
    add_decision,
    add_font,
    add_trust,
    add_tta,
    check_tta,
    make_parser,
)

#: So many pictures that could not be read are named on the terminal.
NAMED = 10


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='path of the config file, or name of one of ours')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help="pictures, videos, folders (at any depth), patterns such as 'shots/**/*.jpg', or a list FILE.txt with a "
        'path in each line',
    )
    parser.add_argument('--out-dir', type=Path, required=True, help='folder for the predictions')
    parser.add_argument('--resume', action='store_true', help='go on with the predictions in --out-dir')
    add_decision(parser)
    parser.add_argument('--topk', type=int, help='predict at most so many classes')
    parser.add_argument(
        '--constraints', type=Path, help='json of what is known of the labels, as for tools/test.py'
    )
    parser.add_argument(
        '--evidence', action='store_true', help='write where the model looked into predictions.jsonl'
    )
    parser.add_argument('--draw', action='store_true', help='draw labels and evidence into DIR/drawn')
    parser.add_argument('--fps', type=float, default=1.0, help='frames for each second of a video; default 1')
    parser.add_argument('--batch-size', type=int, default=32, help='pictures computed together; default 32')
    parser.add_argument('--workers', type=int, default=2, help='processes that load pictures; default 2')
    parser.add_argument(
        '--classes', help='file with the name of each class, one a line; default: those stored'
    )
    parser.add_argument('--device', help='where to compute; default: a GPU if there is one')
    add_tta(parser)
    add_font(parser)
    add_trust(parser)
    add_cfg_options(parser)
    args = parser.parse_args()
    check_tta(parser, args)
    return args


def check_args(args: argparse.Namespace) -> None:
    """Raises ``UserError`` for numbers that make no sense."""
    from mmlattn.utils.arguments import check_number, check_whole

    check_whole('--batch-size', args.batch_size, 1)
    check_whole('--workers', args.workers, 0)
    check_number('--fps', args.fps, least=1e-6)
    if args.threshold is not None:
        check_number('--threshold', args.threshold, 0, 1)
    if args.topk is not None:
        check_whole('--topk', args.topk, 1)
    if args.constraints and not args.constraints.is_file():
        raise UserError(f'there is no file --constraints {args.constraints}')


def predict(args: argparse.Namespace, inferencer, sources: list[str]) -> tuple[int, list[dict]]:
    """Write the folder; how many pictures were predicted, and the lines of those that could not be read."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mmlattn.apis.picture_files import read_sources
    from mmlattn.apis.prediction_files import PredictionFolder, distinct_names, drawing_places, picture_line
    from mmlattn.apis.prediction_loader import chunks_of
    from mmlattn.apis.prediction_run import (
        fingerprints,
        knowing,
        label_thresholds,
        predict_chunks,
        result_of,
        rules_of,
    )
    from mmlattn.apis.video_frames import expected_frames, is_video

    classes = distinct_names(inferencer.classes or [str(n) for n in range(inferencer.num_classes)])
    thresholds = label_thresholds(inferencer, args.threshold, args.topk)
    options = {
        name: getattr(args, name)
        for name in (
            'topk',
            'ignore_decision',
            'evidence',
            'fps',
            'batch_size',
            'tta',
            'tta_scales',
            'tta_crops',
        )
    }
    made_with = fingerprints(inferencer, args.constraints)
    folder = PredictionFolder(
        args.out_dir, dict(options, classes=classes, thresholds=thresholds, **made_with), args.resume
    )
    if args.resume:
        print(f'{len(folder.recorded)} pictures are in {args.out_dir}')
    place = drawing_places(args.out_dir / 'drawn', sources) if args.draw else None
    evidence = args.evidence or (args.draw and inferencer.can_tell)
    total = sum(expected_frames(file, args.fps) if is_video(file) else 1 for file in sources)
    bar = Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=None,
    )
    done, unread = len(folder.recorded), 0
    with bar, knowing(inferencer, args.constraints, args.threshold, args.topk) as known:
        task = bar.add_task('predicting', total=total, completed=done)
        batches = predict_chunks(
            inferencer,
            folder.remaining(chunks_of(read_sources(sources, args.fps), args.batch_size)),
            workers=args.workers,
            skip=True,
            rules=None if known is None else rules_of(known, sources),
            with_evidence=evidence,
            threshold=args.threshold,
            topk=args.topk,
        )
        try:
            for items, samples in batches:
                results = [result_of(*pair, inferencer.classes) for pair in zip(items, samples, strict=True)]
                if place is not None:
                    for item, sample in zip(items, samples, strict=True):
                        if not isinstance(sample, str):
                            file = place(item)
                            inferencer.draw(item, sample, out_file=str(file), name=file.stem)
                folder.append([picture_line(r, classes, thresholds, args.evidence) for r in results])
                done += len(items)
                unread += sum('error' in result for result in results)
                bar.update(
                    task, completed=done, description=f'predicting, {unread} unreadable' if unread else None
                )
        except KeyboardInterrupt as error:
            error.args = (f'{done} pictures are in {args.out_dir}: go on with --resume',)
            raise
    return folder.finish(classes, thresholds is not None)


def report(args: argparse.Namespace, predicted: int, failed: list[dict]) -> None:
    """Say what was written; end with status 2 if pictures could not be read."""
    from mmlattn.apis.prediction_files import FAILED, TABLE

    print(f'{predicted} pictures predicted: {args.out_dir / TABLE}')
    if failed:
        said = [line['error'] for line in failed[:NAMED]] + ['...'] * (len(failed) > NAMED)
        print(f'{len(failed)} could not be read: {args.out_dir / FAILED}', *said, sep='\n  ', file=sys.stderr)
        sys.exit(2)


def main() -> None:
    """Predict."""
    args = parse_args()
    check_args(args)
    from mmengine.device import get_device

    from mmlattn.apis import MultiLabelInferencer
    from mmlattn.apis.picture_files import find_sources
    from mmlattn.apis.prediction_files import check_out_dir
    from mmlattn.utils.memory import keep_freed_memory

    check_out_dir(args.out_dir, args.resume)
    sources = find_sources(args.inputs)
    cfg = read_config(args)
    device = args.device or get_device()
    if device == 'cpu':
        keep_freed_memory()
    with explain_config():
        inferencer = MultiLabelInferencer(
            cfg,
            args.checkpoint,
            device=device,
            classes=args.classes,
            trust_checkpoint=args.trust_checkpoint,
            use_decision=not args.ignore_decision,
            tta=args.tta and dict(scales=args.tta_scales, crops=args.tta_crops),
        )
    if args.draw:
        from mmlattn.visualization import EvidenceVisualizer

        inferencer.visualizer = EvidenceVisualizer('predict', font=args.font)
    report(args, *predict(args, inferencer, sources))


if __name__ == '__main__':
    run_tool(main)
