"""check_dataset.py and benchmark_report.py on data sets and configs as users have them."""

import json
import re
import subprocess
import sys

import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image
from tiny_run import TOOLS, run_tool, tool_environment

CHECK = 'analysis_tools/check_dataset.py'

CONFIG = """
model = dict(head=dict(num_classes={num_classes}))
train_dataloader = dict(dataset=dict(
    type='mmlattn.COCOMultiLabel', data_root={root!r}, ann_file='annotations/instances_train2017.json',
    data_prefix='train2017'))
"""


@pytest.mark.slow
def test_check_dataset(make_coco, tmp_path):
    root = make_coco(tmp_path / 'coco', num_images=6)
    good, other = tmp_path / 'good.py', tmp_path / 'other.py'
    good.write_text(CONFIG.format(num_classes=80, root=str(root)))
    other.write_text(CONFIG.format(num_classes=81, root=str(root)))
    # Once as its users start it: nothing is imported but what it imports itself.
    command = [sys.executable, TOOLS / CHECK, good, '--images']
    result = subprocess.run(command, capture_output=True, text=True, env=tool_environment(), timeout=120)
    assert result.returncode == 0, result.stderr
    assert re.search(r'train: 6 images, 1 without a label', result.stdout)

    picture = sorted((root / 'train2017').iterdir())[2]
    picture.write_bytes(picture.read_bytes()[:300])
    other.write_text(
        other.read_text() + 'val_dataloader = dict(dataset=dict(train_dataloader["dataset"], test_mode=True))'
    )
    result = run_tool(CHECK, other, '--images', cwd=tmp_path)
    assert re.search(r'warning: 6 pictures of train are in val too, first \S+: ', result.stderr)
    assert result.returncode == 1 and 'Traceback' not in result.stderr
    assert 'model.head.num_classes is 81 but the train data set has 80' in result.stderr
    assert picture.name in result.stderr


