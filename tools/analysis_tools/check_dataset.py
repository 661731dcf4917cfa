"""Check the data sets of a config before training on them.

Builds the data sets of the train, val and test data loaders, which checks their annotation files, prints what they
hold, and looks for what makes labels worthless: classes without examples, labels that are nearly constant, pictures
and groups that two splits share. --images loads every picture as training does, too: which can not be read, which are
special, which are duplicates. --draw draws how often classes occur, and which together. Exits with 1 if there is an
error; warnings and notes leave it at 0.
"""

import argparse
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from rich.console import Console
from rich.progress import track

from mmlattn.datasets.checks.duplicates import check_duplicates
from mmlattn.datasets.checks.findings import Finding, report_document, report_lines
from mmlattn.datasets.checks.labels import check_between, check_class_count, check_split
from mmlattn.datasets.checks.pictures import check_pictures, load_pictures
from mmlattn.datasets.checks.splits import Split, read_split
from mmlattn.datasets.checks.tables import class_table, headline
from mmlattn.utils.arguments import check_whole
from mmlattn.utils.drawings import check_drawings
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json
from mmlattn.utils.launch.config import read_config
from mmlattn.utils.launch.explain import explain_config, run_tool
from mmlattn.utils.launch.flags import add_cfg_options, make_parser

SPLITS = ('train', 'val', 'test')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='path of a config')
    parser.add_argument('--images', action='store_true', help='load every picture, and look for duplicates')
    parser.add_argument('--workers', type=int, default=4, help='threads that load pictures')
    parser.add_argument('--json', metavar='FILE', help='write all that is found to a json file')
    parser.add_argument(
        '--draw', metavar='DIR', help='draw frequencies and co-occurrence of classes into a folder'
    )
    add_cfg_options(parser)
    return parser.parse_args()


def build_splits(cfg: Config) -> tuple[list[Split], list[Finding]]:
    """The data sets of the three loaders, each once, and why one could not be built."""
    splits, findings, seen = [], [], []
    for name in SPLITS:
        dataset_cfg = (cfg.get(f'{name}_dataloader') or {}).get('dataset')
        if dataset_cfg is None or dataset_cfg in seen:
            continue
        seen.append(dataset_cfg)
        try:
            with explain_config():
                split = read_split(name, DATASETS.build(dataset_cfg), complete=True)
        except (UserError, OSError) as error:
            findings.append(Finding('error', 'annotations', name, ' '.join(str(error).split())))
            continue
        if split is None:
            message = 'its items do not say which classes a picture has, in gt_label: nothing can be checked'
            findings.append(Finding('warning', 'not-checked', name, message))
        else:
            splits.append(split)
    if not seen:
        message = f'{cfg.filename} has no data set in a train, val or test data loader'
        findings.append(Finding('error', 'no-data-set', None, message))
    return splits, findings


def told_classes(cfg: Config) -> dict[str, int | None]:
    """What the model of a config says of the number of classes, by the names of the settings."""
    model = cfg.get('model') or {}
    preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    return {
        'model.head.num_classes': (model.get('head') or {}).get('num_classes'),
        'data_preprocessor.num_classes': preprocessor.get('num_classes'),
    }


def figure_names(draw: str | None) -> dict[str, Path]:
    """Where each figure goes; ``UserError`` if one is there already."""
    names = ['class_frequencies', *(f'co_occurrence_{name}' for name in SPLITS)]
    files = check_drawings([Path(f'{name}.png') for name in names], draw, '--draw') if draw else []
    return dict(zip(names, files, strict=False))


def draw(splits: list[Split], files: dict[str, Path], console: Console) -> None:
    """Draw what there is to draw of splits with the classes of the first one."""
    from mmlattn.visualization.label_figures import draw_co_occurrence, draw_frequencies

    alike = [split for split in splits if split.classes == splits[0].classes and split.present.nnz]
    if not alike:
        return
    names = alike[0].classes
    figures = {'class_frequencies': draw_frequencies(names, {split.name: split.shares for split in alike})}
    for split in alike:
        figures[f'co_occurrence_{split.name}'] = draw_co_occurrence(names, split.together(), split.name)
    for name, figure in figures.items():
        files[name].parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(files[name], bbox_inches='tight')
        console.print(f'drawn: {files[name]}', soft_wrap=True)


def main() -> None:
    """Check all splits; end with 1 if there is an error."""
    args = parse_args()
    check_whole('--workers', args.workers, 1)
    if args.json:
        check_drawings([Path(Path(args.json).name)], Path(args.json).parent, '--json')
    files = figure_names(args.draw)
    cfg = read_config(args)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    console = Console(markup=False)
    splits, findings = build_splits(cfg)
    for split in splits:
        findings += check_split(split) + check_class_count(split, told_classes(cfg))
        console.print(headline(split), soft_wrap=True)
    findings += check_between(splits)
    if splits:
        console.print(class_table(splits, findings))
    if args.images:
        show = lambda results, total: track(results, 'loading pictures', total, console=console)  # noqa: E731
        table = load_pictures(splits, args.workers, show)
        for split in splits:
            findings += check_pictures(split, table)
        findings += check_duplicates(splits, table)
    if args.draw:
        draw(splits, files, console)
    for line in report_lines(findings):
        print(line, file=sys.stderr)
    if args.json:
        checked = ['labels', 'pictures'] if args.images else ['labels']
        document = report_document(args.config, checked, {s.name: s.summary() for s in splits}, findings)
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(to_json(document, indent=1) + '\n', encoding='utf-8')
    sys.exit(any(finding.severity == 'error' for finding in findings))


if __name__ == '__main__':
    run_tool(main)
