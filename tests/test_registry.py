"""The contract of everything registered: reachable by both names, under any default scope, documented."""

import inspect
import subprocess
import sys

import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope

import mmlattn.register  # noqa: F401
from mmlattn import registry
from mmlattn.visualization import EvidenceVisualizer

REGISTRIES = {kind: getattr(registry, kind) for kind in registry.__all__}
REGISTERED = [(kind, name) for kind, reg in REGISTRIES.items() for name in reg.module_dict]


class OneLabelled:
    """A data set of one picture, of class 0."""

    def __len__(self):
        return 1

    def get_cat_ids(self, index):
        return [0]


# The smallest arguments of each class. A class without an entry here fails the test below.
EXAMPLES = {
    'CSRAHead': dict(num_classes=3, in_channels=8, num_heads=2, lam=0.1),
    'ResidualAttentionNet': dict(arch=dict(stem_channels=8, channels=(16, 16, 16, 16))),
    'ResidualAttentionNet_CIFAR': dict(arch=dict(stem_channels=4, channels=(8, 8, 8))),
    'ResidualAttentionWrapper': dict(backbone=dict(type='mmpretrain.ResNet', depth=18), stages=['layer4']),
    'MultiCropClassifier': dict(
        backbone=dict(type='mmpretrain.ResNet', depth=18),
        head=dict(type='mmlattn.CSRAHead', num_classes=3, in_channels=512, num_heads=1),
    ),
    'STLSTM': dict(in_channels=8, region_size=4, embed_dims=8, hidden_dims=8, out_dims=8),
    'STLSTMHead': dict(num_classes=3, in_channels=8),
    'RegionConstraintWrapper': dict(
        head=dict(
            type='mmpretrain.LinearClsHead',
            num_classes=3,
            in_channels=8,
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        )
    ),
    'MultiLabelTTAModel': dict(
        module=dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmpretrain.ResNet', depth=18),
            head=dict(type='mmlattn.CSRAHead', num_classes=3, in_channels=512, num_heads=1),
            data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
        )
    ),
    'VGGFCNeck': dict(in_channels=8, embed_dims=8),
    'CNNRNNHead': dict(num_classes=3, in_channels=8),
    'APN': dict(in_channels=8, form='light'),
    'ActivationLocalizer': dict(),
    'PairwiseRankLoss': dict(),
    'ScaledLinearClsHead': dict(num_classes=3, in_channels=8),
    'ScaleFusionHead': dict(num_classes=3, in_channels=(8, 8)),
    'RACNN': dict(
        backbone=dict(type='mmpretrain.ResNet', depth=18),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(
            type='mmpretrain.LinearClsHead',
            num_classes=3,
            in_channels=512,
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        ),
    ),
    'RegionConstraintLoss': dict(),
    'SoftmaxL2Loss': dict(),
    'FrozenBackbone': dict(backbone=dict(type='mmpretrain.ResNet', depth=18)),
    'StoredFeaturesBackbone': dict(),
    'LinearMultiLabelHead': dict(num_classes=3, in_channels=8),
    'MLDecoderHead': dict(num_classes=3, in_channels=8, embed_dims=8, feedforward_dims=8),
    'Query2LabelHead': dict(num_classes=3, in_channels=8, feedforward_dims=8),
    'MaskedBCELoss': dict(),
    'MaskedAsymmetricLoss': dict(),
    'MaskedFocalLoss': dict(),
    'DistributionBalancedLoss': dict(),
    'COCOMultiLabel': dict(ann_file='none.json', lazy_init=True),
    'PlainMultiLabel': dict(ann_file='none.json', lazy_init=True),
    'MultiLabelFile': dict(ann_file='none.csv', lazy_init=True),
    'NoisyLabels': dict(
        dataset=dict(type='mmpretrain.CustomDataset', data_prefix='none', lazy_init=True),
        level=0.3,
        lazy_init=True,
    ),
    'CUBBox': dict(data_root='none', lazy_init=True),
    'NABirds': dict(data_root='none', lazy_init=True),
    'NUSWide': dict(data_root='none', lazy_init=True),
    'StanfordDogs': dict(data_root='none', lazy_init=True),
    'VOCBox': dict(data_root='none', lazy_init=True),
    'WIDERAttribute': dict(data_root='none', lazy_init=True),
    'CropAroundBoxes': dict(enlarge=1.2, least=1 / 3),
    'CropToBox': dict(),
    'ViewCrop': dict(place='center'),
    'SeededDataset': dict(dataset=dict(type='mmlattn.COCOMultiLabel', ann_file='none.json', lazy_init=True)),
    'StreamSampler': dict(dataset=[0, 1, 2]),
    'ClassAwareSampler': dict(dataset=OneLabelled()),
    'LabelSetReport': dict(),
    'MultiLabelReport': dict(),
    'PointingGame': dict(),
    'CorLoc': dict(),
    'ScaleAccuracy': dict(),
    'VOCSubmission': dict(out_dir='none'),
    'RegionQuality': dict(),
    'ReproducibilityHook': dict(),
    'RegionDiagnosticsHook': dict(),
    'SafeCheckpointHook': dict(),
    'CollectDirHook': dict(),
    'ShareBuffersHook': dict(),
    'StopSignalHook': dict(),
    'LabelFrequencyHook': dict(),
    'LabelConstraintsHook': dict(file='none.json'),
    'StoredDecisionHook': dict(threshold=0.4),
    'RACNNPhaseHook': dict(),
    'CheckpointChecksHook': dict(),
    'CompleteWeightsHook': dict(),
    'ClassNamesHook': dict(),
    'ConfigChecksHook': dict(),
    'LabelChecksHook': dict(),
    'FiniteLossHook': dict(),
    'FiniteScoresHook': dict(),
    'UnreadablePicturesHook': dict(),
    'MixedPrecisionOptimWrapper': dict(
        optimizer=torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    ),
    'EvidenceVisualizer': dict(name='contract'),
    'EvidenceVisualizationHook': dict(),
}
# Built around a whole Runner, an optimizer, or files that a tool wrote; the tests of the tools do that.
BUILT_BY_RUNNER = {'ResumableEpochLoop', 'StoredFeatures', 'StreamTrainLoop', 'WarmUpLR'}


