"""Every tool that opens a file of others, on hostile ones: nothing runs or is touched, and one line is said."""

import hashlib
import io
import json
import multiprocessing
import os
import pickle
import re
import runpy
import sys
import tarfile
import tempfile
import traceback
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from PIL import Image
from safetensors.torch import save_file
from tiny_run import TOOLS, run_tool, write_tiny_run

from mmlattn.utils.checkpoint.loading import safe_loading
from mmlattn.utils.errors import UserError
from mmlattn.utils.predictions import load_predictions
from mmlattn.utils.weights import load_all_weights


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args, state=None):
        self.parts = function, args, state

    def __reduce__(self):
        return self.parts


def command(folder):
    """What would leave a marker, and spoil what is not the run's."""
    return f'touch {folder}/marker; echo spoilt > {folder}/outside/valuable.pth'


def rewrite(path, changes=None, extra=(), compression=zipfile.ZIP_STORED):
    """The archive of ``torch.save`` with other content for its pickle, and more entries."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, content in entries:
            archive.writestr(name, changes(content) if changes and name.endswith('data.pkl') else content)
        for name, content in extra:
            archive.writestr(name, content)


def old_tar(path, folder):
    """The format before torch 0.1.10."""
    evil = pickle.dumps(Call(os.system, command(folder)), 2)
    with tarfile.open(path, 'w') as archive:
        for name in ('sys_info', 'storages', 'tensors', 'pickle', '../outside/valuable.pth'):
            info = tarfile.TarInfo(name)
            info.size = len(evil)
            archive.addfile(info, io.BytesIO(evil))


def python_eval(path, folder):
    code = f'__import__("os").system("touch {folder}/marker")'
    path.write_bytes(
        b'\x80\x02cbuiltins\neval\n(X' + len(code).to_bytes(4, 'little') + code.encode() + b'tR.'
    )


def nested(path, _):
    torch.save(dict(state_dict={}), path)
    rewrite(path, lambda _: b'\x80\x02' + b']' * 10**5 + b'a' * (10**5 - 1) + b'.')


def multiplied(path, _):
    """Ten to the power of twelve values in a few bytes."""
    value = 0.5
    for _ in range(12):
        value = [value] * 10
    optimizer = dict(state={}, param_groups=value)
    torch.save(dict(state_dict={'a': torch.ones(1)}, message_hub={}, optimizer=optimizer), path)


def claims(path, _):
    torch.save(dict(state_dict={'a': torch.zeros(1000)}), path)
    large = b'\x8a\x05' + (10**12).to_bytes(5, 'little')
    rewrite(path, lambda content: content.replace(b'M\xe8\x03', large))


def bomb(path, _):
    torch.save(dict(state_dict={'a': torch.zeros(3 * 10**7, dtype=torch.uint8)}), path)
    rewrite(path, compression=zipfile.ZIP_DEFLATED)


def climbing_names(path, folder):
    torch.save(dict(state_dict={'a': torch.zeros(3)}), path)
    up = '../' * 30
    rewrite(
        path, extra=[(f'{up}{folder}/outside/valuable.pth', 'spoilt'), ('../outside/valuable.pth', 'spoilt')]
    )


def two_of_a_name(path, _):
    torch.save(dict(state_dict={'a': torch.zeros(3)}), path)
    rewrite(path, extra=[(f'{path.stem}/data.pkl', b'\x80\x02]q\x00.')])


def flagged_type(path, _):
    """Numpy's own reader of types would follow the bytes of this array as addresses."""
    flagged = Call(np.dtype, 'O8', False, True, state=(3, '|', None, None, None, -1, -1, 0))
    scalar = Call(np.float64(0).__reduce__()[0], flagged, b'A' * 8)
    torch.save(dict(state_dict={'a': torch.ones(1)}, meta=scalar), path)


def hub_of_objects(path, folder):
    info = dict(epoch=1, note=Call(os.system, command(folder)))
    hub = dict(log_scalars={}, runtime_info=info, resumed_keys={})
    torch.save(dict(state_dict={}, meta={}, message_hub=hub), path)


