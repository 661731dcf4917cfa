"""Classes of the splits and of a checkpoint are compared by real runs."""

import json

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from mmlattn.engine.hooks.class_names import compare_classes
from mmlattn.utils.checkpoint.loading import use_safe_loading
from mmlattn.utils.errors import UserError


@pytest.fixture
def run(tmp_path):
    """Train or test for one step on two pictures whose json lists the given classes."""
    use_safe_loading()  # as the tools do; mmengine 0.10.7 can't open its own checkpoints by itself
    for name in ('0.png', '1.png'):
        Image.new('RGB', (32, 32)).save(tmp_path / name)

    def loader(classes):
        images = [dict(id=i, file_name=f'{i}.png', width=32, height=32) for i in range(2)]
        boxes = [
            dict(id=i, image_id=i, category_id=i, bbox=[0, 0, 9, 9], area=81, iscrowd=0) for i in range(2)
        ]
        categories = [dict(id=i, name=name) for i, name in enumerate(classes)]
        path = tmp_path / f'{"-".join(classes)}.json'
        path.write_text(json.dumps(dict(images=images, annotations=boxes, categories=categories)))
        dataset = dict(
            type='mmlattn.COCOMultiLabel',
            ann_file=str(path),
            data_prefix=str(tmp_path),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
        )
        sampler = dict(type='DefaultSampler', shuffle=False)
        return dict(batch_size=2, dataset=dataset, sampler=sampler, collate_fn=dict(type='default_collate'))

    def start(train=None, val=None, test=None, load_from=None, num_classes=2, enabled=True):
        cfg = dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4),
                head=dict(
                    type='mmlattn.CSRAHead', num_classes=num_classes, in_channels=32, num_heads=1, lam=0.1
                ),
            ),
            work_dir=str(tmp_path / 'run'),
            custom_hooks=[dict(type='mmlattn.ClassNamesHook', enabled=enabled)],
            load_from=load_from,
        )
        for mode, classes in dict(train=train, val=val, test=test).items():
            if classes:
                cfg[f'{mode}_dataloader'] = loader(classes)
                cfg[f'{mode}_cfg'] = dict(by_epoch=True, max_epochs=1) if mode == 'train' else {}
                if mode != 'train':
                    cfg[f'{mode}_evaluator'] = dict(type='mmlattn.MultiLabelReport')
        if train:
            cfg['optim_wrapper'] = dict(optimizer=dict(type='SGD', lr=0.1))
        runner = Runner.from_cfg(Config(dict(cfg, experiment_name=f'{train}-{val}-{test}-{load_from}')))
        runner.train() if train else runner.test()
        return str(tmp_path / 'run/epoch_1.pth')

    return start


def test_order_of_a_checkpoint_is_held(run):
    checkpoint = run(train=['cat', 'dog'], val=['cat', 'dog'])
    run(test=['cat', 'dog'], load_from=checkpoint)
    with pytest.raises(UserError, match="another order: class 0 is 'cat' in the checkpoint and 'dog'"):
        run(test=['dog', 'cat'], load_from=checkpoint)
    run(test=['dog', 'cat'], load_from=checkpoint, enabled=False)
    with pytest.raises(UserError, match="other names: class 1 is 'dog' in the checkpoint and 'fox'"):
        run(train=['cat', 'fox'], load_from=checkpoint)


def test_splits_must_agree(run):
    with pytest.raises(
        UserError, match='the training data has the 2 classes of val_dataloader in another order'
    ):
        run(train=['cat', 'dog'], val=['dog', 'cat'])


def test_fine_tuning_to_another_number_of_classes(run):
    checkpoint = run(train=['cat', 'dog'])
    run(train=['cat', 'dog', 'fox'], load_from=checkpoint, num_classes=3)


def test_head_has_an_output_for_each_class(run):
    with pytest.raises(UserError, match='CSRAHead has num_classes=3, the training data 2 classes'):
        run(train=['cat', 'dog'], num_classes=3)
    run(train=['cat', 'dog'], num_classes=3, enabled=False)


def test_head_has_an_output_for_each_class_of_the_test_data(run):
    for mode, data in dict(test='test', val='validation').items():
        with pytest.raises(UserError, match=f'CSRAHead has num_classes=3, the {data} data 2 classes'):
            train = dict(train=['a', 'b', 'c']) if mode == 'val' else {}
            run(**train, **{mode: ['cat', 'dog']}, num_classes=3)
        with pytest.raises(UserError, match='the model scores 3 classes but the data set has 2'):
            run(**train, **{mode: ['cat', 'dog']}, num_classes=3, enabled=False)  # left to the metric


@pytest.mark.parametrize('known', [(), ('a', 'b', 'c')])
def test_lists_of_other_lengths_are_not_compared(known):
    compare_classes(known, ('x', 'y'), 'a', 'b')
