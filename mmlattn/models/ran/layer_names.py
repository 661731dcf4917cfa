"""What other people call the layers of residual attention networks; see ``state_dicts.py``.

A layer is a convolution, a normalisation or the classifier. Ours are named as in ``ResidualAttentionNet``, without
``backbone.``, and the classifier ``head.fc``.
"""

from itertools import count

Layers = dict[str, str]
"""Layers of ours, and what another layout calls them."""


def layer_names(layout: str, modules: tuple[int, ...], cifar: bool, postact: bool) -> Layers:
    """All layers of a network; every unit is given a projection, whether it has one or not.

    ``modules`` are those of stages 1 to 3; ``cifar`` is the port's network for pictures of 32x32, else it is one for
    224x224; ``postact`` is Caffe's AttentionNeXt, else units are pre-activated.
    """
    return _port_layers(modules, cifar) if layout == 'port' else _caffe_layers(modules, postact)


def _port_layers(modules: tuple[int, ...], cifar: bool) -> Layers:
    units = {f'stage{k}.transition': f'residual_block{k}' for k in (1, 2, 3, 4)}
    units |= {'stage4.unit1': 'residual_block5', 'stage4.unit2': 'residual_block6'}
    layers = {'stem.conv': 'conv1.0', 'stem.norm': 'conv1.1', 'norm3.0': 'mpool2.0', 'head.fc': 'fc'}
    for stage, number in enumerate(modules, start=1):
        depth = 3 - stage if cifar else 4 - stage
        in_mask, head = _port_mask(depth, cifar)
        in_module = {
            'pre.0': 'first_residual_blocks',
            'trunk.0': 'trunk_branches.0',
            'trunk.1': 'trunk_branches.1',
            'post.0': 'last_blocks',
            **in_mask,
        }
        for m in range(1, number + 1):
            ours, port = f'stage{stage}.attention{m}', f'attention_module{stage}' + f'_{m}' * (m > 1)
            units |= {f'{ours}.{unit}': f'{port}.{name}' for unit, name in in_module.items()}
            for layer, index in dict(norm1=0, conv1=2, norm2=3, conv2=5).items():
                layers[f'{ours}.mask.head.{layer}'] = f'{port}.{head}.{index}'
    for ours, port in units.items():
        for i in (1, 2, 3):
            layers |= {f'{ours}.norm{i}': f'{port}.bn{i}', f'{ours}.conv{i}': f'{port}.conv{i}'}
        layers[f'{ours}.projection'] = f'{port}.conv4'
    return layers


def _port_mask(depth: int, cifar: bool) -> tuple[Layers, str]:
    """Units of a mask with ``depth`` poolings, and the name of its head."""
    levels = range(depth - 1)
    if cifar:
        down, up = ([f'{way}_residual_blocks{n + 1}' for n in levels] for way in ('down', 'up'))
        bottom, head = 'middle_2r_blocks', 'conv1_1_blocks'
    else:  # counted in the order of computation
        blocks = (f'softmax{n}_blocks' for n in count(1))
        down, bottom = [next(blocks) for _ in levels], next(blocks)
        up, head = [next(blocks) for _ in levels][::-1], next(blocks)
    units = {f'mask.body.bottom.{i}': f'{bottom}.{i}' for i in (0, 1)}
    for n in levels:
        units[f'mask.body.down.{n}.0'] = down[n]
        units[f'mask.body.skip.{n}'] = f'skip{n + 1}_connection_residual_block'
        units[f'mask.body.up.{n}.0'] = up[n]
    return units, head


def _caffe_layers(modules: tuple[int, ...], postact: bool) -> Layers:
    layers = {'stem.conv': 'conv1', 'stem.norm': 'conv1/bn', 'head.fc': 'classifier'}
    x = 'pool1_3x3_s2'
    for stage, (letter, number) in enumerate(zip('ABC', modules, strict=True), start=1):
        layers |= _caffe_unit(f'stage{stage}.transition', f'pre_res_{stage}', x, postact)
        x = f'pre_res_{stage}'
        for m in range(1, number + 1):
            name = f'Attention{letter}_{m}'
            layers |= _caffe_module(f'stage{stage}.attention{m}', name, x, 4 - stage, postact)
            x = name
    for i, unit in enumerate(('transition', 'unit1', 'unit2'), start=1):
        layers |= _caffe_unit(f'stage4.{unit}', f'post_res_4_{i}', x, postact)
        x = f'post_res_4_{i}'
    return layers | {'norm3.0': f'{x}/bn'}


def _caffe_module(ours: str, name: str, x: str, depth: int, postact: bool) -> Layers:
    """An attention module whose input is the tensor ``x``."""
    trunk, mask = f'{name}/trunk/res', f'{name}/mask'
    down, up = (f'{mask}/down', f'{mask}/up') if postact else (f'{mask}/down_sample', f'{mask}/up_sample')
    units = [
        ('pre.0', f'{trunk}1', x),
        ('trunk.0', f'{trunk}2', f'{trunk}1'),
        ('trunk.1', f'{trunk}3', f'{trunk}2'),
        ('mask.body.bottom.0', f'{down}/res{depth}_1', f'{down}/pool{depth}_3x3_s2'),
        ('mask.body.bottom.1', f'{down}/res{depth}_2', f'{down}/res{depth}_1'),
        ('post.0', name, f'{name}/fusion'),
    ]
    for n in range(1, depth):
        units += [
            (f'mask.body.down.{n - 1}.0', f'{down}/res{n}_1', f'{down}/pool{n}_3x3_s2'),
            (f'mask.body.skip.{n - 1}', f'{mask}/skip/res{n}', f'{down}/res{n}_1'),
            (f'mask.body.up.{n - 1}.0', f'{up}/res{n}_1', f'{up}{n}'),
        ]
    layers = {
        f'{ours}.mask.head.norm1': f'{up}/interp_1/bn',
        f'{ours}.mask.head.conv1': f'{mask}/linear_1',
        f'{ours}.mask.head.norm2': f'{mask}/linear_1/bn',
        f'{ours}.mask.head.conv2': f'{mask}/linear_2',
    }
    for unit, output, source in units:
        layers |= _caffe_unit(f'{ours}.{unit}', output, source, postact)
    return layers


def _caffe_unit(ours: str, output: str, source: str, postact: bool) -> Layers:
    """A unit from the tensor ``source`` to the tensor ``output``.

    A normalisation is named after the tensor it normalises; the first of a pre-activated unit is ``source``'s.
    """
    convs = [f'{output}/branch1/conv{i}_{kernel}' for i, kernel in ((1, '1x1'), (2, '3x3'), (3, '1x1'))]
    normed = convs if postact else [source, *convs[:2]]
    layers = {f'{ours}.conv{i}': conv for i, conv in enumerate(convs, start=1)}
    layers |= {f'{ours}.norm{i}': f'{tensor}/bn' for i, tensor in enumerate(normed, start=1)}
    projection = f'{output}/branch2/conv1_1x1'
    if postact:
        return layers | {f'{ours}.projection.0': projection, f'{ours}.projection.1': f'{projection}/bn'}
    return layers | {f'{ours}.projection': projection}
