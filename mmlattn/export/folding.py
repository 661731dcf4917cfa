"""Constants of a trained model, worked out before it is exported."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

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
    """Fold each batch normalisation into the convolution whose output it reads, in place.

    Which these are shows while a batch passes, not in the order in which modules are named: that is another one in
    pre-activated units. A convolution whose output something else reads too is told by the outcome.

    Args:
        model (nn.Module): In evaluation mode.
        image (Tensor): A batch of normalised pictures.

    Returns:
        int: How many were folded; 0 where the model would say something else afterwards.
    """
    pairs = _followed_by(model, image)
    names = {module: name for name, module in model.named_modules()}
    plain = {name: model.get_submodule(name) for pair in pairs for name in map(names.get, pair)}
    before = model(image, mode='tensor')
    for conv, norm in pairs:
        _replace(model, names[conv], fuse_conv_bn_eval(conv, norm))
        _replace(model, names[norm], nn.Identity())
    if torch.allclose(model(image, mode='tensor'), before, rtol=1e-3, atol=1e-4):
        return len(pairs)
    for name, module in plain.items():
        _replace(model, name, module)
    return 0


def _followed_by(model: nn.Module, image: Tensor) -> list[tuple[nn.Conv2d, _BatchNorm]]:
    """Convolutions, and the normalisation that always reads their output and no other."""
    made: dict[int, nn.Conv2d] = {}
    reads: dict[_BatchNorm, set] = {}
    kept = []

    def convolved(module: nn.Conv2d, args: tuple, output: Tensor) -> None:
        made[id(output)] = module
        kept.append(output)  # so that no other tensor gets its id

    def normalised(module: _BatchNorm, args: tuple, output: Tensor) -> None:
        reads.setdefault(module, set()).add(made.get(id(args[0])))

    hooks = [
        module.register_forward_hook(convolved if type(module) is nn.Conv2d else normalised)
        for module in model.modules()
        if type(module) is nn.Conv2d or (isinstance(module, _BatchNorm) and module.running_mean is not None)
    ]
    model(image, mode='tensor')
    for hook in hooks:
        hook.remove()
    found = [
        (next(iter(convs)), norm) for norm, convs in reads.items() if len(convs) == 1 and None not in convs
    ]
    users = [conv for conv, _ in found]
    return [(conv, norm) for conv, norm in found if users.count(conv) == 1]


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition('.')
    setattr(model.get_submodule(parent), own, module)
