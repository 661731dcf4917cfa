"""Residual attention networks under the layer names of others, written from descriptions of them, for tests.

``PortNet`` has the modules and the function of github.com/tengshaofeng/ResidualAttentionNetwork-pytorch, and
``CaffeNet`` evaluates the layers of the authors' network definitions by their names. Neither has code of mmlattn's.
"""

import torch
import torch.nn.functional as F
from torch import nn


def resized(x, like):
    return F.interpolate(x, size=like.shape[-2:], mode='bilinear', align_corners=True)


class Unit(nn.Module):
    """Pre-activated bottleneck; ``conv4`` is always there, and used where channels or stride change."""

    def __init__(self, c_in, c, stride=1):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(c_in), nn.Conv2d(c_in, c // 4, 1, bias=False)
        self.bn2, self.conv2 = (
            nn.BatchNorm2d(c // 4),
            nn.Conv2d(c // 4, c // 4, 3, stride, padding=1, bias=False),
        )
        self.bn3, self.conv3 = nn.BatchNorm2d(c // 4), nn.Conv2d(c // 4, c, 1, bias=False)
        self.conv4 = nn.Conv2d(c_in, c, 1, stride, bias=False)
        self.projects = c_in != c or stride != 1

    def forward(self, x):
        a = self.bn1(x).relu()
        y = self.conv1(a)
        y = self.conv2(self.bn2(y).relu())
        y = self.conv3(self.bn3(y).relu())
        return y + (self.conv4(a) if self.projects else x)


def two_units(c):
    return nn.Sequential(Unit(c, c), Unit(c, c))


def mask_head(c):
    convs = [nn.Conv2d(c, c, 1, bias=False) for _ in range(2)]
    return nn.Sequential(
        nn.BatchNorm2d(c), nn.ReLU(), convs[0], nn.BatchNorm2d(c), nn.ReLU(), convs[1], nn.Sigmoid()
    )


class Module(nn.Module):
    """An attention module; subclasses have a mask, in which encoder features and trunk are added."""

    def __init__(self, c):
        super().__init__()
        self.first_residual_blocks = Unit(c, c)
        self.trunk_branches = two_units(c)
        self.build_mask(c)
        self.last_blocks = Unit(c, c)

    def forward(self, x):
        x = self.first_residual_blocks(x)
        trunk = self.trunk_branches(x)
        return self.last_blocks((1 + self.mask(x, trunk)) * trunk)

    def pool(self, x):
        return F.max_pool2d(x, 3, 2, padding=1)


class Stage1(Module):
    def build_mask(self, c):
        self.softmax1_blocks = Unit(c, c)
        self.skip1_connection_residual_block = Unit(c, c)
        self.softmax2_blocks = Unit(c, c)
        self.skip2_connection_residual_block = Unit(c, c)
        self.softmax3_blocks = two_units(c)
        self.softmax4_blocks = Unit(c, c)
        self.softmax5_blocks = Unit(c, c)
        self.softmax6_blocks = mask_head(c)

    def mask(self, x, trunk):
        e1 = self.softmax1_blocks(self.pool(x))
        e2 = self.softmax2_blocks(self.pool(e1))
        d = self.softmax3_blocks(self.pool(e2))
        d = self.softmax4_blocks(resized(d, e2) + e2 + self.skip2_connection_residual_block(e2))
        d = self.softmax5_blocks(resized(d, e1) + e1 + self.skip1_connection_residual_block(e1))
        return self.softmax6_blocks(resized(d, trunk) + trunk)


class Stage2(Module):
    def build_mask(self, c):
        self.softmax1_blocks = Unit(c, c)
        self.skip1_connection_residual_block = Unit(c, c)
        self.softmax2_blocks = two_units(c)
        self.softmax3_blocks = Unit(c, c)
        self.softmax4_blocks = mask_head(c)

    def mask(self, x, trunk):
        e1 = self.softmax1_blocks(self.pool(x))
        d = self.softmax2_blocks(self.pool(e1))
        d = self.softmax3_blocks(resized(d, e1) + e1 + self.skip1_connection_residual_block(e1))
        return self.softmax4_blocks(resized(d, trunk) + trunk)


class Stage3(Module):
    def build_mask(self, c):
        self.softmax1_blocks = two_units(c)
        self.softmax2_blocks = mask_head(c)

    def mask(self, x, trunk):
        return self.softmax2_blocks(resized(self.softmax1_blocks(self.pool(x)), trunk) + trunk)


class CifarStage1(Module):
    def build_mask(self, c):
        self.down_residual_blocks1 = Unit(c, c)
        self.skip1_connection_residual_block = Unit(c, c)
        self.middle_2r_blocks = two_units(c)
        self.up_residual_blocks1 = Unit(c, c)
        self.conv1_1_blocks = mask_head(c)

    def mask(self, x, trunk):
        e1 = self.down_residual_blocks1(self.pool(x))
        d = self.middle_2r_blocks(self.pool(e1))
        d = self.up_residual_blocks1(resized(d, e1) + e1 + self.skip1_connection_residual_block(e1))
        return self.conv1_1_blocks(resized(d, trunk) + trunk)


class CifarStage2(Module):
    def build_mask(self, c):
        self.middle_2r_blocks = two_units(c)
        self.conv1_1_blocks = mask_head(c)

    def mask(self, x, trunk):
        return self.conv1_1_blocks(resized(self.middle_2r_blocks(self.pool(x)), trunk) + trunk)


class CifarStage3(CifarStage2):
    def mask(self, x, trunk):
        return self.conv1_1_blocks(self.middle_2r_blocks(x))


class PortNet(nn.Module):
    """``cifar`` and 92 is ``ResidualAttentionModel_92_32input_update``."""

    def __init__(self, cifar, depth, stem, channels, classes):
        super().__init__()
        conv = (
            nn.Conv2d(3, stem, 3, padding=1, bias=False) if cifar else nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        )
        self.conv1 = nn.Sequential(conv, nn.BatchNorm2d(stem), nn.ReLU())
        self.mpool1 = nn.Identity() if cifar else nn.MaxPool2d(3, 2, padding=1)
        kinds = (CifarStage1, CifarStage2, CifarStage3) if cifar else (Stage1, Stage2, Stage3)
        last_stride = 1 if cifar else 2
        self.residual_block1 = Unit(stem, channels[0])
        self.attention_module1 = kinds[0](channels[0])
        self.residual_block2 = Unit(channels[0], channels[1], 2)
        self.attention_module2 = kinds[1](channels[1])
        if depth == 92:
            self.attention_module2_2 = kinds[1](channels[1])
        self.residual_block3 = Unit(channels[1], channels[2], 2)
        self.attention_module3 = kinds[2](channels[2])
        if depth == 92:
            self.attention_module3_2 = kinds[2](channels[2])
            self.attention_module3_3 = kinds[2](channels[2])
        self.residual_block4 = Unit(channels[2], channels[3], last_stride)
        self.residual_block5 = Unit(channels[3], channels[3])
        self.residual_block6 = Unit(channels[3], channels[3])
        self.mpool2 = nn.Sequential(nn.BatchNorm2d(channels[3]), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.fc = nn.Linear(channels[3], classes)

    def forward(self, x):
        *blocks, fc = self.children()  # they stand in the order of computation
        for block in blocks:
            x = block(x)
        return fc(x.flatten(1))


def randomise(net):
    """Weights and statistics that leave no layer without effect."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.running_var.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.3)
                module.running_mean.normal_(std=0.3)
                module.num_batches_tracked.random_(1, 1000)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    return net


class CaffeNet:
    """One of the authors' definitions, evaluated layer by layer.

    ``blobs`` is filled as layers are met: blob i of layer L is ``L.i``. A normalisation's are slope, bias, mean and
    variance, of shape (1, C, 1, 1).
    """

    def __init__(self, following, depth, stem, channels, classes, groups=32):
        self.following, self.groups = following, groups  # AttentionNeXt
        self.stem, self.channels, self.classes = stem, channels, classes
        self.modules = (1, 1, 1) if depth == 56 else (1, 2, 3)
        self.blobs, self.tensors = {}, {}

    def blob(self, name, make, *shape):
        if name not in self.blobs:
            self.blobs[name] = make(torch.empty(*shape, dtype=torch.double))
        return self.blobs[name]

    def conv(self, name, x, c, kernel=1, stride=1, groups=1):
        weight = self.blob(f'{name}.0', nn.init.kaiming_normal_, c, x.shape[1] // groups, kernel, kernel)
        return F.conv2d(x, weight, stride=stride, padding=kernel // 2, groups=groups)

    def bn(self, name, x):
        shape = 1, x.shape[1], 1, 1
        slope = self.blob(f'{name}.0', lambda b: b.uniform_(0.5, 1.5), *shape)
        bias = self.blob(f'{name}.1', lambda b: b.normal_(std=0.3), *shape)
        mean = self.blob(f'{name}.2', lambda b: b.normal_(std=0.3), *shape)
        variance = self.blob(f'{name}.3', lambda b: b.uniform_(0.5, 1.5), *shape)
        return slope * (x - mean) / (variance + 1e-5).sqrt() + bias

    def unit(self, name, bottom, c, stride=1, projects=False):
        x = self.tensors[bottom]
        one, two, three = (f'{name}/branch1/conv{i}_{k}x{k}' for i, k in ((1, 1), (2, 3), (3, 1)))
        shortcut = f'{name}/branch2/conv1_1x1'
        if self.following:
            y = self.bn(f'{one}/bn', self.conv(one, x, c // 2)).relu()
            y = self.bn(f'{two}/bn', self.conv(two, y, c // 2, 3, stride, self.groups)).relu()
            y = self.bn(f'{three}/bn', self.conv(three, y, c))
            x = self.bn(f'{shortcut}/bn', self.conv(shortcut, x, c, 1, stride)) if projects else x
            self.tensors[name] = (y + x).relu()
        else:
            a = self.bn(f'{bottom}/bn', x).relu()
            y = self.bn(f'{one}/bn', self.conv(one, a, c // 4)).relu()
            y = self.bn(f'{two}/bn', self.conv(two, y, c // 4, 3, stride)).relu()
            y = self.conv(three, y, c)
            self.tensors[name] = y + (self.conv(shortcut, a, c, 1, stride) if projects else x)

    def pool(self, name, bottom):
        self.tensors[name] = F.max_pool2d(self.tensors[bottom], 3, 2, ceil_mode=True)

    def module(self, name, bottom, c, depth):
        at = self.tensors
        down, up = ('down', 'up') if self.following else ('down_sample', 'up_sample')
        down, up = f'{name}/mask/{down}', f'{name}/mask/{up}'
        self.unit(f'{name}/trunk/res1', bottom, c)
        self.unit(f'{name}/trunk/res2', f'{name}/trunk/res1', c)
        self.unit(f'{name}/trunk/res3', f'{name}/trunk/res2', c)
        trunk = at[f'{name}/trunk/res3']

        source = f'{name}/trunk/res1'
        for n in range(1, depth + 1):
            self.pool(f'{down}/pool{n}_3x3_s2', source)
            self.unit(f'{down}/res{n}_1', f'{down}/pool{n}_3x3_s2', c)
            source = f'{down}/res{n}_1'
        self.unit(f'{down}/res{depth}_2', source, c)
        d = at[f'{down}/res{depth}_2']
        for n in range(depth - 1, 0, -1):
            self.unit(f'{name}/mask/skip/res{n}', f'{down}/res{n}_1', c)
            at[f'{up}{n}'] = resized(d, at[f'{down}/res{n}_1']) + at[f'{name}/mask/skip/res{n}']
            self.unit(f'{up}/res{n}_1', f'{up}{n}', c)
            d = at[f'{up}/res{n}_1']
        d = resized(d, trunk)
        if not self.following:
            d = self.bn(f'{up}/interp_1/bn', d).relu()
        d = self.bn(f'{name}/mask/linear_1/bn', self.conv(f'{name}/mask/linear_1', d, c)).relu()
        mask = self.conv(f'{name}/mask/linear_2', d, c).sigmoid()

        at[f'{name}/fusion'] = trunk + trunk * mask
        self.unit(name, f'{name}/fusion', c)

    def __call__(self, x):
        self.tensors['conv1/bn'] = self.bn('conv1/bn', self.conv('conv1', x, self.stem, 7, 2)).relu()
        self.pool('pool1_3x3_s2', 'conv1/bn')
        bottom = 'pool1_3x3_s2'
        for stage, letter in enumerate('ABC'):
            self.unit(f'pre_res_{stage + 1}', bottom, self.channels[stage], min(stage + 1, 2), projects=True)
            bottom = f'pre_res_{stage + 1}'
            for m in range(self.modules[stage]):
                self.module(f'Attention{letter}_{m + 1}', bottom, self.channels[stage], 3 - stage)
                bottom = f'Attention{letter}_{m + 1}'
        for n in (1, 2, 3):
            self.unit(f'post_res_4_{n}', bottom, self.channels[3], 2 if n == 1 else 1, projects=n == 1)
            bottom = f'post_res_4_{n}'
        x = self.tensors[bottom]
        if not self.following:
            x = self.bn(f'{bottom}/bn', x).relu()
        weight = self.blob('classifier.0', nn.init.kaiming_normal_, self.classes, x.shape[1])
        bias = self.blob('classifier.1', lambda b: b.normal_(), self.classes)
        return F.linear(x.mean((2, 3)), weight, bias)
