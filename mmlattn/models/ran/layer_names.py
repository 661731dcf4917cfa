"""What other people call the layers of residual attention networks; see ``state_dicts.py``.

A layer is a convolution, a normalisation or the classifier. Ours are named as in ``ResidualAttentionNet``, without
``backbone.``, and the classifier ``head.fc``. Each row of the table is a layer's name here, in the port and in Caffe.
"""

from collections.abc import Iterator

Row = tuple[str, str, str]


def layer_names(layout: str, modules: tuple[int, ...], cifar: bool, postact: bool) -> dict[str, str]:
    """All layers of a network by our names; every unit is given a projection, whether it has one or not.

    ``modules`` are those of stages 1 to 3; ``cifar`` is the port's network for pictures of 32x32, else it is one for
    224x224; ``postact`` is Caffe's AttentionNeXt, else units are pre-activated.
    """
    rows = [
        ('stem.conv', 'conv1.0', 'conv1'),
        ('stem.norm', 'conv1.1', 'conv1/bn'),
        ('norm3.0', 'mpool2.0', 'post_res_4_3/bn'),
        ('head.fc', 'fc', 'classifier'),
    ]
    x = 'pool1_3x3_s2'
    for stage, number in enumerate(modules, start=1):
        rows += _unit(f'stage{stage}.transition', f'residual_block{stage}', f'pre_res_{stage}', x, postact)
        x = f'pre_res_{stage}'
        for m in range(1, number + 1):
            ours, port = f'stage{stage}.attention{m}', f'attention_module{stage}' + f'_{m}' * (m > 1)
            caffe, depth = f'Attention{"ABC"[stage - 1]}_{m}', 3 - stage if cifar else 4 - stage
            rows += _module(ours, port, caffe, x, depth, cifar, postact)
            x = caffe
    for i, unit in enumerate(('transition', 'unit1', 'unit2'), start=1):
        rows += _unit(f'stage4.{unit}', f'residual_block{i + 3}', f'post_res_4_{i}', x, postact)
        x = f'post_res_4_{i}'
    return {ours: port if layout == 'port' else caffe for ours, port, caffe in rows}


def _module(
    ours: str, port: str, caffe: str, x: str, depth: int, cifar: bool, postact: bool
) -> Iterator[Row]:
    """An attention module that reads Caffe's tensor ``x``, with ``depth`` poolings in its mask."""
    trunk, mask = f'{caffe}/trunk/res', f'{caffe}/mask'
    down, up = (f'{mask}/down', f'{mask}/up') if postact else (f'{mask}/down_sample', f'{mask}/up_sample')
    # The port's larger networks count the parts of a mask in the order of computation.
    bottom, head = ('middle_2r', 'conv1_1') if cifar else (f'softmax{depth}', f'softmax{2 * depth}')
    units = [
        ('pre.0', 'first_residual_blocks', f'{trunk}1', x),
        ('trunk.0', 'trunk_branches.0', f'{trunk}2', f'{trunk}1'),
        ('trunk.1', 'trunk_branches.1', f'{trunk}3', f'{trunk}2'),
        ('mask.body.bottom.0', f'{bottom}_blocks.0', f'{down}/res{depth}_1', f'{down}/pool{depth}_3x3_s2'),
        ('mask.body.bottom.1', f'{bottom}_blocks.1', f'{down}/res{depth}_2', f'{down}/res{depth}_1'),
        ('post.0', 'last_blocks', caffe, f'{caffe}/fusion'),
    ]
    for n in range(1, depth):
        into, out = f'softmax{n}_blocks', f'softmax{2 * depth - n}_blocks'
        if cifar:
            into, out = f'down_residual_blocks{n}', f'up_residual_blocks{n}'
        skip = f'skip{n}_connection_residual_block'
        units += [
            (f'mask.body.down.{n - 1}.0', into, f'{down}/res{n}_1', f'{down}/pool{n}_3x3_s2'),
            (f'mask.body.skip.{n - 1}', skip, f'{mask}/skip/res{n}', f'{down}/res{n}_1'),
            (f'mask.body.up.{n - 1}.0', out, f'{up}/res{n}_1', f'{up}{n}'),
        ]
    for unit, name, output, source in units:
        yield from _unit(f'{ours}.{unit}', f'{port}.{name}', output, source, postact)
    yield f'{ours}.mask.head.norm1', f'{port}.{head}_blocks.0', f'{up}/interp_1/bn'
    yield f'{ours}.mask.head.conv1', f'{port}.{head}_blocks.2', f'{mask}/linear_1'
    yield f'{ours}.mask.head.norm2', f'{port}.{head}_blocks.3', f'{mask}/linear_1/bn'
    yield f'{ours}.mask.head.conv2', f'{port}.{head}_blocks.5', f'{mask}/linear_2'


def _unit(ours: str, port: str, output: str, source: str, postact: bool) -> Iterator[Row]:
    """A unit from Caffe's tensor ``source`` to its tensor ``output``.

    Caffe names a normalisation after the tensor it normalises; the first of a pre-activated unit is ``source``'s.
    """
    convs = [f'{output}/branch1/conv{i}_{kernel}' for i, kernel in ((1, '1x1'), (2, '3x3'), (3, '1x1'))]
    normed = convs if postact else [source, *convs[:2]]
    for i, (conv, tensor) in enumerate(zip(convs, normed, strict=True), start=1):
        yield f'{ours}.conv{i}', f'{port}.conv{i}', conv
        yield f'{ours}.norm{i}', f'{port}.bn{i}', f'{tensor}/bn'
    projection = f'{output}/branch2/conv1_1x1'
    if postact:
        yield f'{ours}.projection.0', '', projection
        yield f'{ours}.projection.1', '', f'{projection}/bn'
    else:
        yield f'{ours}.projection', f'{port}.conv4', projection
