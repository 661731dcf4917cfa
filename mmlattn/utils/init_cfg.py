"""What mmengine's ``init_cfg`` says."""

from collections.abc import Mapping, Sequence

from mmengine.model import PretrainedInit


def loads_weights(init_cfg: Mapping | Sequence[Mapping] | None) -> bool:
    """Whether weights of others are among the initialisers, named by string or by class."""
    initialisers = [init_cfg] if isinstance(init_cfg, Mapping) else init_cfg or []
    return any(initialiser.get('type') in ('Pretrained', PretrainedInit) for initialiser in initialisers)
