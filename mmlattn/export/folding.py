"""Constants of a trained model, worked out before it is exported."""

from collections import Counter
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmlattn.models.csra.head import CSRAHead
from mmlattn.models.csra.pooling import inverse_norms


def folded(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose CSRA heads have normalised rows for weights; on the CPU, in float32."""
    model = deepcopy(model).cpu().float().eval().requires_grad_(False)
    for head in model.modules():
        if isinstance(head, CSRAHead) and head.normalize:
            head.weight.mul_(inverse_norms(head.weight)[..., None])
            head.store_settings(**{**head._settings, 'normalize': False})
    return model


@torch.no_grad()
def fold_batch_norms(model: nn.Module, image: Tensor) -> int:
    """Fold each batch normalisation into the convolution whose output it alone reads, in place.

    Which these are shows while a picture passes, not in the order in which modules are named: that is another one in
    pre-activated units.

    Args:
        model (nn.Module): In evaluation mode.
        image (Tensor): Normalised pictures.

    Returns:
        int: How many were folded.
    """
    pairs = _followed_by(model, image[:1])
    names = {module: name for name, module in model.named_modules()}
    for conv, norm in pairs:
        _replace(model, names[conv], fuse_conv_bn_eval(conv, norm))
        _replace(model, names[norm], nn.Identity())
    return len(pairs)


# No subclasses: timm's normalise and rectify in one.
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


class _Readers(TorchDispatchMode):
    """Counts how often each tensor is read."""

    def __init__(self) -> None:
        super().__init__()
        self.times: Counter[int] = Counter()
        self.kept: list[Tensor] = []  # so that no other tensor gets the id of one

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Count and go on."""
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                self.times[id(value)] += 1
                self.kept.append(value)
        return function(*args, **(kwargs or {}))


def _followed_by(model: nn.Module, image: Tensor) -> list[tuple[nn.Conv2d, _BatchNorm]]:
    """Convolutions, and the normalisation that reads all of their outputs, and nothing else does."""
    made: dict[int, nn.Conv2d] = {}
    outputs: dict[nn.Conv2d, list[int]] = {}
    reads: dict[_BatchNorm, list[int]] = {}

    def convolved(module: nn.Conv2d, args: tuple, output: Tensor) -> None:
        made[id(output)] = module
        outputs.setdefault(module, []).append(id(output))

    def normalised(module: _BatchNorm, args: tuple, output: Tensor) -> None:
        reads.setdefault(module, []).append(id(args[0]))

    hooks = [
        module.register_forward_hook(convolved if type(module) is nn.Conv2d else normalised)
        for module in model.modules()
        if type(module) is nn.Conv2d or (type(module) in _NORMS and module.running_mean is not None)
    ]
    with _Readers() as readers:
        model(image, mode='tensor')
    for hook in hooks:
        hook.remove()
    pairs = []
    for norm, read in reads.items():
        conv = made.get(read[0])
        if conv is not None and outputs[conv] == read and all(readers.times[one] == 1 for one in read):
            pairs.append((conv, norm))
    return pairs


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition('.')
    setattr(model.get_submodule(parent), own, module)
