"""The folder of predictions: whatever interrupts a run, nothing is missing and nothing is there twice."""

import csv
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlattn.apis.picture_files import place_of
from mmlattn.apis.prediction_files import PredictionFolder, distinct_names, drawing_places, picture_line
from mmlattn.apis.prediction_loader import chunks_of
from mmlattn.apis.video_frames import Frame
from mmlattn.utils.errors import UserError

CLASSES = ['cat', 'Hund; groß']


def line_of(item, batch):
    """A line that tells which pictures were computed together."""
    scores = np.array([len(batch) / 16, 0.1], np.float32)
    frame = dict(time=item.time) if isinstance(item, Frame) else {}
    result = dict(name='x', path=getattr(item, 'path', item), **frame)
    if str(item).endswith('3'):
        return picture_line(dict(result, error='it is damaged'), CLASSES, None)
    return picture_line(dict(result, pred_labels=[0], pred_scores=scores), CLASSES, [0.5, np.inf])


def run(folder, items, size, batches=None, resume=False):
    """As the tool does it, stopped after some batches."""
    out = PredictionFolder(folder, dict(size=size), resume)
    for number, chunk in enumerate(out.remaining(chunks_of(items, size))):
        if number == batches:
            out.record.close()
            return None
        out.append([line_of(item, chunk) for item in chunk])
    return out.finish(CLASSES, True)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 25),
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 300)), max_size=3),
)
def test_what_is_continued_is_as_if_it_had_never_stopped(tmp_path_factory, count, size, stops):
    """Stopped after some batches, and with some bytes of the last write missing."""
    folder = tmp_path_factory.mktemp('predictions')
    items = [Frame('clip.mp4', n / 8, None) if n % 5 == 0 else f'{n}' for n in range(count)]
    whole = run(folder / 'whole', items, size)
    for number, (batches, lost) in enumerate(stops):
        run(folder / 'again', items, size, batches, resume=number > 0)
        file = folder / 'again' / 'predictions.jsonl'
        file.write_bytes(file.read_bytes()[: max(file.stat().st_size - lost, 0)])
    assert run(folder / 'again', items, size, resume=bool(stops)) == whole
    assert whole[0] + len(whole[1]) == count
    for file in (folder / 'whole').iterdir():
        assert (folder / 'again' / file.name).read_bytes() == file.read_bytes(), file.name


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 30), unique=True), st.lists(st.integers(0, 30), unique=True), st.integers(1, 5)
)
def test_other_pictures_than_before(tmp_path_factory, before, after, size):
    """All of both, each once."""
    folder = tmp_path_factory.mktemp('predictions')
    run(folder, map(str, before), size)
    run(folder, map(str, after), size, resume=True)
    recorded = [json.loads(line)['path'] for line in (folder / 'predictions.jsonl').read_text().splitlines()]
    assert sorted(recorded) == sorted({*map(str, before), *map(str, after)})


def test_tables(tmp_path):
    """Numbers come back as they were, in float32; thresholds never reached and scores of NaN are empty."""
    scores = np.array([0.1, np.nan], np.float32)
    evidence = dict(
        attention_maps=np.full((2, 1, 2), 1 / 3), label_path=np.array([1, 0]), path_logprob=np.float32(-2)
    )
    first = dict(
        name='1.jpg', path='d/1.jpg', pred_labels=[1, 0], pred_scores=scores, trunk_masks=[scores], **evidence
    )
    second = dict(name='caf\udce9.jpg', path='caf\udce9.jpg', error='it is empty, "quoted"')
    out = PredictionFolder(tmp_path, dict(a=1))
    out.append([picture_line(result, CLASSES, [0.25, np.inf]) for result in (first, second)])
    predicted, failed = out.finish(CLASSES, True)
    assert predicted == 1 and [line['error'] for line in failed] == ['it is empty, "quoted"']
    (row,) = csv.DictReader((tmp_path / 'predictions.csv').open())
    assert row['picture'] == 'd/1.jpg' and row['labels'] == 'Hund; groß;cat'
    assert np.float32(row['score:cat']) == scores[0] and len(row['score:cat']) == 3
    assert (row['threshold:cat'], row['threshold:Hund; groß'], row['score:Hund; groß']) == ('0.25', '', '')
    line = json.loads((tmp_path / 'predictions.jsonl').read_text().splitlines()[0])
    assert line['labels'] == ['Hund; groß', 'cat'] and line['scores'] == {'cat': 0.1, 'Hund; groß': None}
    assert line['evidence'] == dict(
        attention_maps={'Hund; groß': [[0.3333, 0.3333]], 'cat': [[0.3333, 0.3333]]},
        label_path=['Hund; groß', 'cat'],
        path_logprob=-2.0,
    )
    assert b'caf\xe9.jpg' in (tmp_path / 'failed.csv').read_bytes()


def test_what_is_not_continued(tmp_path):
    run(tmp_path, ['1', '2'], 1)
    file = tmp_path / 'predictions.jsonl'
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match='exists already: go on with it by --resume'):
        PredictionFolder(tmp_path, dict(size=1))
    with pytest.raises(UserError, match='begun with other settings: size 1, now 2, more null, now "x"'):
        PredictionFolder(tmp_path, dict(size=2, more='x'), resume=True)
    writing = PredictionFolder(tmp_path, dict(size=1), resume=True)
    child = os.fork()
    if child == 0:
        try:
            PredictionFolder(tmp_path, dict(size=1), resume=True)
        except UserError as error:
            os._exit(3 if 'another process is' in str(error) else 4)
        os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    writing.record.close()
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    file.write_text('{"path": 3\n' + file.read_text())
    with pytest.raises(UserError, match=r'predictions\.jsonl, line 1 is damaged'):
        PredictionFolder(tmp_path, dict(size=1), resume=True)
    file.unlink()
    with pytest.raises(UserError, match=r'has predictions\.csv but no predictions\.jsonl to go on with'):
        PredictionFolder(tmp_path, dict(size=1), resume=True)


def test_names_of_classes_and_drawings(tmp_path):
    assert distinct_names(['crane', 'cat', 'crane']) == ['crane #0', 'cat', 'crane #2']
    place = drawing_places(tmp_path, ['a/0.jpg', 'b/0.jpg', 'b/0.png', 'b/clip.mp4'])
    items = [
        'a/0.jpg',
        'b/0.jpg',
        'b/0.png',
        Frame('b/clip.mp4', 0.5, None),
        Frame('b/clip.mp4', 10.25, None),
    ]
    names = [str(place(item).relative_to(tmp_path)) for item in items]
    assert names == [
        'a/0.png', 'b/0.jpg.png', 'b/0.png.png', 'b/clip.frames/000000.500.png', 'b/clip.frames/000010.250.png'
    ]  # fmt: skip
    assert place_of(items[-1]) == 'b/clip.mp4#t=10.250'
