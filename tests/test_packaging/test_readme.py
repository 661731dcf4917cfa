"""What the README and the docs tell people to type, open or follow exists and runs."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmlattn.registry import HOOKS, MODELS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
README = (ROOT / 'README.md').read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf'^```{language}\n(.*?)^```', README, flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """Names GitHub gives the headings of a page."""
    titles = re.findall(r'^#+ (.+)$', page.read_text(), flags=re.M)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
        if link.startswith(('http://', 'https://')):
            continue
        target, _, anchor = link.partition('#')
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f'{page.name} links to {link}, which does not exist'
        if anchor:
            assert anchor in anchors(path), f'{page.name} links to {link}, but there is no such heading'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page):
    """Placeholders are written in capitals: configs/NAME.py."""
    folders = 'configs|tools|requirements|docs|mmlattn|tests'
    named = re.findall(rf'(?<![\w/.])(?:{folders})/[\w./-]*\w\.\w+', page.read_text())
    missing = {name for name in named if 'NAME' not in name and not (ROOT / name).exists()}
    # Others by the end of their path, `pooling.py` or `csra/pooling.py`.
    paths = [
        f'/{path.relative_to(ROOT)}'
        for folder in folders.split('|')
        for path in (ROOT / folder).rglob('*.py')
    ]
    named = re.findall(r'`([\w/-]+\.py)`', page.read_text())
    missing |= {
        name for name in named if 'NAME' not in name and not any(p.endswith(f'/{name}') for p in paths)
    }
    assert not missing, f'{page.name} names files that do not exist: {sorted(missing)}'


def test_the_map_of_the_code_names_what_is_there():
    """Each paper's equation, and what to change for another one: `name` in [`file`](path)."""
    page = ROOT / 'docs/development.md'
    cells = re.findall(r'((?:`[\w.]+`(?: and )?)+) in \[`[\w/]+\.py`\]\(([\w./]+)\)', page.read_text())
    assert len(cells) >= 8
    for names, path in cells:
        text = (page.parent / path).read_text()
        for name in re.findall(r'[\w.]+', names.replace(' and ', ' ')):
            *owner, name = name.split('.')
            assert all(re.search(rf'^class {each}\b', text, flags=re.M) for each in owner), (name, path)
            assert re.search(rf'^\s*(?:def |class )?{name}\b', text, flags=re.M), f'{path} has no {name}'


def test_every_page_is_in_the_index():
    index = (ROOT / 'docs/README.md').read_text()
    pages = {str(page.relative_to(ROOT / 'docs')) for page in PAGES[1:]} - {'README.md'}
    assert not {page for page in pages if f']({page})' not in index}


def test_the_one_liners_build_models(tmp_path):
    models = []
    for number, code in enumerate(block for block in blocks('python') if '_base_' in block):
        (tmp_path / f'mine{number}.py').write_text(code)
        model = Config.fromfile(tmp_path / f'mine{number}.py').model
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            models.append(MODELS.build(model))
    csra, racnn = models
    assert type(csra.head).__module__.startswith('mmlattn.') and csra.neck is None
    assert (len(racnn.nets), len(racnn.localizers)) == (1, 2)


def test_model_index_names_configs_and_says_what_is_published():
    names = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    assert {ROOT / name for name in names} == set((ROOT / 'configs').glob('*_metafile.yml'))
    models = [model for name in names for model in yaml.safe_load((ROOT / name).read_text())['Models']]
    for model in models:
        assert (ROOT / model['Config']).stem == model['Name']
        assert (ROOT / model['Config']).is_file()
        for result in model['Results']:
            for metric, value in result['Metrics'].items():
                assert metric.endswith(('(published)', '(measured)'))
                row = next(line for line in README.splitlines() if f'`{model["Name"]}.py`' in line)
                assert str(value) in row, f'README and metafile disagree about {model["Name"]}'


def test_neck_and_head_of_the_readme_fit():
    (code,) = (block for block in blocks('python') if block.startswith('neck='))
    parts = [eval(f'dict({part})') for part in re.split(r'\n(?=head=)', code.strip())]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        neck, head = MODELS.build(parts[0]['neck']), MODELS.build(parts[1]['head'])
    assert head(neck((torch.rand(2, 2048, 4, 4),))).shape == (2, 80)


def test_decoder_of_the_readme_builds():
    (code,) = (block for block in blocks('python') if block.startswith('head='))
    parts = [eval(f'dict({part})') for part in code.strip().splitlines()]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        parts[0]['head'].pop('_delete_')
        head = MODELS.build(parts[0]['head']).eval()
        HOOKS.build(parts[1]['custom_hooks'][0])
    assert head((torch.rand(2, 2048, 4, 4),)).shape == (2, 80)


def test_picture_is_small():
    assert (ROOT / 'docs/images/gallery.png').stat().st_size < 300_000


def test_backbones_of_the_readme_build():
    (code,) = (block for block in blocks('python') if block.startswith('backbone='))
    backbones = [eval(f'dict({part})')['backbone'] for part in re.split(r'\n(?=backbone=)', code.strip())]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        for backbone in backbones:
            assert type(MODELS.build(backbone)).__name__ == backbone['type'].removeprefix('mmlattn.')
