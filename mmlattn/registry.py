"""The registries of mmlattn.

Each registry is a child of mmengine's root of the same kind and knows where its modules live, so
``type='mmlattn.CSRAHead'`` builds in any mmpretrain or mmdet config with nothing imported by hand. The
decorator also enters the class into mmpretrain's registry under its plain name, so that a config with
``custom_imports = dict(imports=['mmlattn.register'])`` may write ``type='CSRAHead'``.
"""

import mmpretrain.registry as mmpretrain_registry
from mmengine import registry as roots
from mmengine.registry import Registry

import mmlattn.utils.file_handlers  # noqa: F401  json without NaN, yaml that runs nothing
from mmlattn.utils.checkpoint.safetensors_files import register_safetensors

__all__ = [
    'DATASETS',
    'DATA_SAMPLERS',
    'HOOKS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'OPTIM_WRAPPERS',
    'PARAM_SCHEDULERS',
    'TRANSFORMS',
    'VISUALIZERS',
]


register_safetensors()


class PluginRegistry(Registry):
    """A child of mmengine's root ``parent`` that enters every class into mmpretrain's ``twin`` of the kind as well.

    A name that the twin already holds is an error. Importing ``locations`` registers everything of this kind.
    """

    def __init__(self, name: str, *, parent: Registry, twin: Registry, locations: list[str]) -> None:
        super().__init__(name, scope='mmlattn', parent=parent, locations=locations)
        self._twin = twin

    def _register_module(self, module, module_name=None, force=False) -> None:
        super()._register_module(module, module_name, force)
        self._twin.register_module(name=module_name, force=force, module=module)


def _plugin(kind: str, *locations: str) -> PluginRegistry:
    parent, twin = getattr(roots, kind), getattr(mmpretrain_registry, kind)
    return PluginRegistry(kind.lower().rstrip('s'), parent=parent, twin=twin, locations=list(locations))


MODELS = _plugin('MODELS', 'mmlattn.models', 'mmlattn.comparison.stored')
DATASETS = _plugin(
    'DATASETS', 'mmlattn.datasets', 'mmlattn.engine.reproducibility', 'mmlattn.comparison.stored'
)
TRANSFORMS = _plugin('TRANSFORMS', 'mmlattn.datasets')
DATA_SAMPLERS = _plugin('DATA_SAMPLERS', 'mmlattn.engine')
METRICS = _plugin('METRICS', 'mmlattn.evaluation')
HOOKS = _plugin('HOOKS', 'mmlattn.engine')
LOOPS = _plugin('LOOPS', 'mmlattn.engine')
OPTIM_WRAPPERS = _plugin('OPTIM_WRAPPERS', 'mmlattn.engine')
PARAM_SCHEDULERS = _plugin('PARAM_SCHEDULERS', 'mmlattn.engine')
VISUALIZERS = _plugin('VISUALIZERS', 'mmlattn.visualization')
