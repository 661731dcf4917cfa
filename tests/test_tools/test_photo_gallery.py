"""photo_gallery.py: only photographs that may be shown, in the order of the file, and whose they are."""

import json
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from tiny_run import run_tool

from mmlattn.apis import load_model
from mmlattn.datasets.photo_licences import SHOWABLE, Photo, attribution_text, first_photos, showable_photos
from mmlattn.utils.errors import UserError

TOOL = 'visualization/photo_gallery.py'
CLASSES = ('person', 'dog', 'bus')
CONFIG = """
_base_ = {base!r}
model = dict(head=dict(num_classes=3, with_evidence=False))
data_preprocessor = dict(num_classes=3)
"""


def write_coco(folder):
    """Twelve photographs of licence 1 + number % 8; the fifth has one label and not two, the eighth is high."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(12):
        width, height = (40, 60) if number == 7 else (60, 40)
        name = f'{number:012}.jpg'
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / name)
        images.append(
            dict(
                id=100 + number,
                file_name=name,
                width=width,
                height=height,
                license=1 + number % 8,
                flickr_url=f'http://farm5.staticflickr.com/40/{900 + number}_84c1fdb8d6_z.jpg',
            )
        )
        for category in (1,) if number == 4 else (1, 3):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=100 + number,
                    category_id=category,
                    bbox=[5, 5, 20, 20],
                    area=400,
                )
            )
    content = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=number + 1, name=name) for number, name in enumerate(CLASSES)],
        licenses=[
            dict(id=number, url=f'http://licence/{number}', name=f'L{number}') for number in range(1, 9)
        ],
    )
    (folder / 'instances.json').write_text(json.dumps(content))
    return content


@pytest.fixture(scope='module')
def world(repo_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp('photographs')
    content = write_coco(folder)
    config = folder / 'small.py'
    config.write_text(CONFIG.format(base=str(repo_root / 'configs' / 'csra_resnet-mini_multidigits.py')))
    model = load_model(Config.fromfile(config), False)
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'small.pth')
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES[::-1]))),
        folder / 'turned.pth',
    )
    return SimpleNamespace(folder=folder, ann=folder / 'instances.json', config=config, content=content)


def draw(world, out, *flags, weights='small.pth'):
    model = ('--model', 'CSRA', world.config, world.folder / 'small.pth', 2)
    second = ('--model', 'again', world.config, world.folder / weights, 1)
    files = ('--out', out / 'photos.jpg', '--attribution', out / 'ATTRIBUTION.md')
    return run_tool(TOOL, world.ann, world.folder, *files, *model, *second, *flags, cwd=world.folder)


def test_what_may_be_shown_is_drawn_and_named(world, tmp_path):
    out = tmp_path / 'new'
    done = draw(world, out, '--count', 3)
    assert done.returncode == 0, done.stderr
    text = (out / 'ATTRIBUTION.md').read_text()
    # Licence 4 is number 3, 5 has one label, 7 is number 6, 8 is high; then 4 and 5 again.
    assert re.findall(r'`(\d{12}\.jpg)`', text) == [f'{number:012}.jpg' for number in (3, 6, 11)]
    assert '[photo](https://www.flickr.com/photo.gne?id=903) | [CC BY 2.0](http://licence/4)' in text
    assert '[no known copyright restrictions](http://licence/7)' in text and 'is offered under' not in text
    assert 'Changed: made smaller' in text
    picture = np.asarray(Image.open(out / 'photos.jpg'))
    assert picture.shape[1] == 4 * 190 + 3 * 9 + 2 * 23 and picture.std() > 20
    done = draw(world, out)
    assert done.returncode == 2 and 'photos.jpg exists already' in done.stderr
    assert (out / 'ATTRIBUTION.md').read_text() == text


REFUSALS = {
    'licence': (['--licences', '4', '3'], 1, 'licences must be some of 4, 5, 7, 8, got [3, 4]'),
    'few': (
        ['--count', '9'],
        1,
        '3 photographs may be shown, are wider than high and have 2 to 3 labels; 9 are',
    ),
    'labels': (['--labels', '3', '2'], 2, '--labels go up'),
    'quality': (['--quality', '100'], 2, '--quality 1 to 95, got 190 and 100'),
    'classes': ([], 1, 'again knows other classes than CSRA'),
}


@pytest.mark.parametrize('name', REFUSALS)
def test_refusals_write_nothing(world, tmp_path, name):
    flags, status, words = REFUSALS[name]
    weights = 'turned.pth' if name == 'classes' else 'small.pth'
    done = draw(world, tmp_path, *flags, *(['--count', 3] if name == 'classes' else []), weights=weights)
    assert done.returncode == status and words in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 'photos.jpg').exists() and not (tmp_path / 'ATTRIBUTION.md').exists()


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            lambda c: c['images'][3].update(flickr_url=None),
            r'images\[3\]: flickr_url None does not tell the number',
        ),
        (lambda c: c['licenses'].pop(3), r'images\[3\]: license 4 is not among licenses'),
        (lambda c: c.pop('licenses'), 'licenses'),
        (
            lambda c: [image.update(license=6) for image in c['images']],
            'none stands under one of the licences',
        ),
    ],
)
def test_jsons_that_do_not_tell(world, tmp_path, change, words):
    content = json.loads(json.dumps(world.content))
    change(content)
    (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(UserError, match=words):
        showable_photos(str(tmp_path / 'a.json'))


def test_pages_that_show_the_photographs_say_whose_they_are(repo_root):
    """Each page leads to the attribution, which says that the licence is another one."""
    attribution = (repo_root / 'docs/images/ATTRIBUTION.md').read_text()
    assert 'Neither they nor `photographs.jpg` stand under the licence of this project' in attribution
    pages = [repo_root / 'README.md', *(repo_root / 'docs').glob('*.md')]
    showing = [page for page in pages if 'images/photographs.jpg' in page.read_text()]
    assert showing
    assert [page for page in showing if 'images/ATTRIBUTION.md' not in page.read_text()] == []


WITH_ALIKE = [('free', False), ('share alike', True)]


def test_share_alike_is_said():
    photos = [Photo('1.jpg', 'http://p/1', name, f'http://l/{name}', alike) for name, alike in WITH_ALIKE]
    text = attribution_text('a.jpg', photos, 'cut')
    assert '[share alike](http://l/share alike) asks' in text
    assert '`a.jpg` as a whole, with what is drawn into it, is offered under this licence' in text
    assert 'Changed: cut.' in text and 'neither authors nor titles' in text
    assert 'is offered under' not in attribution_text('a.jpg', photos[:1], 'cut')


@pytest.mark.skipif('MMLATTN_COCO128' not in os.environ, reason='drawn pictures have no licences')
def test_real_photographs(coco_root):
    """Of the 128 those of four licences, each with the number that its address has; none of another."""
    file = str(coco_root / 'annotations/instances_train2017.json')
    by_licence = {licence: showable_photos(file, [licence]) for licence in SHOWABLE if licence != 8}
    found = [photo for photos in by_licence.values() for photo in photos.values()]
    assert len(found) == 19 + 12 + 2 and len({photo.page for photo in found}) == len(found)
    with pytest.raises(UserError, match='none stands under'):
        showable_photos(file, [8])
    assert by_licence[4][30].page == 'https://www.flickr.com/photo.gne?id=3573516590'


def test_first_photos_are_chosen_by_order_alone():
    items = [dict(img_id=n, width=2, height=1, gt_label=[0] * (n % 3)) for n in range(9)]
    assert first_photos(dict.fromkeys((8, 5, 2, 1)), items, 2, 2, 2) == [2, 5]
