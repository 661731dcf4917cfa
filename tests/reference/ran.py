"""The Residual Attention Network a second time: functions over a flat dict of weights, slow and plain.

Written from the paper and from what the authors' Caffe files and layers do (github.com/fwang91), not from the modules
under test; only the names of the weights are theirs.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Net:
    """Weights by name, the training flag, and what changes the wiring but not the weights.

    Running statistics are updated in place in ``weights`` when ``training``, as batch normalisation does.
    """

    def __init__(self, weights, unit='preact', groups=32, training=False, **wiring):
        self.weights = {name: tensor.detach().clone() for name, tensor in weights.items()}
        self.parameters = {
            name: tensor.requires_grad_()
            for name, tensor in self.weights.items()
            if name.rpartition('.')[2] in ('weight', 'bias')
        }
        self.unit = dict(preact=preact, resnext=resnext, inception=inception)[unit]
        self.postact = unit != 'preact'
        self.groups = groups
        self.training = training
        self.wiring = (
            dict(port=False, caffe=False, align_corners=True, learning='arl', attention='mixed') | wiring
        )
        assert len(self.wiring) == 5

    def conv(self, name, x, stride=1, padding=0, groups=1):
        assert f'{name}.bias' not in self.weights
        return F.conv2d(x, self.weights[f'{name}.weight'], None, stride, padding, 1, groups)

    def norm(self, name, x):
        mean, var, weight, bias = (
            self.weights[f'{name}.{key}'] for key in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return F.batch_norm(x, mean, var, weight, bias, self.training, 0.1, 1e-5)

    def has(self, prefix):
        return any(name.startswith(f'{prefix}.') for name in self.weights)

    def units(self, prefix, count, x):
        for i in range(count):
            x = self.unit(self, f'{prefix}.{i}', x)
        assert not self.has(f'{prefix}.{count}')
        return x


def preact(net, name, x, stride=1):
    """BN, ReLU, conv three times; the sum stays raw; a projection starts at the first ReLU."""
    a = F.relu(net.norm(f'{name}.norm1', x))
    y = net.conv(f'{name}.conv1', a)
    y = net.conv(f'{name}.conv2', F.relu(net.norm(f'{name}.norm2', y)), stride, 1)
    y = net.conv(f'{name}.conv3', F.relu(net.norm(f'{name}.norm3', y)))
    if x.shape[1] == y.shape[1] and stride == 1:
        assert not net.has(f'{name}.projection')
        return x + y
    return net.conv(f'{name}.projection', a, stride) + y


def postact_shortcut(net, name, x, channels, stride):
    if x.shape[1] == channels and stride == 1:
        assert not net.has(f'{name}.projection')
        return x
    return net.norm(f'{name}.projection.1', net.conv(f'{name}.projection.0', x, stride))


def resnext(net, name, x, stride=1):
    """Conv, BN three times with ReLU between and after the sum; the 3x3 is grouped."""
    y = F.relu(net.norm(f'{name}.norm1', net.conv(f'{name}.conv1', x)))
    y = F.relu(net.norm(f'{name}.norm2', net.conv(f'{name}.conv2', y, stride, 1, net.groups)))
    y = net.norm(f'{name}.norm3', net.conv(f'{name}.conv3', y))
    return F.relu(postact_shortcut(net, name, x, y.shape[1], stride) + y)


def inception(net, name, x, stride=1):
    """Branches 1x1 | 1x1, 3x3 | 1x1, 3x3, 3x3, the stride on each one's last conv; concatenated, widened, added."""

    def layer(key, y, step=1):
        kernel = net.weights[f'{name}.{key}.0.weight'].shape[-1]
        return F.relu(net.norm(f'{name}.{key}.1', net.conv(f'{name}.{key}.0', y, step, kernel // 2)))

    branches = [
        layer('branch1', x, stride),
        layer('branch2.1', layer('branch2.0', x), stride),
        layer('branch3.2', layer('branch3.1', layer('branch3.0', x)), stride),
    ]
    y = net.norm(f'{name}.expand.1', net.conv(f'{name}.expand.0', torch.cat(branches, 1)))
    return F.relu(postact_shortcut(net, name, x, y.shape[1], stride) + y)


def pool(net, x):
    """3x3 stride 2: padding 1 and floor, or Caffe's padding 0 and ceil."""
    return F.max_pool2d(x, 3, 2, ceil_mode=True) if net.wiring['caffe'] else F.max_pool2d(x, 3, 2, 1)


def interp(net, x, like):
    """Bilinear, written out as one matrix for each axis."""
    for axis in (2, 3):
        matrix = interpolation_matrix(x.shape[axis], like.shape[axis], net.wiring['align_corners']).to(x)
        x = torch.tensordot(x, matrix, ([axis], [1])).movedim(-1, axis)
    return x


def interpolation_matrix(size_in, size_out, align_corners):
    matrix = torch.zeros(size_out, size_in, dtype=torch.float64)
    for i in range(size_out):
        if align_corners:
            position = i * (size_in - 1) / (size_out - 1) if size_out > 1 else 0.0
        else:
            position = min(max((i + 0.5) * size_in / size_out - 0.5, 0.0), size_in - 1.0)
        left = min(int(position), size_in - 1)
        matrix[i, left] += 1 - (position - left)
        if position > left:
            matrix[i, left + 1] += position - left
    return matrix


def mask_logits(net, name, x, trunk, depth, r):
    """Down-up branch: pool and r units ``depth`` times (2r at the bottom), back up with one unit on each skip."""
    body = f'{name}.body'
    if net.has(f'{body}.0'):  # the ablation without sampling: three units at the resolution of the trunk
        return mask_head(net, f'{name}.head', net.units(body, 3, x))
    encoded = [x]
    for level in range(depth - 1):
        encoded.append(net.units(f'{body}.down.{level}', r, pool(net, encoded[-1])))
    d = net.units(f'{body}.bottom', 2 * r, pool(net, encoded[-1]) if depth else x)
    for level in range(depth - 1, 0, -1):
        e = encoded[level]
        d = (
            interp(net, d, e)
            + net.unit(net, f'{body}.skip.{level - 1}', e)
            + (e if net.wiring['port'] else 0)
        )
        d = net.units(f'{body}.up.{level - 1}', r, d)
    if depth:
        d = interp(net, d, trunk) + (trunk if net.wiring['port'] else 0)
    return mask_head(net, f'{name}.head', d)


def mask_head(net, name, d):
    if net.postact:
        assert not net.has(f'{name}.norm1')
    else:
        d = F.relu(net.norm(f'{name}.norm1', d))
    return net.conv(f'{name}.conv2', F.relu(net.norm(f'{name}.norm2', net.conv(f'{name}.conv1', d))))


def activate(net, logits):
    """f1, f2, f3 of the paper."""
    if net.wiring['attention'] == 'mixed':
        return 1 / (1 + torch.exp(-logits))
    if net.wiring['attention'] == 'channel':
        square = logits.pow(2).sum(1, keepdim=True)
        return logits / torch.where(square > 0, square, 1).sqrt()  # no direction where all is zero
    mean = logits.mean((2, 3), keepdim=True)
    var = (logits - mean).pow(2).mean((2, 3), keepdim=True)
    return 1 / (1 + torch.exp(-(logits - mean) / (var + 1e-5).sqrt()))


def attention_module(net, name, x, depth, ptr=(1, 2, 1)):
    """``post((1 + M) * T)``, or ``post(M * T)`` for naive attention learning."""
    p, t, r = ptr
    x = net.units(f'{name}.pre', p, x)
    trunk = net.units(f'{name}.trunk', t, x)
    mask = activate(net, mask_logits(net, f'{name}.mask', x, trunk, depth, r))
    fused = mask * trunk if net.wiring['learning'] == 'nal' else (1 + mask) * trunk
    return net.units(f'{name}.post', p, fused)


def imagenet(net, x, modules, depths, ptr=(1, 2, 1)):
    """All four stages' outputs, the last closed by BN and ReLU where the units do not end in ReLU."""
    x = pool(net, F.relu(net.norm('stem.norm', net.conv('stem.conv', x, 2, 3))))
    outs = []
    for stage, (count, depth) in enumerate(zip(modules, depths, strict=True), start=1):
        x = net.unit(net, f'stage{stage}.transition', x, 1 if stage == 1 else 2)
        for i in range(1, count + 1):
            x = attention_module(net, f'stage{stage}.attention{i}', x, depth, ptr)
        assert not net.has(f'stage{stage}.attention{count + 1}')
        outs.append(x)
    x = net.unit(net, 'stage4.transition', x, 2)
    for i in (1, 2):
        x = net.unit(net, f'stage4.unit{i}', x)
    return [*outs, close(net, 'norm3.0', x)]


def cifar(net, x, count, depths, ptr=(1, 2, 1)):
    """Plan A: in each of three stages a transition, ``count`` modules and one more unit; no pooled stem."""
    x = F.relu(net.norm('stem.norm', net.conv('stem.conv', x, 1, 1)))
    outs = []
    for stage, depth in enumerate(depths, start=1):
        x = net.unit(net, f'stage{stage}.transition', x, 1 if stage == 1 else 2)
        for i in range(1, count + 1):
            x = attention_module(net, f'stage{stage}.attention{i}', x, depth, ptr)
        x = net.unit(net, f'stage{stage}.unit1', x)
        outs.append(x)
    return [*outs[:2], close(net, 'norm2.0', outs[2])]


def close(net, name, x):
    if net.postact:
        assert not net.has(name)
        return x
    return F.relu(net.norm(name, x))


def randomise(module, scale=0.5):
    """Draw affine parameters and running statistics of every batch normalisation, which start as 1 and 0."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 1 - scale, 1 + scale)
            nn.init.uniform_(norm.bias, -scale, scale)
            norm.running_mean.uniform_(-scale, scale)
            norm.running_var.uniform_(1 - scale, 1 + scale)
    return module


def assert_same(module, outputs, net, expected, inputs=(), rtol=1e-9, atol=1e-9):
    """Outputs, gradients of all parameters and of ``inputs`` (pairs), and running statistics agree.

    Args:
        module (nn.Module): The module under test, which made ``outputs`` (list of tensors).
        net (Net): The reference, which made ``expected``.
        inputs (Sequence): Pairs of inputs, the module's and the reference's.
    """
    tolerance = dict(rtol=rtol, atol=atol)
    torch.testing.assert_close(list(outputs), list(expected), **tolerance)
    cotangents = [torch.randn_like(x) for x in expected]
    ours = dict(module.named_parameters())
    assert ours.keys() == net.parameters.keys()
    torch.autograd.backward(outputs, cotangents)
    torch.autograd.backward(expected, cotangents)
    for name, parameter in net.parameters.items():
        # Gradients are compared on their own scale: a cotangent grows on its way to the stem.
        size = parameter.grad.abs().max().clamp(min=1)
        torch.testing.assert_close(ours[name].grad / size, parameter.grad / size, **tolerance, msg=name)
    for x, y in inputs:
        torch.testing.assert_close(x.grad, y.grad, **tolerance)
    for name, buffer in module.named_buffers():
        if not name.endswith('num_batches_tracked'):
            torch.testing.assert_close(buffer, net.weights[name], **tolerance, msg=name)