def spoken_for(whole):
    """A file that fits, so that everything in it is used; what it says to run and to remove has to stay unused."""

    def write(path, folder):
        code = f'import os\nos.system({command(folder)!r})\n'
        checkpoint = torch.load(whole, weights_only=False)
        checkpoint['meta'] |= dict(config=code, cfg=code)
        info, valuable = checkpoint['message_hub']['runtime_info'], f'{folder}/outside/valuable.pth'
        info |= dict(
            cfg=code, best_ckpt=valuable, last_ckpt=valuable, keep_ckpt_ids=['../outside/valuable', 1]
        )
        info |= {'best_ckpt_accuracy/top1': valuable, 'best_score': -1.0}
        checkpoint.pop('digests')
        torch.save(checkpoint, path)

    return write


def headed(header, content=b''):
    """A file of safetensors with a header that lies."""

    def write(path, _):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, 'little') + text + content)

    return write


def told(content, checksum=None):
    """A file of safetensors like ours, that tells something else."""
    text = json.dumps(content)
    texts = dict(mmlattn=text, mmlattn_sha256=checksum or hashlib.sha256(text.encode()).hexdigest())
    return lambda path, _: save_file(dict(a=torch.ones(1)), path, texts)


def tensor_entry(shape, *offsets):
    return dict(dtype='F32', shape=shape, data_offsets=offsets)


FILES = {
    'reduce': lambda path, folder: torch.save(dict(state_dict={}, a=Call(os.system, command(folder))), path),
    'not zipped': lambda path, folder: torch.save(
        dict(state_dict={}, a=Call(os.system, command(folder))), path, _use_new_zipfile_serialization=False
    ),
    'eval': python_eval,
    'tar': old_tar,
    'objects in the log': hub_of_objects,
    'type of objects': flagged_type,
    'bomb': bomb,
    'names that climb': climbing_names,
    'storage of 10^12': claims,
    'nested': nested,
    'pickle.safetensors': lambda path, folder: path.write_bytes(pickle.dumps(Call(os.system, command(folder)))),
    'shapes of 10^12.safetensors': headed(dict(a=tensor_entry([10**6, 10**6], 0, 4 * 10**12)), bytes(64)),
}  # fmt: skip
# Kept from the tools by the same function.
MORE_FILES = {
    'pickle': lambda path, folder: path.write_bytes(pickle.dumps(Call(os.system, command(folder)))),
    'getattr': lambda path, _: torch.save(Call(getattr, HistoryBuffer, '__subclasses__'), path),
    'two of a name': two_of_a_name,
    'strides of 10^12': lambda path, _: torch.save({'a': torch.zeros(1).expand(10**6, 10**6)}, path),
    'multiplied': multiplied,
    'text of 4 GB': lambda path, _: path.write_bytes(b'\x80\x02X\xff\xff\xff\xffabc.'),
    'zip.safetensors': lambda path, folder: torch.save(Call(os.system, command(folder)), path),
    'empty.safetensors': lambda path, _: path.write_bytes(b''),
    'header of 10^12.safetensors': lambda path, _: path.write_bytes((10**12).to_bytes(8, 'little') + b'{}'),
    'nested.safetensors': headed(b'{"a":' * 10**5),
    'overlap.safetensors': headed(dict(a=tensor_entry([2], 0, 8), b=tensor_entry([2], 4, 12)), bytes(12)),
    'hole.safetensors': headed(dict(a=tensor_entry([1], 0, 4), b=tensor_entry([1], 8, 12)), bytes(12)),
    'other size.safetensors': headed(dict(a=tensor_entry([3], 0, 8)), bytes(8)),
    'product of 2^66.safetensors': headed(dict(a=tensor_entry([2**33, 2**33], 0, 0))),
    'rest.safetensors': headed(dict(a=tensor_entry([1], 0, 4)), bytes(99)),
    'safetensors by content': headed(dict(a=tensor_entry([3], 0, 8)), bytes(8)),
    'nan.safetensors': headed(dict(a=tensor_entry([1], 0, 4)), np.float32('nan').tobytes()),
    'other text.safetensors': told(dict(meta={}), checksum='0' * 64),
    'text of none.safetensors': told([]),
    'shared with none.safetensors': told(dict(shared=dict(b='c'))),
    'shared with itself.safetensors': told(dict(shared=dict(a='a'))),
    'meta of numbers.safetensors': told(dict(meta=3)),
    'epoch of text.safetensors': told(dict(meta=dict(epoch='1'))),
    'classes of numbers.safetensors': told(dict(meta=dict(dataset_meta=dict(classes=[1])))),
    'versions of text.safetensors': told(dict(versions=dict(a='b'))),
}


