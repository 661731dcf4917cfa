"""No score of weights that were never loaded."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmlattn.registry import HOOKS
from mmlattn.utils.weights import load_all_weights


@HOOKS.register_module()
class CompleteWeightsHook(Hook):
    """Refuses a checkpoint that lacks weights of the model, or has them in other shapes.

    mmengine loads loosely: with another arch or number of classes it lists what did not fit and goes on with random
    weights. ``tools/test.py`` adds this hook; starting a training from part of a checkpoint stays possible.
    """

    # After EMA has chosen the weights.
    priority = 'LOWEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Load strictly, before mmengine does so loosely."""
        load_all_weights(runner.model, checkpoint, runner._load_from)
