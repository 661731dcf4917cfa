"""What a Runner trains on in the place of pictures and a backbone."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.registry import DATASETS as ROOT_DATASETS
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import Dataset

from mmlattn.registry import DATASETS, MODELS
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import preprocessor_of

from .map_files import MapFile


@DATASETS.register_module()
class StoredFeatures(Dataset):
    """Feature maps in files in the place of the pictures of a data set, whose labels they keep.

    An item is what the data set would give: ``inputs``, here the map (D, h, w) in float16, and ``data_samples``. In
    training each visit takes one of the views at random. Whole batches come at once: give the loader
    ``collate_fn=dict(type=mmlattn.comparison.stored.whole_batch)``. Every other attribute is the data set's.

    Args:
        source (dict | Dataset): The data set of mmpretrain that the maps were made of, whose pipeline ends with
            ``PackInputs``.
        files (Sequence[str]): ``KEY.npy`` of each view, the plain one first; ``KEY.json`` lies beside it.
        indices (Sequence[int], optional): The pictures to take. Defaults to all.

    Raises:
        UserError: If a file is missing, or is of another number of pictures.
    """

    def __init__(
        self, source: dict | Dataset, files: Sequence[str], indices: Sequence[int] | None = None
    ) -> None:
        self.source = ROOT_DATASETS.build(source) if isinstance(source, dict) else source
        stored = [MapFile(Path(file).parent, Path(file).stem) for file in files]
        for file, one in zip(files, stored, strict=True):
            if not one.complete:
                raise UserError(
                    f'{file} has no stored features, or not yet all: let compare_heads.py make them'
                )
        self.maps = [one.read() for one in stored]
        for file, maps in zip(files, self.maps, strict=True):
            if len(maps) != len(self.source):
                raise UserError(
                    f'{file} has the features of {len(maps)} pictures and the data set {len(self.source)}: they are '
                    'of other data'
                )
        self.indices = np.arange(len(self.source)) if indices is None else np.asarray(indices, np.int64)
        self.samples = self._pack(stored[0].read_facts()['pictures'])

    def _pack(self, facts: Sequence[dict]) -> list[DataSample]:
        pack = self.source.pipeline.transforms[-1]
        return [
            pack(self.source.get_data_info(int(number)) | _tuples(facts[number]))['data_samples']
            for number in self.indices
        ]

    def __len__(self) -> int:
        """Pictures."""
        return len(self.indices)

    def __getitem__(self, index: int) -> dict:
        """One map with its labels."""
        batch = self.__getitems__([index])
        return dict(inputs=batch['inputs'][0], data_samples=batch['data_samples'][0])

    def __getitems__(self, indices: Sequence[int]) -> dict:
        """A batch: ``inputs`` (B, D, h, w) and a list of ``data_samples``."""
        numbers = self.indices[np.asarray(indices)]
        if len(self.maps) == 1:
            maps = self.maps[0][numbers]
        else:
            views = torch.randint(len(self.maps), (len(numbers),)).tolist()
            maps = np.stack([self.maps[view][number] for view, number in zip(views, numbers, strict=True)])
        # Copies, for who takes a batch writes mixed labels and predictions into its samples.
        samples = [self.samples[index].clone() for index in indices]
        return dict(inputs=torch.from_numpy(maps), data_samples=samples)

    def get_data_info(self, index: int) -> dict:
        """As the data set has it."""
        return self.source.get_data_info(int(self.indices[index]))

    def get_cat_ids(self, index: int) -> list[int]:
        """Labels of a picture."""
        return self.source.get_cat_ids(int(self.indices[index]))

    def __getattr__(self, name: str):
        if name.startswith('__') or name == 'source':
            raise AttributeError(name)
        return getattr(self.source, name)


def stored_config(cfg: Config, files: Mapping[str, str]) -> Config:
    """The config on stored features.

    Args:
        cfg (Config): Of the head.
        files (Mapping[str, str]): ``KEY.npy`` of ``train``, ``val`` and ``test``.
    """
    cfg = copy.deepcopy(cfg)
    cfg.model.backbone = dict(type='mmlattn.StoredFeaturesBackbone')
    kept = {
        key: value
        for key, value in preprocessor_of(cfg).items()
        if key in ('type', 'num_classes', 'to_onehot')
    }
    cfg.model.pop('data_preprocessor', None)
    cfg.data_preprocessor = kept
    pipeline = cfg.test_dataloader.dataset.pipeline
    for split, file in files.items():
        loader = cfg[f'{split}_dataloader']
        source = dict(loader.dataset, pipeline=pipeline)
        loader.dataset = dict(type='mmlattn.StoredFeatures', source=source, files=[file])
        loader.collate_fn = dict(type=f'{__name__}.whole_batch')
        loader.update(num_workers=0, persistent_workers=False)
    return cfg


def whole_batch(batch: dict | list[dict]) -> dict:
    """The batch as :class:`StoredFeatures` gives it, or the one that mmpretrain makes of items."""
    if isinstance(batch, dict):
        return batch
    return dict(
        inputs=torch.stack([item['inputs'] for item in batch]),
        data_samples=[item['data_samples'] for item in batch],
    )


def _tuples(facts: dict) -> dict:
    """Json has lists in the place of tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}


@MODELS.register_module()
class StoredFeaturesBackbone(BaseModule):
    """Hands stored features (B, ...) to neck and head as a backbone hands its last output."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The features, as a tuple of one."""
        return (x,)


@MODELS.register_module()
class FrozenBackbone(BaseModule):
    """Any backbone, held still: no gradient, no statistics of the batch, no dropout.

    Weights have the names that they have without it.

    Args:
        backbone (dict): Config of the backbone.
        init_cfg (dict, optional): In the place of the backbone's own.
    """

    def __init__(self, backbone: dict, init_cfg: dict | None = None) -> None:
        super().__init__()
        more = {} if init_cfg is None else dict(init_cfg=init_cfg)
        self.backbone = MMPRETRAIN_MODELS.build({**backbone, **more})
        self.backbone.requires_grad_(False)
        self.register_load_state_dict_pre_hook(_add_name)
        self.register_state_dict_post_hook(_drop_name)

    def init_weights(self) -> None:
        """Load or draw the weights of the backbone."""
        self.backbone.init_weights()

    def train(self, mode: bool = True) -> 'FrozenBackbone':
        """Switch all but the backbone."""
        super().train(mode)
        self.backbone.eval()
        return self

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the backbone."""
        return self.backbone(x)


def _add_name(module, state_dict: dict, prefix: str, *_) -> None:
    own = f'{prefix}backbone.'
    for name in [name for name in state_dict if name.startswith(prefix) and not name.startswith(own)]:
        state_dict[own + name.removeprefix(prefix)] = state_dict.pop(name)


def _drop_name(module, state_dict: dict, prefix: str, _) -> None:
    own = f'{prefix}backbone.'
    for name in [name for name in state_dict if name.startswith(own)]:
        state_dict[prefix + name.removeprefix(own)] = state_dict.pop(name)
