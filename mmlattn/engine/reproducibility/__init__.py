"""Training as a function of the seed.

What is random in training depends on the seed and on where training is, and on nothing else:

* order of the samples = f(seed, epoch): the sampler's;
* augmentation of a sample = f(seed, epoch, index), or f(seed, position in the stream) where training is counted in
  iterations: :class:`SeededDataset`;
* dropout, mixup and all else in a step = f(seed, iteration, rank): :class:`ReproducibilityHook`.

So the number of workers, their lifetime and a resume change nothing: a resumed run equals one that never stopped, bit
for bit where the operations themselves are deterministic. :mod:`.seeding` makes random numbers from seed and place,
and the hook hands seed and epoch to sampler and data set. In iterations, :class:`StreamSampler` numbers the samples
and :class:`StreamTrainLoop` goes on where a checkpoint stopped; in epochs, :class:`ResumableEpochLoop` does.
``tools/train.py`` puts them into every config.
"""

from .epoch_loop import ResumableEpochLoop
from .hook import ReproducibilityHook
from .seeded_dataset import SeededDataset
from .stream import StreamSampler, StreamTrainLoop

__all__ = ['ReproducibilityHook', 'ResumableEpochLoop', 'SeededDataset', 'StreamSampler', 'StreamTrainLoop']
