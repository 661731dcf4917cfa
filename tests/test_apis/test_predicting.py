"""What the inferencer makes of folders, generators, videos and damaged files, for every system."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.apis import get_model

from mmlattn.apis import MultiLabelInferencer
from mmlattn.apis.video_frames import Frame
from mmlattn.structures import EVIDENCE_FIELDS
from mmlattn.utils.errors import UserError

# Those with one label for each picture among them; the last one has a data set of arrays.
SYSTEMS = [
    'csra_resnet-mini_multidigits', 'st-lstm_resnet-mini_multidigits', 'cnn-rnn_resnet-mini_digit-sets',
    'racnn_resnet-mini_cluttered-digits', 'ran_attention-mini_fashion-mnist',
]  # fmt: skip


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Pictures 1 to 12 of several sizes, in jpg and png."""
    folder, rng = tmp_path_factory.mktemp('pictures'), np.random.default_rng(0)
    for number in range(1, 13):
        picture = cv2.resize(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8), (50 + number, 64))
        cv2.imwrite(str(folder / f'{number}.{"jpg" if number % 2 else "png"}'), picture)
    return folder


def inferencer_of(name, repo_root):
    torch.manual_seed(0)
    return MultiLabelInferencer(
        get_model(Config.fromfile(repo_root / 'configs' / f'{name}.py'), device='cpu')
    )


@pytest.fixture(scope='module')
def inferencer(repo_root):
    return inferencer_of(SYSTEMS[0], repo_root)


@pytest.mark.parametrize('name', SYSTEMS)
def test_every_system_gives_what_the_test_pipeline_gives(name, folder, repo_root):
    """Of a folder, by a worker, in batches; as plain values with all evidence it can be written as json."""
    inferencer = inferencer_of(name, repo_root)
    results = inferencer(folder, batch_size=5, workers=1)
    assert [int(result['name'].partition('.')[0]) for result in results] == list(range(1, 13))
    items = [inferencer.pipeline(result['path']) for result in results]
    with torch.no_grad():
        data = dict(
            inputs=torch.stack([item['inputs'] for item in items]),
            data_samples=[i['data_samples'] for i in items],
        )
        expected = inferencer.model.test_step(data)
    for result, sample in zip(results, expected, strict=True):
        np.testing.assert_allclose(result['pred_scores'], sample.pred_score, atol=1e-5)
        assert set(result['pred_labels']) == set(sample.pred_label.tolist())
    told = json.loads(json.dumps(inferencer(folder, batch_size=12, with_evidence=True, plain=True)))
    for result, plain in zip(results, told, strict=True):
        assert plain['path'] == result['path'] and plain.keys() & {*EVIDENCE_FIELDS}
        np.testing.assert_allclose(plain['pred_scores'], result['pred_scores'], atol=1e-5)


def test_generators_are_read_as_they_are_needed(inferencer, folder):
    """Of an endless one no more is drawn than its user asks for; results of arrays name no file."""
    picture = cv2.imread(str(folder / '2.png'))
    drawn = []

    def pictures():
        for number in range(6):
            drawn.append(number)
            yield picture if number % 2 else folder / '2.png'

    forward, seen = inferencer.forward, []
    inferencer.forward = lambda *args, **kwargs: seen.append(len(drawn)) or forward(*args, **kwargs)
    try:
        results = inferencer(pictures(), batch_size=2)
    finally:
        inferencer.forward = forward
    assert seen == [2, 4, 6]
    assert [result['path'] for result in results] == [str(folder / '2.png'), None] * 3
    np.testing.assert_array_equal(results[0]['pred_scores'], results[1]['pred_scores'])


@pytest.mark.parametrize('workers', [0, 1])
def test_damaged_pictures_cost_themselves_alone(inferencer, folder, tmp_path, workers):
    """Their place tells why; with 'raise' the first one ends it."""
    (tmp_path / 'cut.png').write_bytes((folder / '2.png').read_bytes()[:50])
    paths = [folder / '1.jpg', tmp_path / 'cut.png', tmp_path / 'none.jpg', folder / '2.png']
    results = inferencer(paths, batch_size=3, on_error='skip', workers=workers, show_dir=tmp_path / 'shown')
    assert [result['name'] for result in results] == ['1.jpg', 'cut.png', 'none.jpg', '2.png']
    assert results[1].keys() == results[2].keys() == {'name', 'path', 'error'}
    assert 'damaged or cut off' in results[1]['error'] and 'it is not there' in results[2]['error']
    alone = inferencer(folder / '2.png')[0]['pred_scores']
    np.testing.assert_allclose(results[3]['pred_scores'], alone, atol=1e-6)
    assert len(list((tmp_path / 'shown').rglob('*.png'))) == 2
    samples = inferencer(paths, True, batch_size=4, on_error='skip', workers=workers)
    assert 'damaged' in samples[1].error and samples[1].img_path == str(tmp_path / 'cut.png')
    assert inferencer([tmp_path / 'none.jpg'], on_error='skip', show_dir=tmp_path / 'none')[0]['error']
    with pytest.raises(UserError, match=r'cut\.png can not be read as a picture: it is damaged'):
        inferencer(iter(paths), workers=workers)
    with pytest.raises(UserError, match='on_error must be one of'):
        inferencer(paths, on_error='ignore')


def test_scores_that_are_no_numbers_are_no_labels(repo_root, folder):
    inferencer = inferencer_of(SYSTEMS[0], repo_root)
    torch.nn.init.constant_(inferencer.model.head.weight, float('nan'))
    with pytest.raises(UserError, match=r'1\.jpg: 10 of 10 scores are no finite numbers'):
        inferencer(folder / '1.jpg')
    (result,) = inferencer(folder / '1.jpg', on_error='skip')
    assert 'no finite numbers' in result['error'] and 'pred_labels' not in result


def test_videos(inferencer, tmp_path):
    """Frames are pictures; a frame of one's own is, too."""
    writer = cv2.VideoWriter(str(tmp_path / 'a.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 64))
    images = [np.full((64, 64, 3), 8 * number, np.uint8) for number in range(30)]
    for image in images:
        writer.write(image)
    writer.release()
    results = inferencer(tmp_path / 'a.avi', fps=2, batch_size=4, show_dir=tmp_path / 'shown')
    assert [result['time'] for result in results] == [0, 0.5, 1, 1.5, 2, 2.5]
    assert [result['name'] for result in results][:2] == ['a.avi#t=0.000', 'a.avi#t=0.500']
    assert len(list((tmp_path / 'shown').rglob('a.avi#t=*.png'))) == 6
    by_hand = inferencer([images[5], Frame('b.avi', 7.0, images[5])])
    np.testing.assert_allclose(results[1]['pred_scores'], by_hand[0]['pred_scores'], atol=1e-3)
    np.testing.assert_array_equal(by_hand[0]['pred_scores'], by_hand[1]['pred_scores'])
    assert by_hand[1]['time'] == 7 and 'time' not in by_hand[0] and 'time' not in inferencer(images[5])[0]
