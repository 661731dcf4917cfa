"""Class names in letters that matplotlib's own font lacks: found in another font, or said which to install."""

import warnings
from itertools import count

import mmcv
import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.text import Text
from mmpretrain.structures import DataSample
from tiny_run import run_tool

from mmlattn.utils import UserError
from mmlattn.visualization import EvidenceVisualizer, fonts
from mmlattn.visualization.fonts import find_families, font_family
from mmlattn.visualization.mask_figure import AttentionMaps, draw_masks

NAMES, NUMBERS = ('猫', '犬', '토끼'), count()


def write_font(path, letters, family):
    """A font of black squares, each letter of its own width."""
    builder = FontBuilder(1000, isTTF=True)
    glyphs = ['.notdef', *(f'letter{i}' for i in range(len(letters)))]
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord(letter): f'letter{i}' for i, letter in enumerate(letters)})
    shapes = {}
    for name in glyphs:
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0))
        for corner in ((0, 800), (800, 800), (800, 0)):
            pen.lineTo(corner)
        pen.closePath()
        shapes[name] = pen.glyph()
    builder.setupGlyf(shapes)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable(dict(familyName=family, styleName='Regular'))
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def installed(monkeypatch):
    """The fonts that matplotlib brings and no others; what a test adds is forgotten."""
    own = [e for e in font_manager.fontManager.ttflist if e.name.startswith(('DejaVu', 'STIX', 'cm'))]
    monkeypatch.setattr(font_manager.fontManager, 'ttflist', own)
    found = []
    monkeypatch.setattr(fonts, 'findSystemFonts', lambda: [str(path) for path in found])
    caches = (fonts._covering, fonts._letters, fonts._add_new_fonts, fonts._warn)
    for cached in caches:
        cached.cache_clear()
    yield found
    for cached in caches:
        cached.cache_clear()


def draw(names, **options):
    """What stands on a sheet of a sample with all classes, and the sheet."""
    sample = DataSample().set_pred_label([0, 1, 2]).set_pred_score(torch.tensor([0.9, 0.8, 0.7]))
    drawer = EvidenceVisualizer(f'fonts{next(NUMBERS)}', **options)
    drawn = drawer.visualize_cls(np.zeros((20, 20, 3), np.uint8), sample, names)
    return [text for text in drawer.ax_save.texts if '  ' in text.get_text()], drawn


def test_letters_are_found_in_an_installed_font(installed, tmp_path):
    """Installed after matplotlib made its list; of two the one that has more; together where none has all."""
    installed += [
        write_font(tmp_path / 'some.ttf', '猫', 'Some'),
        write_font(tmp_path / 'most.ttf', '猫犬', 'Most'),
        write_font(tmp_path / 'hangul.ttf', '토끼', 'Hangul'),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        texts, _ = draw(NAMES)
    assert [text.get_text() for text in texts] == ['猫  0.90', '犬  0.80', '토끼  0.70']
    families = texts[0].get_fontfamily()
    assert families[0] == 'sans-serif' and set(families[1:]) == {'Most', 'Hangul'}


@pytest.mark.parametrize('names', [('cat', 'café', 'кот'), ('Ωmega', 'ß  ä', '$x_1$')])
def test_nothing_is_looked_for_where_nothing_is_missing(installed, names):
    assert find_families(names) == (['sans-serif'], frozenset())
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        draw(names)


def test_letters_that_no_font_has_are_said_once_and_never_boxes(installed):
    with pytest.warns(UserWarning, match='no installed font has 犬猫끼토.*fonts-noto-cjk.*--font') as caught:
        first, drawn = draw(NAMES)
        draw(NAMES)
    assert len(caught) == 1
    assert [text.get_text() for text in first] == ['class 0  0.90', 'class 1  0.80', 'class 2  0.70']
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        mixed, _ = draw(('cat', '犬猫끼토', 'dog'))
        _, plain = draw(('class 0', 'class 1', 'class 2'))
    assert [text.get_text() for text in mixed] == ['cat  0.90', 'class 1  0.80', 'dog  0.70']
    assert np.array_equal(drawn, plain)


def test_a_font_may_be_given_by_file_and_by_family(installed, tmp_path):
    path = write_font(tmp_path / 'given.ttf', '猫犬토끼', 'Given')
    texts, by_file = draw(NAMES, font=str(path))
    assert texts[0].get_fontfamily()[0] == 'Given' and texts[0].get_text() == '猫  0.90'
    _, by_family = draw(NAMES, font='Given')
    assert np.array_equal(by_file, by_family)
    # Its square is drawn: of 0.8 times the size of the letters, 13 pixels.
    box = texts[0].get_window_extent()
    rows = by_file[::-1][int(box.y0) : int(box.y1) + 1, int(box.x0) : int(box.x0) + 8]
    assert (rows < 80).all(-1).sum() > 40


@pytest.mark.parametrize(
    ('font', 'message'),
    [('DejaVu Sanz', r"no font 'DejaVu Sanz'.*DejaVu Sans"), ('no font.ttf', 'no font that can be read')],
)
def test_fonts_that_are_none_are_refused(tmp_path, font, message):
    if font.endswith('.ttf'):
        (tmp_path / font).write_text('none')
        font = str(tmp_path / font)
    with pytest.raises(UserError, match=message):
        EvidenceVisualizer('refused', font=font)


def test_figures_of_masks_too(installed, tmp_path):
    """And formulas in names of files are none."""
    maps = AttentionMaps('stage1', *torch.rand(3, 4, 5, 5))
    heading = {'猫 $x^2$.jpg': 'black', 'predicted: 犬': 'black'}
    with pytest.warns(UserWarning, match='犬猫'):
        figure = draw_masks(np.zeros((9, 9, 3), np.uint8), heading, [maps], channels=1)
    assert {'? $x^2$.jpg', 'predicted: ?'} <= {text.get_text() for text in figure.findobj(Text)}
    path = write_font(tmp_path / 'masks.ttf', '猫犬', 'Masks')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        figure = draw_masks(np.zeros((9, 9, 3), np.uint8), heading, [maps], channels=1, font=str(path))
        figure.savefig(tmp_path / 'masks.png')
    shown = {text.get_text(): text for text in figure.findobj(Text)}
    assert '猫 $x^2$.jpg' in shown and not shown['猫 $x^2$.jpg'].get_parse_math()
    assert font_family('Masks') == 'Masks'


@pytest.mark.parametrize('tool', ['show_evidence.py', pytest.param('show_masks.py', marks=pytest.mark.slow)])
def test_tools_refuse_a_wrong_font_at_once(repo_root, tmp_path, tool):
    picture = tmp_path / 'a.png'
    mmcv.imwrite(np.zeros((8, 8, 3), np.uint8), str(picture))
    command = [
        repo_root / 'configs/csra_resnet-mini_multidigits.py',
        *(['none.pth'] if 'evidence' in tool else []),
        picture,
    ]
    command += [
        *([] if 'evidence' in tool else ['--random-weights']),
        '--out-dir',
        tmp_path / 'out',
        '--font',
        'Nil',
    ]
    done = run_tool(f'visualization/{tool}', *command, cwd=tmp_path)
    assert done.returncode and 'Traceback' not in done.stderr
    assert "there is no font 'Nil'" in done.stderr and not (tmp_path / 'out').exists()