@pytest.mark.slow
def test_check_dataset_compares_sizes_as_loaded_and_classes_across_splits(make_coco, tmp_path):
    root = make_coco(tmp_path / 'coco', num_images=6)
    annotations = root / 'annotations' / 'instances_train2017.json'
    content = json.loads(annotations.read_text())
    (turned, told), (wrong, _) = (
        (root / 'train2017' / image['file_name'], image) for image in content['images'][1:3]
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees
    with Image.open(turned) as picture:
        picture.resize((60, 40)).save(turned, exif=exif)
    told['width'], told['height'] = 40, 60
    for annotation in content['annotations']:
        if annotation['image_id'] == told['id']:
            annotation['bbox'] = [1, 2, 30, 50]
    assert LoadImageFromFile()(dict(img_path=str(turned)))['img_shape'] == (60, 40)
    content['images'][2]['width'] += 1
    annotations.write_text(json.dumps(content))
    names = [category['name'] for category in content['categories']]
    config = tmp_path / 'config.py'
    config.write_text(
        CONFIG.format(num_classes=80, root=str(root))
        + f"""
val_dataloader = dict(dataset=dict(
    train_dataloader['dataset'], metainfo=dict(classes={[names[1], names[0], *names[2:]]!r})))
"""
    )
    result = run_tool(CHECK, config, '--images', cwd=tmp_path)
    assert result.returncode == 1 and 'Traceback' not in result.stderr
    assert re.search(rf'{wrong.name}: is \d+ x \d+ .* but the annotation file says', result.stderr)
    assert not re.search(f'error: .*{turned.name}', result.stderr)
    assert f'class 0 is {names[0]} in train and {names[1]} in val' in result.stderr


def test_pictures_are_decoded_as_in_training(make_coco, tmp_path, monkeypatch):
    """What Pillow takes for a bomb and OpenCV reads, and an orientation that the loader ignores."""
    root = make_coco(tmp_path / 'coco', num_images=4)
    annotations = root / 'annotations' / 'instances_train2017.json'
    content = json.loads(annotations.read_text())
    turned, large = (root / 'train2017' / image['file_name'] for image in content['images'][1:3])
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(turned) as picture:
        size = picture.size
        picture.save(turned, exif=exif)
    config = tmp_path / 'config.py'
    text = CONFIG.format(num_classes=80, root=str(root)).replace(
        "data_prefix='train2017'", "data_prefix='train2017', pipeline=[dict(type='LoadImageFromFile', {})]"
    )
    config.write_text(text.replace('{}', "color_type='color_ignore_orientation'"))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    done = run_tool(CHECK, config, '--images', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config.write_text(text.replace(', {}', ''))
    done = run_tool(CHECK, config, '--images', cwd=tmp_path)
    told = f'{turned.name}: is {size[1]} x {size[0]}'
    assert (done.returncode == 1 and told in done.stderr) or size[0] == size[1]
    assert not re.search(f'error: .*{large.name}', done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ("train_dataloader = dict(dataset=dict(type='mmlattn.NoSuchThing'))", 'NoSuchThing'),
        ('model = dict()', 'no data set'),
        (None, 'config.py'),
        (
            "train_dataloader = dict(dataset=dict(type='mmlattn.PlainMultiLabel', ann_file='a.json', "
            "data_prefix=dict(img='train/')))",
            r"train: data_prefix must have img_path, got .*'train/'.*: write data_prefix=dict\(img_path='train/'\)",
        ),
        (
            "train_dataloader = dict(dataset=dict(type='mmlattn.VOCBox', data_root='x', "
            "metainfo=dict(CLASSES=['a'])))",
            'train: metainfo has CLASSES, which is not read',
        ),
    ],
)
def test_check_dataset_says_what_is_wrong_with_a_config(tmp_path, text, words):
    config = tmp_path / 'config.py'
    if text is not None:
        config.write_text(text)
    result = run_tool(CHECK, config, cwd=tmp_path)
    assert result.returncode == 1 and 'Traceback' not in result.stderr
    assert re.search(rf'^error: .*{words}', result.stderr, re.MULTILINE)


@pytest.mark.slow
def test_check_dataset_on_data_without_labels_or_files(make_coco, tmp_path):
    root = make_coco(tmp_path / 'coco', num_images=3)
    annotations = root / 'annotations' / 'instances_train2017.json'
    content = json.loads(annotations.read_text())
    annotations.write_text(json.dumps(dict(content, annotations=[])))
    config = tmp_path / 'config.py'
    config.write_text(
        CONFIG.format(num_classes=80, root=str(root))
        + 'val_dataloader = dict(dataset=dict(train_dataloader["dataset"], test_mode=True))'
    )
    result = run_tool(CHECK, config, cwd=tmp_path)
    assert result.returncode == 1 and 'Traceback' not in result.stderr
    assert re.search(
        'error: train: .*none of its 3 images has a label of the classes person, bicycle', result.stderr
    )
    assert 'error: val: no picture has a label: set metainfo.classes to the names in use' in result.stderr
    result = run_tool(CHECK, config, '--images', '--workers', 0, cwd=tmp_path)
    assert (
        result.returncode == 1
        and 'error: --workers must be a whole number of 1 or more, got 0' in result.stderr
    )


@pytest.mark.slow
def test_benchmark_report(tmp_path):
    flags = ('--num-images', 3000, '--num-classes', 5, '--repeats', 3)
    result = run_tool('analysis_tools/benchmark_report.py', *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    theirs, ours = map(float, re.findall(r'mAP (\S+)', result.stdout))
    assert theirs == pytest.approx(ours, rel=1e-5)
    times = [float(ms) for ms in re.findall(r'(\S+) ms', result.stdout)]
    ratio = float(re.search(r'ratio (\S+)', result.stdout)[1])
    assert ratio == pytest.approx(times[1] / times[0], rel=0.01, abs=0.006), 'ours over theirs'