def test_every_registered_class_has_an_example():
    assert {name for _, name in REGISTERED} == EXAMPLES.keys() | BUILT_BY_RUNNER


@pytest.mark.parametrize(('kind', 'name'), REGISTERED)
def test_reachable_by_plain_name_and_documented(kind, name):
    import mmpretrain.registry

    cls = REGISTRIES[kind].get(name)
    assert getattr(mmpretrain.registry, kind).get(name) is cls
    assert cls.__module__.startswith('mmlattn.')
    assert inspect.getdoc(cls)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmengine'])
@pytest.mark.parametrize('name', EXAMPLES)
def test_builds_under_every_default_scope(scope, name):
    kind = next(kind for kind, registered in REGISTERED if registered == name)
    root = REGISTRIES[kind].parent
    EvidenceVisualizer.get_instance('contract')  # VisualizationHook asks for one
    with DefaultScope.overwrite_default_scope(scope):
        built = root.build(dict(type=f'mmlattn.{name}', **EXAMPLES[name]))
    assert type(built).__name__ == name
    if kind == 'MODELS':
        for module in built.modules():
            assert not type(module).__module__.startswith('mmdet.')


def test_a_taken_name_is_an_error():
    with pytest.raises(KeyError, match='already registered'):
        registry.MODELS.register_module(name='CSRAClsHead', module=object)
    registry.MODELS.module_dict.pop('CSRAClsHead', None)


def test_prefixed_type_needs_no_import():
    """In a new process, building by prefix alone must import what it needs."""
    code = (
        'from mmpretrain.registry import MODELS\n'
        "head = MODELS.build(dict(type='mmlattn.CSRAHead', num_classes=2, in_channels=4, num_heads=1, lam=0.1))\n"
        "assert type(head).__name__ == 'CSRAHead'"
    )
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)


def test_every_name_of_a_kind_is_found_with_nothing_imported():
    """Of each kind in a process of its own, forked from one that has mmpretrain's registries alone."""
    kinds = ('DATASETS', 'DATA_SAMPLERS', 'LOOPS', 'HOOKS')
    names = {kind: [name for of, name in REGISTERED if of == kind] for kind in kinds}
    assert all(names.values())
    code = f"""
import os, sys
from mmpretrain import registry

assert not any(name.startswith('mmlattn') for name in sys.modules)
for kind, names in {names}.items():
    if os.fork() == 0:
        os._exit(not all(getattr(registry, kind).get(f'mmlattn.{{name}}') for name in names))
    assert os.wait()[1] == 0, kind
"""
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)


def test_root_registry_finds_ours():
    assert ROOT_MODELS.get('mmlattn.CSRAHead') is registry.MODELS.get('CSRAHead')
