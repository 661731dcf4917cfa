"""Training loops."""

from mmengine.runner import IterBasedTrainLoop
from torch import nn

from mmlattn.registry import LOOPS

__all__ = ['StreamTrainLoop']


@LOOPS.register_module()
class StreamTrainLoop(IterBasedTrainLoop):
    """mmengine's iteration-based loop, whose data stream continues where it stopped.

    The stock loop of mmengine 0.10.7 starts its workers before a resume is known and then loads and drops every
    batch used before. Here the sampler skips them unloaded, on every version. Arguments are the parent's.
    Use ``train_cfg=dict(type='mmlattn.StreamTrainLoop', max_iters=...)`` with
    ``mmlattn.StreamSampler``; ``tools/train.py`` does so for every iteration-based config.
    """

    def run(self) -> nn.Module:
        """Launch training."""
        self.runner.call_hook('before_train')
        # As in the parent, the whole training is one epoch to the hooks.
        self.runner.call_hook('before_train_epoch')
        batches = self._remaining_batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._decide_current_val_interval()
            if self._must_validate():
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _remaining_batches(self):
        """Iterate the batches not trained on yet."""
        self.dataloader_iterator = None  # releases workers that the parent may have started
        loader = self.dataloader
        if loader.batch_size is not None and hasattr(loader.sampler, 'skip'):
            loader.sampler.skip(self._iter * loader.batch_size)
            return iter(loader)
        # Any other sampler, or batch sampler, tells where it stands only by drawing.
        batches = iter(loader)
        for _ in range(self._iter):
            next(batches)
        return batches

    def _must_validate(self) -> bool:
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        return self.runner.val_loop is not None and self._iter >= self.val_begin and due
