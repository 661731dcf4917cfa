from .coco_multilabel import COCOMultiLabel
from .plain_multilabel import PlainMultiLabel
from .seeded import SeededDataset
from .stream_sampler import StreamIndex, StreamSampler

__all__ = ['COCOMultiLabel', 'PlainMultiLabel', 'SeededDataset', 'StreamIndex', 'StreamSampler']
