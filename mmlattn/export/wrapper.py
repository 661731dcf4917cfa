"""A classifier as a function from a batch of pictures to the outputs of ``contract.py``, which can be traced."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from mmlattn.models.ran.mask_recording import backbone_masks
from mmlattn.models.views.multi_crop_classifier import MultiCropClassifier
from mmlattn.utils.errors import UserError

from .contract import MASK, in_order

#: From logits to scores, by name; of those that fit a model the first is taken.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = dict(
    softmax=lambda logits: logits.softmax(dim=-1), sigmoid=torch.sigmoid, none=lambda logits: logits
)

#: Of a beam search; ten of them took half a minute to export.
MANY_STEPS = 20


class Preprocessing(nn.Module):
    """From pixels as they are, uint8 RGB or grey, to what the network reads.

    Args:
        layout (str): Of the pixels: 'nchw' or 'nhwc'.
        mean, std (Sequence[float]): Of the channels, in the order of the network.
        reverse (bool): Whether the network reads the channels as BGR.
    """

    def __init__(self, layout: str, mean: Sequence[float], std: Sequence[float], reverse: bool) -> None:
        super().__init__()
        self.layout, self.reverse = layout, reverse
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) or (B, H, W, 3) uint8 to (B, 3, H, W) float32."""
        x = image.permute(0, 3, 1, 2) if self.layout == 'nhwc' else image
        x = x.flip(1) if self.reverse else x
        return (x.float() - self.mean) / self.std


class ExportedClassifier(nn.Module):
    """What is traced.

    Args:
        model (nn.Module): A classifier.
        activation (str): Of ``ACTIVATIONS``, for a model that gives logits alone.
        names (Sequence[str]): Outputs, see :func:`output_names`.
        preprocessing (Preprocessing, optional): Put before it.
        half (bool): Whether the network computes in float16; ``image`` and the outputs stay float32.
    """

    def __init__(
        self,
        model: nn.Module,
        activation: str,
        names: Sequence[str],
        preprocessing: Preprocessing | None = None,
        half: bool = False,
    ) -> None:
        super().__init__()
        self.model = model.half() if half else model
        self.activation, self.names, self.half_precision = activation, tuple(names), half
        self.preprocessing = preprocessing or nn.Identity()
        self.evidence = bool(set(names) - {'scores', 'logits', 'label_path'})

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in the order of ``names``."""
        x = self.preprocessing(image)
        found = all_tensors(self.model, x.half() if self.half_precision else x, self.evidence)
        if 'scores' not in found:
            found['scores'] = ACTIVATIONS[self.activation](found['logits'])
        picked = (found[name] for name in self.names)
        # An output that is an input of another, such as plain scores, must be a tensor of its own.
        return tuple(x.float().clone() if x.is_floating_point() else x for x in picked)


def all_tensors(model: nn.Module, inputs: Tensor, with_evidence: bool) -> dict[str, Tensor]:
    """All that a classifier tells of a batch of normalised pictures, by the names of ``contract.py``.

    Our heads, and RA-CNN, tell it by ``predict_tensors``; of others the scores of ``mode='tensor'`` are known.
    """
    with _masks_of(model) if with_evidence else nullcontext({}) as masks:
        if hasattr(model, 'predict_tensors'):
            found = model.predict_tensors(inputs, with_evidence)
        elif hasattr(getattr(model, 'head', None), 'predict_tensors'):
            found = model.head.predict_tensors(model.extract_feat(inputs), with_evidence)
        else:
            found = dict(logits=model(inputs, mode='tensor'))
    return found | {f'{MASK}{number}': mask for number, mask in enumerate(masks.values())}


@contextmanager
def _masks_of(model: nn.Module):
    """The soft masks of the passes meanwhile; ``record_masks`` cannot be traced."""
    masks: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda module, args, mask, name=name: masks.update({name: mask}))
        for name, module in backbone_masks(model).items()
    ]
    try:
        yield masks
    finally:
        for handle in handles:
            handle.remove()


def check_exportable(model: nn.Module) -> None:
    """Raises ``UserError`` for what is decided anew for each picture, and so has no graph."""
    if isinstance(model, MultiCropClassifier) and model.crops is not None:
        raise UserError(
            f'the scores of crops={model.crops!r} are fused outside of the graph: export with '
            '--cfg-options model.crops=None'
        )
    if getattr(model, 'exit_above', None) is not None:
        raise UserError(
            f'exit_above={model.exit_above} stops earlier for some pictures than for others, and a graph is the '
            'same for all: export with --cfg-options model.exit_above=None'
        )
    if getattr(getattr(model, 'head', None), 'rules', None) is not None:
        raise UserError(
            'what test_cfg.constraints knows of the labels changes how many paths are kept, and a graph is the same '
            'for all: export with --cfg-options model.head.test_cfg.constraints=None'
        )


def slow_steps(model: nn.Module) -> int | None:
    """How many steps of a beam search are unrolled into the graph, where these are many; else None."""
    head = getattr(model, 'head', None)
    decoding = getattr(head, 'decoding', None)
    if decoding is None or head.fuses_steps:
        return None
    steps = head.num_classes if decoding.max_len is None else decoding.max_len
    return steps if steps > MANY_STEPS else None


def output_names(found: dict[str, Tensor], logits: bool, evidence: bool) -> list[str]:
    """Which outputs a file has, of what a model tells: evidence, and logits, where they are asked for.

    Raises:
        UserError: If there are none of them.
    """
    if logits and 'logits' not in found:
        raise UserError('this model scores whole paths of labels and has no logits: leave --with-logits out')
    told = set(found) - {'scores', 'logits'}
    if evidence and not told:
        raise UserError(
            'this model cannot tell where it looked, or not from pooled features: leave --with-evidence out'
        )
    # Labels that are taken from the path need it.
    return in_order({'scores', *(['logits'] if logits else []), *told})


def find_activation(found: dict[str, Tensor], scores: Tensor) -> str:
    """Which activation makes the logits of a batch what ``predict`` gives, ``scores`` (B, C).

    It is tried, not read off the class of the head, so that it holds for heads of others too.

    Raises:
        UserError: If none does.
    """
    if 'logits' not in found:
        return 'none'
    logits = found['logits']
    if isinstance(logits, Tensor) and logits.shape == scores.shape:
        for name, activation in ACTIVATIONS.items():
            if torch.allclose(activation(logits), scores, rtol=1e-4, atol=1e-6):
                return name
    raise UserError(
        "the model's predict makes neither a softmax nor a sigmoid of what its forward gives, so its scores cannot "
        'be exported: give its head a method predict_tensors(feats, with_evidence), as CSRAHead has'
    )