def file_name(kind):
    return kind if kind.endswith('.safetensors') else f'{kind}.pth'


def pickled(*values):
    return lambda path, folder: path.write_bytes(pickle.dumps([dict(a=v(folder)) for v in values], 2))


PREDICTIONS = {
    'system': pickled(lambda folder: Call(os.system, command(folder))),
    'objects': pickled(lambda folder: np.array([Call(os.system, command(folder))], dtype=object)),
    'strides': pickled(lambda _: torch.zeros(1).expand(10**6, 10**6)),
    'truths': pickled(lambda _: torch.zeros(1, dtype=torch.bool).expand(10**6, 10**6)),
    'bytes': pickled(lambda _: Call(bytes, 10**12)),
    'eval': python_eval,
    'list': pickled(),
    'text': lambda path, _: path.write_bytes(b'\x80\x02X\xff\xff\xff\xffabc.'),
    'nested': lambda path, _: path.write_bytes(b'\x80\x02' + b']' * 10**5 + b'a' * (10**5 - 1) + b'.'),
    'checkpoint': FILES['reduce'],
    'tar': old_tar,
}

# How each tool is told to open FILE; {c} is a config, {p} a picture.
CHECKPOINT_TOOLS = {
    'test': ('test.py', '{tiny}', 'FILE', '--work-dir', 'run'),
    'resume': ('train.py', '{tiny}', '--resume', 'FILE', '--work-dir', 'run'),
    'load_from': ('train.py', '{tiny}', '--work-dir', 'run', '--cfg-options', 'load_from=FILE'),
    'backbone': (
        'train.py', '{tiny}', '--work-dir', 'run', '--cfg-options', 'model.backbone.init_cfg.type=Pretrained',
        'model.backbone.init_cfg.checkpoint=FILE',
    ),
    'predict': ('predict.py', '{csra}', 'FILE', '{p}', '--out-dir', 'out', '--workers', '0'),
    'show_evidence': ('visualization/show_evidence.py', '{csra}', 'FILE', '{p}', '--out-dir', 'shown'),
    'photo_gallery': (
        'visualization/photo_gallery.py', '{p}', '.', '--out', 'a.jpg', '--attribution', 'a.md', '--model', 'CSRA',
        '{csra}', 'FILE', '1',
    ),
    'show_masks': ('visualization/show_masks.py', '{csra}', '{p}', '--checkpoint', 'FILE', '--out-dir', 'shown'),
    'export': ('export.py', '{csra}', 'FILE', '--out', 'model.onnx'),
    'show_tsne': ('visualization/show_tsne.py', '{csra}', 'FILE', '--out', 'map.png'),
    'export_regions': ('analysis_tools/export_regions.py', '{csra}', 'FILE', '--out', 'regions.json'),
    'deletion': ('analysis_tools/deletion.py', '{csra}', 'FILE', '--out', 'deletion.json', '--orders', 'random'),
    'show_errors': ('analysis_tools/show_errors.py', '{csra}', 'FILE', '--out', 'errors.html'),
    'mean_response': (
        'analysis_tools/mean_response.py', '{csra}', '--checkpoints', 'FILE', '--images', '{p}', '--out', 'a.png',
    ),
    'tune_thresholds': ('analysis_tools/tune_thresholds.py', '{csra}', 'FILE', '--out', 'tuned.pth'),
    'tune_csra': ('analysis_tools/tune_csra.py', '{csra}', 'FILE', '--out', 'tuned.pth'),
    'known_labels': ('analysis_tools/known_labels.py', '{csra}', 'FILE', '--out', 'known.json'),
    'region_places': ('analysis_tools/region_places.py', '{csra}', 'FILE', '--out', 'places.json'),
    'complete_weights': ('model_converters/complete_weights.py', '{csra}', 'FILE', 'whole.pth'),
    'publish': ('publish_model.py', 'FILE', 'published.safetensors'),
    'publish a folder': ('publish_model.py', 'FILE', 'folder', '--config', '{csra}'),
    'convert_ran': ('model_converters/convert_ran.py', 'FILE', 'converted.pth'),
    'convert_csra': ('model_converters/convert_csra.py', 'FILE', 'converted.pth'),
}  # fmt: skip
PREDICTION_TOOLS = {
    'tune_scores': (
        'analysis_tools/tune_thresholds.py', '{tiny}', '{w}', '--predictions', 'FILE', '--out', 'tuned.pth',
    ),
    'exit_curve': ('analysis_tools/exit_curve.py', '{tiny}', 'FILE', '--out', 'curve.png'),
    'fuse_scores': ('analysis_tools/fuse_scores.py', '{tiny}', 'FILE', '{p}'),
    'show_errors': ('analysis_tools/show_errors.py', '{tiny}', '--predictions', 'FILE', '--out', 'errors.html'),
}  # fmt: skip


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Configs, a picture, hostile files in a folder of their own, and what is not theirs to touch."""
    folder = tmp_path_factory.mktemp('world')
    tiny = write_tiny_run(folder)
    csra = folder / 'csra.py'
    csra.write_text(
        f'_base_ = {str(tiny)!r}\nmodel = dict(neck=None, train_cfg=None, head=dict(_delete_=True, '
        "type='mmlattn.CSRAHead', num_classes=3, in_channels=32, num_heads=1, lam=0.1))\n"
    )
    Image.new('RGB', (40, 40)).save(folder / 'a.png')
    (folder / 'outside').mkdir()
    (folder / 'outside' / 'valuable.pth').write_text('mine')
    (folder / 'files').mkdir()
    (folder / 'cwd').mkdir()
    run = folder / 'whole'
    run.mkdir()
    done = run_tool('train.py', tiny, '--work-dir', run, cwd=run)
    assert done.returncode == 0, done.stderr
    (folder / 'predictions').mkdir()
    for name, write in {**FILES, 'fits': spoken_for(run / 'epoch_1.pth')}.items():
        write(folder / 'files' / file_name(name), folder)
    for name, write in PREDICTIONS.items():
        write(folder / 'predictions' / f'{name}.pkl', folder)
    return folder


def drive(tool, calls, folder, results):
    """Run a tool for each list of arguments, one after the other in this process; what each said and how it ended."""
    touched = []
    changing = ('os.remove', 'os.rename', 'os.mkdir', 'os.rmdir', 'os.link', 'os.symlink', 'shutil.rmtree')

    def watch(event, args):
        if event in ('os.system', 'os.exec', 'os.posix_spawn', 'subprocess.Popen') and 'marker' in repr(args):
            touched.append(event)
        paths = args[:2] if event in ('os.rename', 'os.link', 'os.symlink') else args[:1]
        writes = event == 'open' and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if event in changing or writes:
            touched.extend(
                f'{event} {path}' for path in paths if isinstance(path, str) and _is_outside(path, folder)
            )

    torch.set_num_threads(1)
    # Where mmengine reads a copy of the config from.
    tempfile.tempdir = str(folder / 'cwd')
    # One file for all, since loggers keep theirs.
    sys.stdout = sys.stderr = results.with_suffix('.txt').open('w', buffering=1)
    before = 0
    sys.addaudithook(watch)
    for name, args in calls.items():
        cwd = results.with_suffix('') / name
        cwd.mkdir(parents=True)
        os.chdir(cwd)
        sys.argv = [tool, *args]
        status = 0
        try:
            runpy.run_path(str(TOOLS / tool), run_name='__main__')
        except SystemExit as error:
            status = error.code or 0
        except BaseException:
            traceback.print_exc()
            status = 'traceback'
        said = results.with_suffix('.txt').read_text()
        with results.open('a') as file:
            file.write(json.dumps([name, status, said[before:], touched]) + '\n')
        before = len(said)
        touched.clear()


def _is_outside(path, folder):
    real = os.path.realpath(path)
    return not real.startswith((str(folder / 'cwd'), '/dev/')) and '__pycache__' not in real


def check(world, way, tool, flags, files):
    places = dict(
        tiny=world / 'tiny.py', csra=world / 'csra.py', p=world / 'a.png', w=world / 'whole' / 'epoch_1.pth'
    )
    calls = {
        file.name: [flag.format(**places).replace('FILE', str(file)) for flag in flags] for file in files
    }
    # A tool may open both kinds.
    results = world / 'cwd' / f'{way}-{files[0].parent.name}.json'
    process = multiprocessing.get_context('fork').Process(target=drive, args=(tool, calls, world, results))
    process.start()
    process.join(200)
    problems = []
    told = [json.loads(line) for line in results.read_text().splitlines()]
    assert len(told) == len(calls), (
        f'{list(calls)[len(told)]} ended or stopped the process: {process.exitcode}'
    )
    for name, status, said, touched in told:
        last = said.strip().rpartition('\n')[2]
        fits = name == 'fits.pth'  # this model, so it may be used, and its file is no matter
        refused = status == 1 and last.startswith('error: ') and (fits or name in last)
        if 'Traceback' in said or not (refused or (fits and status == 0)):
            problems.append(f'{name}: {status}: {said[-1500:]}')
        if touched:
            problems.append(f'{name}: {touched}')
    assert not problems, '\n'.join(problems)
    assert not (world / 'marker').exists()
    assert [path.name for path in (world / 'outside').iterdir()] == ['valuable.pth']
    assert (world / 'outside' / 'valuable.pth').read_text() == 'mine'


@pytest.mark.slow
@pytest.mark.parametrize('way', CHECKPOINT_TOOLS)
def test_tools_that_open_checkpoints(world, way):
    tool, *flags = CHECKPOINT_TOOLS[way]
    check(world, way, tool, flags, sorted((world / 'files').iterdir()))


@pytest.mark.slow
@pytest.mark.parametrize('way', PREDICTION_TOOLS)
def test_tools_that_open_predictions(world, way):
    tool, *flags = PREDICTION_TOOLS[way]
    check(world, way, tool, flags, sorted((world / 'predictions').iterdir()))


def test_every_tool_is_tried():
    """A tool opens a file of others where it takes a checkpoint or predictions."""
    opening = re.compile(
        r'load_model\(|load_from =|load_predictions\(|read_weights\(|Inferencer\(|load_checkpoint\(|save_pretrained\('
    )
    tools = {str(path.relative_to(TOOLS)) for path in TOOLS.rglob('*.py') if opening.search(path.read_text())}
    tried = {tool for tool, *_ in [*CHECKPOINT_TOOLS.values(), *PREDICTION_TOOLS.values()]}
    own = {'demo/gallery.py', 'analysis_tools/benchmark_ran.py'}  # see tools/demo/run_demo.py; random weights
    assert tools - own <= tried, tools - own - tried


@pytest.mark.parametrize('name', FILES | MORE_FILES)
def test_the_reader(tmp_path, name):
    """What all of them open files with."""
    (tmp_path / 'outside').mkdir()
    path = tmp_path / file_name(name)
    (FILES | MORE_FILES)[name](path, tmp_path)
    with safe_loading(), pytest.raises(UserError) as caught:
        load_all_weights(torch.nn.Linear(1, 1), CheckpointLoader.load_checkpoint(str(path)), str(path))
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)
    assert not (tmp_path / 'marker').exists() and not any((tmp_path / 'outside').iterdir())


@pytest.mark.parametrize('name', PREDICTIONS)
def test_the_reader_of_predictions(tmp_path, name):
    path = tmp_path / 'a.pkl'
    PREDICTIONS[name](path, tmp_path)
    with pytest.raises(UserError) as caught:
        load_predictions(str(path))
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)
    assert not (tmp_path / 'marker').exists()
