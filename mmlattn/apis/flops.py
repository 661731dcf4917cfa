"""Parameters and multiply-adds of classifiers.

Multiply-adds are those of convolutions, linear layers and matrix products; normalisation, activation, pooling and
interpolation count nothing, as in the papers.
"""

from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode

from mmlattn.utils.launch.config import dataset_of, type_name

from .pictures import ARRAY_SIDES, input_channels


@dataclass(frozen=True)
class Cost:
    """What a module costs: layers, elements, and multiply-adds for one picture."""

    convolutions: int
    #: Frozen ones too.
    parameters: int
    #: Running means and variances of normalisation layers.
    statistics: int
    multiply_adds: int


def count(model: BaseModel, height: int, width: int) -> dict[str, Cost]:
    """What every module of a model costs.

    Args:
        model (BaseModel): With a forward pass of ``mode='tensor'``. It is moved to the meta device.
        height (int): Of the input, pixels.
        width (int): Of the input, pixels.

    Returns:
        dict[str, Cost]: By the module's name; ``''`` is the whole model.
    """
    model = model.to('meta').eval()
    picture = torch.empty(1, input_channels(model), height, width, device='meta')
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(picture, mode='tensor')
    flops = counter.get_flop_counts()  # a multiply-add is two
    root = type(model).__name__
    spent = {
        name: sum(flops.get(f'{root}.{name}' if name else 'Global', {}).values()) // 2
        for name, _ in model.named_modules()
    }
    for name in reversed(spent):  # what is never called itself, such as a list, costs what its parts do
        if not spent[name]:
            spent[name] = sum(
                cost for part, cost in spent.items() if part and part.rpartition('.')[0] == name
            )
    costs = {}
    for name, module in model.named_modules():
        inside = list(module.modules())
        tracked = [m for m in inside if isinstance(m, _NormBase) and m.running_mean is not None]
        costs[name] = Cost(
            convolutions=sum(isinstance(m, _ConvNd) for m in inside),
            parameters=sum(p.numel() for p in module.parameters()),
            statistics=sum(m.running_mean.numel() + m.running_var.numel() for m in tracked),
            multiply_adds=spent[name],
        )
    return costs


def input_size(cfg: Config) -> tuple[int, int, str]:
    """Height and width of a square picture after the test pipeline of a config, and where they come from."""
    dataset = dataset_of(cfg)
    for transform in reversed(dataset.get('pipeline') or []):
        kind = type_name(transform)
        size = transform.get('crop_size') or transform.get('scale')
        if size is None or not kind.startswith(('Center', 'Random', 'Resize')):
            continue
        first, second = (size, size) if isinstance(size, int) else size
        # mmcv takes (width, height), mmpretrain's random crop the other way round.
        return *((first, second) if kind == 'RandomCrop' else (second, first)), f'{kind} of the test pipeline'
    kind = type_name(dataset)
    if kind in ARRAY_SIDES:
        return ARRAY_SIDES[kind], ARRAY_SIDES[kind], f'the pictures of {kind}'
    return 224, 224, 'the config names no size; choose with --shape'
