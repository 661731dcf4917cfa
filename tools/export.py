"""Export a trained classifier to one file that stands alone: ONNX, a program of PyTorch, or OpenVINO.

python tools/export.py CONFIG CHECKPOINT --out model.onnx
python tools/export.py CONFIG CHECKPOINT --format torch --out model.pt2
python tools/export.py CONFIG CHECKPOINT --out model.onnx --with-evidence --with-preprocessing nhwc --dynamic-size

The file is compared with the model before it gets its name; where it says something else there is no file, and the
exit status is 1. Names of the classes, thresholds and all else that is needed to use it are in it: docs/export.md.
"""

import argparse
from pathlib import Path

from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_decision, add_trust, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='path of the config file, or name of one of ours')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument(
        '--format',
        choices=['onnx', 'torch', 'openvino'],
        default='onnx',
        help='onnx (default, .onnx); torch, a program of torch.export (.pt2); openvino (.xml and .bin)',
    )
    parser.add_argument('--out', type=Path, required=True, help='file to write; it must not exist yet')
    parser.add_argument('--with-logits', action='store_true', help='give the raw scores too')
    parser.add_argument('--with-evidence', action='store_true', help='give where the model looked too')
    parser.add_argument(
        '--with-preprocessing',
        nargs='?',
        const='nhwc',
        choices=['nhwc', 'nchw'],
        metavar='LAYOUT',
        help='normalise in the file: it then takes uint8 RGB of the layout nhwc (default) or nchw',
    )
    parser.add_argument(
        '--dynamic-size', action='store_true', help='take pictures of any size, where the network can'
    )
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'), help='default: what the test pipeline makes'
    )
    parser.add_argument(
        '--half', action='store_true', help='compute in float16; input and outputs stay float32'
    )
    parser.add_argument('--int8', action='store_true', help='weights and activations of 8 bits, ONNX alone')
    parser.add_argument(
        '--calibrate', type=int, default=100, help='val pictures to find ranges on; default 100'
    )
    parser.add_argument(
        '--evaluate', type=int, default=500, help='test pictures to judge int8 on; default 500'
    )
    parser.add_argument('--opset', type=int, default=20, help='of ONNX; default 20')
    parser.add_argument('--check', type=int, default=16, help='pictures to compare on; default 16')
    parser.add_argument(
        '--pictures',
        nargs='+',
        default=[],
        help='files to compare on; default: of the test data set, else noise',
    )
    parser.add_argument(
        '--tolerance', type=float, help='largest difference; default 1e-4, with --half 0.03 of the scores'
    )
    parser.add_argument(
        '--classes', help='file with the name of each class, one a line; default: those stored'
    )
    add_decision(parser)
    add_trust(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> None:
    """Export."""
    args = parse_args()

    from mmlattn.utils.arguments import check_number, check_whole

    for flag, least in dict(check=1, calibrate=1, evaluate=1).items():
        check_whole(f'--{flag}', getattr(args, flag), least)
    for side in args.size or ():
        check_whole('--size', side, 1)
    for name, most in dict(tolerance=float('inf'), threshold=1).items():
        if getattr(args, name) is not None:
            check_number(f'--{name}', getattr(args, name), 0, most)
    cfg = read_config(args)

    from mmlattn.apis.exporting import ExportOptions, export_classifier

    options = ExportOptions(
        format=args.format,
        logits=args.with_logits,
        evidence=args.with_evidence,
        preprocessing=args.with_preprocessing,
        dynamic_size=args.dynamic_size,
        size=None if args.size is None else tuple(args.size),
        half=args.half,
        int8=args.int8,
        opset=args.opset,
        check=args.check,
        pictures=args.pictures,
        tolerance=args.tolerance,
        calibrate=args.calibrate,
        evaluate=args.evaluate,
        threshold=args.threshold,
        ignore_decision=args.ignore_decision,
        classes=args.classes,
        trust=args.trust_checkpoint,
    )
    export_classifier(cfg, args.checkpoint, args.out, options)


if __name__ == '__main__':
    run_tool(main)
