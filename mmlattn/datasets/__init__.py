from .seeded import SeededDataset
from .stream_sampler import StreamIndex, StreamSampler

__all__ = ['SeededDataset', 'StreamIndex', 'StreamSampler']
