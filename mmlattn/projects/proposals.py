"""What a first training should look like: backbone, size of the pictures, batch, schedule."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmlattn.utils.arguments import check_choice, check_whole
from mmlattn.utils.errors import UserError

SYSTEMS = {
    'csra': 'CSRA',
    'st-lstm': 'ST-LSTM',
    'cnn-rnn': 'CNN-RNN',
    'racnn': 'RA-CNN',
    'linear': 'Linear head',
}
#: Up to so many pictures the backbone stays as ImageNet made it, and RA-CNN does not learn where to look; ours.
FEW_PICTURES = 500
RACNN_EPOCHS = 81
_URL = 'https://download.openmmlab.com/mmclassification/v0/'


@dataclass(frozen=True)
class Backbone:
    """One that our heads read, with OpenMMLab's weights of ImageNet for it.

    Args:
        kind (str): Its class in mmpretrain.
        settings (Mapping): Its arguments.
        channels (int): Of its map, which has a 32nd of the picture's sides.
        frozen (Mapping): Further arguments that keep its layers and their statistics as they are.
        weights (str): Where they are, below OpenMMLab's folder.
    """

    kind: str
    settings: Mapping
    channels: int
    frozen: Mapping
    weights: str

    @property
    def url(self) -> str:
        """Of the weights."""
        return _URL + self.weights


_RESNET = dict(frozen_stages=4, norm_eval=True)
BACKBONES = {
    'resnet50': Backbone(
        'ResNet', dict(depth=50), 2048, _RESNET, 'resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth'
    ),
    'resnet101': Backbone(
        'ResNet', dict(depth=101), 2048, _RESNET, 'resnet/resnet101_8xb32_in1k_20210831-539c63f8.pth'
    ),
    'resnet18': Backbone(
        'ResNet', dict(depth=18), 512, _RESNET, 'resnet/resnet18_8xb32_in1k_20210831-fbbb1da6.pth'
    ),
    'mobilenet_v2': Backbone(
        'MobileNetV2',
        {},
        1280,
        dict(frozen_stages=7, norm_eval=True),
        'mobilenet_v2/mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth',
    ),
    'convnext_tiny': Backbone(
        'ConvNeXt',
        dict(arch='tiny', gap_before_final_norm=False),
        768,
        dict(frozen_stages=4),
        'convnext/convnext-tiny_32xb128_in1k_20221207-998cf3e9.pth',
    ),
}


@dataclass(frozen=True)
class Wishes:
    """What the user asked for; None leaves it to us."""

    system: str = 'csra'
    backbone: str = 'resnet50'
    weights: str | None = None
    size: int | None = None
    epochs: int | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_choice('--system', self.system, SYSTEMS)
        check_choice('--backbone', self.backbone, BACKBONES)
        least = 10 if self.system == 'racnn' else 3
        epochs = '--epochs' + (' of --system racnn' if self.system == 'racnn' else '')
        for name, value, low in (('--size', self.size, 32), (epochs, self.epochs, least)):
            if value is not None:
                check_whole(name, value, low)
        if self.batch_size is not None:
            check_whole('--batch-size', self.batch_size, 1)


@dataclass(frozen=True)
class Proposal:
    """A training, ready to be written as a config.

    Args:
        system (str): One of :data:`SYSTEMS`.
        backbone (Backbone): From :data:`BACKBONES`.
        weights (str, optional): URL or path of those that the backbone starts from; None for random ones.
        prefix (str, optional): What stands before the names of the backbone's weights in that file.
        frozen (bool): Whether the backbone does not learn.
        learns_squares (bool): Whether RA-CNN learns where to look, in phases; else it looks at the highest response.
        size (int): Side to which pictures are resized.
        batch_size (int): Pictures a step.
        epochs (int): Passes over the training pictures.
    """

    system: str
    backbone: Backbone
    weights: str | None
    prefix: str | None
    frozen: bool
    learns_squares: bool
    size: int
    batch_size: int
    epochs: int

    @property
    def cells(self) -> int:
        """Cells along a side of the backbone's map."""
        return math.ceil(self.size / 32)


def propose(wishes: Wishes, num_train: int, sizes: np.ndarray) -> Proposal:
    """Fill in what the user left open.

    Args:
        wishes (Wishes): Of the user.
        num_train (int): Training pictures.
        sizes (np.ndarray): (N, 2), width and height of all pictures.

    Raises:
        UserError: If the file of weights does not fit the backbone.
    """
    backbone = BACKBONES[wishes.backbone]
    weights, prefix = backbone.url, 'backbone'
    if wishes.weights == 'none':
        weights, prefix = None, None
    elif wishes.weights is not None:
        weights = str(Path(wishes.weights).resolve())
        prefix = prefix_in(Path(weights), backbone)
    size = wishes.size or proposed_size(sizes, wishes.system)
    racnn, few = wishes.system == 'racnn', num_train <= FEW_PICTURES
    # RA-CNN's networks must learn to tell the crops of one picture apart.
    frozen = few and weights is not None and not racnn
    learns_squares = racnn and not few
    epochs = RACNN_EPOCHS if learns_squares else 30
    return Proposal(
        wishes.system,
        backbone,
        weights,
        prefix,
        frozen,
        learns_squares,
        size,
        wishes.batch_size or proposed_batch(num_train, size),
        wishes.epochs or epochs,
    )


def proposed_size(sizes: np.ndarray, system: str) -> int:
    """448 where half of the pictures have a short side of at least that, as papers take it; else 224.

    RA-CNN takes 448 always, for it cuts crops of half the side.
    """
    return 448 if system == 'racnn' or np.median(sizes.min(axis=1)) >= 448 else 224


def proposed_batch(num_train: int, size: int) -> int:
    """32 pictures a step, 16 of more than 224 pixels; fewer, 8 at least, for an epoch of 8 steps."""
    batch = 32 if size <= 224 else 16
    while batch > 8 and num_train < 8 * batch:
        batch //= 2
    return batch


def prefix_in(path: Path, backbone: Backbone) -> str | None:
    """What stands before a backbone's names in a file that has all of its weights.

    Raises:
        UserError: If it has not; the first that is missing or of another shape is named.
    """
    from mmpretrain.registry import MODELS

    from mmlattn.utils.checkpoint.weight_files import read_weights

    state, _ = read_weights(path)
    prefix = 'backbone' if any(name.startswith('backbone.') for name in state) else None
    network = MODELS.build(dict(backbone.settings, type=f'mmpretrain.{backbone.kind}'))
    needed = {f'{prefix}.{name}' if prefix else name: value for name, value in network.state_dict().items()}
    needed = {name: value for name, value in needed.items() if not name.endswith('num_batches_tracked')}
    wrong = [name for name, value in needed.items() if name not in state or state[name].shape != value.shape]
    if wrong:
        raise UserError(
            f'--weights {path} lacks {len(wrong)} of the {len(needed)} weights of {backbone.kind}, or has them in '
            f'other shapes, first {wrong[0]}: name the file of that backbone, or choose another --backbone'
        )
    return prefix
