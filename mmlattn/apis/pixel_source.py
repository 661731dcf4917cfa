"""Pictures as an exported file gets them, beside what the network of a config makes of their pixels."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from torch import Tensor, nn

from mmlattn.export.picture_rule import picture_rule
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.explain import explain_config, explain_missing_data

from .pictures import PictureReader, evenly_spread, input_channels
from .tested import split_dataset

#: Pictures computed together where a file is compared and judged.
BATCH = 8


class PixelSource:
    """Pictures as the test pipeline of a config gives them, and what the network does to their pixels.

    Args:
        cfg (Config): With a test data set.
        model (nn.Module): Its classifier.
        size (tuple[int, int], optional): Height and width, in the place of what the pipeline makes.

    Raises:
        UserError: If the pipeline gives pictures of several sizes, and no size is given.
    """

    def __init__(self, cfg: Config, model: nn.Module, size: tuple[int, int] | None = None) -> None:
        self.cfg, self.preprocessor = cfg, model.data_preprocessor
        self.channels = input_channels(model)
        with explain_config():
            reader = PictureReader(cfg, self.channels)
        self.rule = picture_rule(reader.loader, reader.transforms.transforms, reader.side)
        self.oriented = 'ignore_orientation' not in getattr(reader.loader, 'color_type', 'color')
        # A loader gives BGR; data sets that keep arrays have RGB.
        self.pixels_are_bgr = self.channels == 3 and reader.loader is not None
        flipped = getattr(self.preprocessor, 'to_rgb', False) and self.channels == 3
        self.network_reads_bgr = self.pixels_are_bgr != bool(flipped)
        probes = [np.zeros((*shape, 3), np.uint8) for shape in ((360, 480), (480, 360))]
        with explain_config(' on a picture'):
            self.made = {tuple(reader(probe)['inputs'].shape[-2:]) for probe in probes}
        if size is None and len(self.made) > 1:
            raise UserError(
                'the test pipeline gives pictures of several sizes: name one with --size HEIGHT WIDTH, and add '
                '--dynamic-size for all others'
            )
        self.size = tuple(size or next(iter(self.made)))
        self._check_plain()

    def _check_plain(self) -> None:
        """Raises ``UserError`` if the preprocessor does more than order and normalise, which is all a file tells."""
        pixels = self.noise(1)
        found = self.normalised(pixels)
        if found.shape != pixels.shape:
            raise UserError(
                f'data_preprocessor makes {tuple(found.shape[-2:])} of pictures of {self.size}, which is not '
                'part of the file: name a size that it keeps with --size HEIGHT WIDTH'
            )
        mean, std = (torch.tensor(values)[:, None, None] for values in self.statistics)
        plain = pixels.flip(1) if self.network_reads_bgr != self.pixels_are_bgr else pixels
        if not torch.allclose(found.float(), (plain - mean) / std, atol=1e-4):
            raise UserError(
                f'{type(self.preprocessor).__name__} does more than (pixel - mean) / std, and no file could tell: '
                "export with data_preprocessor=dict(type='ClsDataPreprocessor', mean=..., std=...)"
            )

    @property
    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel, in the order of the network."""
        found = []
        for name, plain in (('mean', 0.0), ('std', 1.0)):
            values = getattr(self.preprocessor, name, None)
            values = [plain] if values is None else values.flatten().tolist()
            found.append(values * self.channels if len(values) == 1 else values)
        return found[0], found[1]

    def normalised(self, pixels: Tensor) -> Tensor:
        """What the network reads, of pixels (B, C, H, W) as the pipeline gives them."""
        return self.preprocessor(dict(inputs=pixels), False)['inputs']

    def fed(self, pixels: Tensor, layout: str | None) -> np.ndarray:
        """What the file reads: normalised, or with a layout uint8 in RGB."""
        if layout is None:
            return self.normalised(pixels).numpy()
        pixels = pixels.flip(1) if self.pixels_are_bgr else pixels
        return np.ascontiguousarray((pixels.permute(0, 2, 3, 1) if layout == 'nhwc' else pixels).numpy())

    def noise(self, count: int, size: tuple[int, int] | None = None) -> Tensor:
        """Random pixels, each picture round a colour of its own."""
        draw = torch.Generator().manual_seed(0)
        shape = (count, self.channels, *(size or self.size))
        colours = torch.randint(0, 160, shape[:2], generator=draw)[..., None, None]
        return (colours + torch.randint(0, 96, shape, generator=draw)).to(torch.uint8)

    def of_split(self, split: str, limit: int) -> list[dict]:
        """Items of the val or test data set by the test pipeline, evenly spread.

        Raises:
            UserError: If the data are not there.
        """
        with explain_missing_data(self.cfg, (split,)), explain_config():
            dataset = split_dataset(self.cfg, split)
            return [dataset[place] for place in evenly_spread(len(dataset), limit)]

    def of_size(self, items: Sequence[dict]) -> list[dict]:
        """Those items that a file of one size takes.

        Raises:
            UserError: If there are none.
        """
        fits = [item for item in items if tuple(item['inputs'].shape[-2:]) == self.size]
        if not fits:
            raise UserError(
                f'none of the pictures has the size {self.size} of the file: leave --size, --int8 or --pictures out'
            )
        return fits

    def batches(self, items: Sequence[dict]) -> Iterator[tuple[Tensor, list]]:
        """Pixels (B, C, H, W) and data samples, of one size each."""
        by_size: dict[tuple, list] = {}
        for item in items:
            by_size.setdefault(tuple(item['inputs'].shape), []).append(item)
        for group in by_size.values():
            for start in range(0, len(group), BATCH):
                part = group[start : start + BATCH]
                yield (
                    default_collate([item['inputs'] for item in part]),
                    [item['data_samples'] for item in part],
                )
