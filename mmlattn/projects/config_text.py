"""The config of a project, as text: at most 25 lines for people to read and change.

Files beside it are found by ``{{ fileDirname }}``, which mmengine replaces by the folder of the config, and our own
configs by ``mmlattn.config_path``, so the folder may be moved and ``mmlattn`` be installed in any way.
"""

from dataclasses import dataclass

from .proposals import RACNN_EPOCHS, SYSTEMS, Proposal

HERE = '{{ fileDirname }}'
RUN_DIR = 'run'


@dataclass(frozen=True)
class ProjectData:
    """What a config needs to know of the data.

    Args:
        num_pictures (int): All of them.
        num_classes (int): C.
        pictures (str): Their folder, absolute or relative to that of the project.
        most_labels (int): Of a picture.
        some_unknown (bool): Whether labels are unknown.
        has_test (bool): Whether there is a split ``test``; else the pictures of ``val`` stand in.
    """

    num_pictures: int
    num_classes: int
    pictures: str
    most_labels: int
    some_unknown: bool
    has_test: bool


def config_text(data: ProjectData, proposal: Proposal) -> str:
    """The text of ``config.py``."""
    racnn = proposal.system == 'racnn'
    schedule = 'adamw_cosine_frozen_30e' if proposal.frozen else 'adamw_cosine_30e'
    schedule = 'racnn_sgd_81e' if proposal.learns_squares else schedule
    runtime, labels = ('racnn_runtime', 'label_file_single') if racnn else ('default_runtime', 'label_file')
    lines = [
        f'"""{SYSTEMS[proposal.system]} for {data.num_pictures} pictures of {data.num_classes} classes, proposed by '
        'tools/new_project.py: change what you like."""',
        "_base_ = [__import__('mmlattn').config_path(f'_base_/{name}') for name in (",
        f"    'datasets/{labels}', 'schedules/{schedule}', '{runtime}')]",
        f'num_classes, size = {data.num_classes}, {proposal.size}  # half the size is four times as fast, and sees '
        'small things worse',
        f"data = dict(data_root='{HERE}', data_prefix={data.pictures!r}, "
        f"metainfo=dict(classes='{HERE}/classes.txt'))",
        *_pipelines(),
        f'train_dataloader = dict(batch_size={proposal.batch_size}, dataset=dict(data, pipeline=train_pipeline))  '
        '# out of memory: halve it',
        f'val_dataloader = dict(batch_size={proposal.batch_size}, dataset=dict(data, pipeline=test_pipeline))',
        'test_dataloader = val_dataloader'
        if data.has_test
        else "test_dataloader = dict(dataset=dict(data, pipeline=test_pipeline, split='val'))  # no split test",
        'data_preprocessor = dict(num_classes=num_classes)',
        *_model(data, proposal),
        *_training(proposal),
    ]
    return '\n'.join(lines) + '\n'


def _pipelines() -> list[str]:
    return [
        "load = dict(type='LoadImageFromFile')",
        "crop = dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.7, 1.0), backend='pillow')",
        "flip = dict(type='RandomFlip', prob=0.5)  # leave it out where left and right mean something",
        'train_pipeline = [load, crop, flip, _base_.pack_train]',
        "test_pipeline = [load, dict(type='Resize', scale=(size, size), backend='pillow'), _base_.pack_test]",
    ]


def _model(data: ProjectData, proposal: Proposal) -> list[str]:
    kind = 'mmlattn.RACNN' if proposal.system == 'racnn' else 'ImageClassifier'
    parts = dict(csra=_csra, linear=_linear, racnn=_racnn, **{'st-lstm': _st_lstm, 'cnn-rnn': _cnn_rnn})[
        proposal.system
    ](data, proposal)
    return [f"model = dict(type='{kind}',", *_backbone(proposal), *parts[:-1], f'{parts[-1]})']


def _backbone(proposal: Proposal) -> list[str]:
    backbone = proposal.backbone
    settings = dict(backbone.settings, **(backbone.frozen if proposal.frozen else {}))
    if proposal.system == 'racnn' and proposal.weights is not None and 'norm_eval' in backbone.frozen:
        settings['norm_eval'] = True  # batches of a few pictures at three scales make poor statistics
    written = ''.join(f', {name}={value!r}' for name, value in settings.items())
    if proposal.weights is None:
        return [f"    backbone=dict(type='{backbone.kind}'{written}),  # random weights"]
    prefix = f", prefix='{proposal.prefix}'" if proposal.prefix else ''
    whose = 'weights of ImageNet' if proposal.weights == backbone.url else 'your weights'
    learns = ', fixed: there are few pictures' if proposal.frozen else ''
    return [
        f"    backbone=dict(type='{backbone.kind}'{written},",
        f"        init_cfg=dict(type='Pretrained'{prefix}, checkpoint=  # {whose}{learns}",
        f'            {proposal.weights!r})),',
    ]


def _unknown(data: ProjectData) -> str:
    return ", unknown='mask'" if data.some_unknown else ''


_BCE = "loss=dict(type='CrossEntropyLoss', use_sigmoid=True)"


