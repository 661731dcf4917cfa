"""Make a checkpoint of a head that compare_heads.py trained: its weights, and those of its frozen backbone.

    python tools/model_converters/complete_weights.py CONFIG work_dirs/NAME/runs/HEAD/lr0.001_seed0/weights.pth DST

The config is that of the head; the backbone comes from its model.backbone.init_cfg. The checkpoint is then like any
other: for tools/test.py, tune_thresholds.py, tune_csra.py, MultiLabelInferencer and the rest.
"""

import argparse

from mmlattn.utils.arguments import refuse_existing, refuse_npz
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_missing_data, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_conversion, add_trust, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='of the head, with its backbone and data')
    add_conversion(parser)
    add_trust(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> None:
    """Join and write."""
    args = parse_args()
    from mmlattn.utils.checkpoint.weight_files import write_weights

    refuse_existing('DST', args.dst)
    refuse_npz(args.dst)
    cfg = read_config(args)

    from mmengine.registry import DATASETS, init_default_scope
    from mmengine.runner import CheckpointLoader

    from mmlattn.apis.loading import build_model
    from mmlattn.comparison.features import build_extractor
    from mmlattn.utils.checkpoint.loading import safe_loading
    from mmlattn.utils.weights import load_all_weights

    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    with safe_loading(trust=args.trust_checkpoint):
        content = CheckpointLoader.load_checkpoint(str(args.src), map_location='cpu')
    state = content.get('state_dict', content)
    if any(name.startswith('backbone.') for name in state):
        raise UserError(
            f'{args.src} has a backbone already, so there is nothing to complete: use it as it is'
        )
    backbone = build_extractor(cfg).model.backbone.state_dict()
    model = build_model(cfg)
    joined = state | {f'backbone.{name}': value for name, value in backbone.items()}
    load_all_weights(model, joined, str(args.src))
    with explain_missing_data(cfg, ['test']):
        meta = DATASETS.build(cfg.test_dataloader.dataset).metainfo
    write_weights(args.dst, dict(state_dict=dict(model.state_dict()), meta=dict(dataset_meta=meta)))
    print(f'{args.dst} written')


if __name__ == '__main__':
    run_tool(main)
