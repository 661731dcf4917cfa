"""Choose lam for a CSRA model, or give a trained linear classifier a CSRA head without training.

One pass over the validation set of the config; then every lam (and, for a linear model, every temperature) is
tried on what the pass kept. lam is chosen on that set, so let it not be the test set.
"""

import argparse
import math
from pathlib import Path

from mmlattn.utils.arguments import refuse_existing, refuse_npz
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import read_config, type_name
from mmlattn.utils.launch.explain import run_tool
from mmlattn.utils.launch.flags import add_cfg_options, add_trust, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='config with a CSRAHead, or with average pooling and a linear head')
    parser.add_argument('checkpoint', help='its trained weights')
    parser.add_argument('--lams', type=float, nargs='+', help='values to try; default 0, 0.05 ... 1')
    parser.add_argument(
        '--temperatures',
        type=float,
        nargs='+',
        default=[99, 1, 2, 4],
        help='values to try for a linear model; 99 is the maximum',
    )
    parser.add_argument('--out', help='checkpoint to write, with the best lam: .pth or .safetensors')
    add_cfg_options(parser)
    add_trust(parser)
    return parser.parse_args()


def main() -> None:
    """Search, print the table, write the checkpoint."""
    args = parse_args()
    if args.out:
        refuse_existing('--out', args.out)
        refuse_npz(args.out)

    import torch
    from mmengine.registry import init_default_scope
    from mmengine.runner import CheckpointLoader, Runner
    from mmpretrain.registry import MODELS

    from mmlattn.apis.training_free import collect_terms, search_lam, training_free_model
    from mmlattn.engine.hooks.class_names import compare_classes
    from mmlattn.utils.checkpoint.loading import use_safe_loading
    from mmlattn.utils.checkpoint.weight_files import write_weights
    from mmlattn.utils.stored_settings import encode_settings
    from mmlattn.utils.weights import load_all_weights

    cfg = read_config(args)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    use_safe_loading(trust=args.trust_checkpoint)

    is_csra = type_name(cfg.model.head).endswith('CSRAHead')
    model_cfg = cfg.model if is_csra else training_free_model(cfg.model)
    model_cfg.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    model = MODELS.build(model_cfg)
    checkpoint = CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')
    load_all_weights(model, checkpoint, args.checkpoint)
    model.to('cuda' if torch.cuda.is_available() else 'cpu')

    settings = [model.head.temperatures] if is_csra else [(t,) for t in args.temperatures]
    if args.lams and not all(map(math.isfinite, args.lams)):
        raise UserError(f'--lams must be finite numbers, got {args.lams}')
    lams = args.lams or [round(0.05 * i, 2) for i in range(21)]
    loader = Runner.build_dataloader(cfg.val_dataloader)
    stored = (checkpoint.get('meta') or {}).get('dataset_meta')
    meta = dict(dataset_meta=stored or loader.dataset.metainfo)
    classes = loader.dataset.metainfo['classes']
    compare_classes(meta['dataset_meta'].get('classes') or (), classes, 'the checkpoint', 'val_dataloader')
    if len(classes) != model.head.num_classes:
        raise UserError(f'the model has {model.head.num_classes} classes, val_dataloader has {len(classes)}')
    terms = collect_terms(model, loader, settings)
    found = search_lam(terms, lams)
    best = settings[found.best_setting]

    names = ['T=' + ','.join('max' if t == 99 else f'{t:g}' for t in setting) for setting in settings]
    print('\n\nmAP  lam  ' + ''.join(f'{name:>10}' for name in names))
    for lam, row in zip(lams, found.mean_ap.T, strict=True):
        print(f'{lam:8g}  ' + ''.join(f'{100 * ap:10.2f}' for ap in row))
    print(
        f'best on {len(terms.base)} images: lam={found.best_lam:g}, temperatures={list(best)}, '
        f'mAP {100 * found.mean_ap.max():.2f}'
    )
    if args.out:
        state = model.state_dict()
        state['head.stored_settings'] = encode_settings(
            lam=found.best_lam, temperatures=best, normalize=model.head.normalize
        )
        write_weights(Path(args.out), dict(state_dict=state, meta=meta))
        head = dict(model_cfg['head'], lam=found.best_lam, temperatures=list(best))
        print(
            f'wrote {args.out}; load it with\nmodel = dict(neck=None, head=dict(_delete_=True, **{dict(head)}))'
        )


if __name__ == '__main__':
    run_tool(main)