def _csra(data: ProjectData, proposal: Proposal) -> list[str]:
    return [
        '    neck=None,  # CSRA reads the whole map',
        f"    head=dict(type='mmlattn.CSRAHead', num_classes=num_classes, in_channels={proposal.backbone.channels}, "
        f'num_heads=1, lam=0.1{_unknown(data)})',
    ]


def _linear(data: ProjectData, proposal: Proposal) -> list[str]:
    channels = proposal.backbone.channels
    bound = round(channels**-0.5, 4)
    return [
        "    neck=dict(type='GlobalAveragePooling'),",
        f"    head=dict(type='mmlattn.LinearMultiLabelHead', num_classes=num_classes, in_channels={channels}"
        f'{_unknown(data)},',
        f'        {_BCE},',
        f"        init_cfg=dict(type='Uniform', layer='Linear', a=-{bound}, b={bound}))",
    ]


def _st_lstm(data: ProjectData, proposal: Proposal) -> list[str]:
    region = max(2, proposal.cells // 2)
    # A convolution would have most of the weights, and take most of the time of a step above a fixed backbone.
    embed = "region_embed='gap'" if proposal.frozen else "region_embed='conv', embed_dims=1024"
    return [
        f"    neck=dict(type='mmlattn.STLSTM', in_channels={proposal.backbone.channels}, region_size={region}, "
        'region_pool=None,',
        f"        {embed}, loc_param='residual_anchor', include_global=True),",
        f"    head=dict(type='mmlattn.STLSTMHead', num_classes=num_classes, in_channels=512{_unknown(data)},",
        f"        fuse='lse', score_norm='sigmoid', {_BCE}, aux_step_weight=0.5)",
    ]


def _cnn_rnn(data: ProjectData, proposal: Proposal) -> list[str]:
    return [
        "    head=dict(type='mmlattn.CNNRNNHead', num_classes=num_classes, align='pla', aux_bce=1.0, "
        f'in_channels={proposal.backbone.channels}{_unknown(data)},',
        "        decoder=dict(type='attention', embed_dims=256, hidden_dims=512, attention_dims=256),",
        f'        test_cfg=dict(max_len={min(data.num_classes, 2 * data.most_labels)}))',
    ]


def _racnn(data: ProjectData, proposal: Proposal) -> list[str]:
    channels, crop = proposal.backbone.channels, proposal.size // 2
    localizer, fusion = "'mmlattn.ActivationLocalizer', side=0.7", 'fusion=None, '
    if proposal.learns_squares:
        localizer = f"'mmlattn.APN', form='light', in_channels={channels}, spatial={-(-crop // 32)}"
        fusion = ''
    return [
        f"    shared=True, num_scales=3, {fusion}neck=dict(type='GlobalAveragePooling'),",
        f"    head=dict(type='LinearClsHead', num_classes=num_classes, in_channels={channels}, "
        "loss=dict(type='CrossEntropyLoss')),",
        f'    localizer=dict(type={localizer}),',
        f"    crop=dict(size={crop}, resample_from='image', antialias=True)",
    ]


def _training(proposal: Proposal) -> list[str]:
    """Schedule, and what of the model learns how fast."""
    if proposal.learns_squares:
        return _racnn_training(proposal)
    keys, optimizer, why = {}, '', ''
    if proposal.system == 'st-lstm':
        keys, why = {'neck.loc': 1, 'neck.': 10}, '  # faster, regions move before there are features'
    if proposal.weights is None:
        keys, why = dict.fromkeys((*keys, 'head.'), 1), '  # from random weights'
        optimizer = 'optimizer=dict(lr=1e-3), '
    written = ', '.join(f'{name!r}: dict(lr_mult={rate})' for name, rate in keys.items())
    given = f'optim_wrapper = dict({optimizer}paramwise_cfg=dict(custom_keys={{{why}'
    lines = [f"train_cfg, work_dir = dict(max_epochs={proposal.epochs}), '{HERE}/{RUN_DIR}'"]
    if proposal.system == 'racnn':
        lines += [
            f'phases = dict(warmup=0, pretrain_apn=0, cls=0, apn=0, final={proposal.epochs})  # no localizer learns'
        ]
    return [*lines, *([given, f'    {written}}}))'] if keys else [])]


def _racnn_training(proposal: Proposal) -> list[str]:
    rate = 0.01 * proposal.batch_size / 64  # of our schedule, whose batches are of 64
    given = [f"optim_wrapper, work_dir = dict(optimizer=dict(lr={rate:.2g})), '{HERE}/{RUN_DIR}'"]
    if proposal.epochs != RACNN_EPOCHS:
        given += [
            f'train_cfg, phases = dict(max_epochs={proposal.epochs}), dict({_phases(proposal.epochs)})',
            "param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)]",
        ]
    return given


def _phases(epochs: int) -> str:
    """The lengths of RA-CNN's stages, in the proportions of our schedule of 81 epochs."""
    share = epochs / RACNN_EPOCHS
    cycles = 3 if epochs >= 30 else 1
    pretrain, cls, apn = (max(1, round(length * share)) for length in (5, 10, 2))
    rest = epochs - pretrain - cycles * (cls + apn)
    return (
        f'warmup={rest // 2}, pretrain_apn={pretrain}, cls={cls}, apn={apn}, max_cycles={cycles}, '
        f'final={rest - rest // 2}'
    )
