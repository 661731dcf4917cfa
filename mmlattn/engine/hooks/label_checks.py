"""What is odd about the labels of a run is said before its first step."""

from itertools import groupby

from mmengine.hooks import Hook

from mmlattn.datasets.checks.findings import Finding
from mmlattn.datasets.checks.labels import check_between, check_split
from mmlattn.datasets.checks.splits import read_split
from mmlattn.registry import HOOKS
from mmlattn.utils.errors import UserError


@HOOKS.register_module()
class LabelChecksHook(Hook):
    """Looks at the labels of training, and at what validation shares with it, as ``check_dataset.py`` does.

    Warns, with a line for each kind: classes without a positive, in nearly all pictures or in hardly any; pictures
    listed twice, in validation too, or with label sets that contradict each other; groups in both; other classes. It
    reads what the data sets hold in memory, no file: about a second for 120,000 pictures with boxes. Test data are
    not built for training, so ``check_dataset.py`` alone compares them.

    Args:
        enabled (bool): Whether to look; ``tools/train.py`` adds this hook where a config has none.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled

    def before_train(self, runner) -> None:
        """Look, and warn.

        Raises:
            UserError: If there is nothing to learn from, or a label that no class has.
        """
        if not self.enabled:
            return
        loops = {'train': runner._train_loop, 'val': runner._val_loop}
        loaders = {name: getattr(loop, 'dataloader', None) for name, loop in loops.items()}
        splits = [read_split(name, loader.dataset) for name, loader in loaders.items() if loader is not None]
        if not splits or splits[0] is None:
            return
        found = check_split(splits[0])
        for finding in found:
            # Every process looks, so that an error stops all of them.
            if finding.severity == 'error':
                raise UserError(f'train_dataloader: {finding.message}')
        for line in _one_line_each(found + check_between([split for split in splits if split is not None])):
            runner.logger.warning(line)


def _one_line_each(findings: list[Finding]) -> list[str]:
    """For each kind its first message, and how many more there are; no notes."""
    told = [finding for finding in findings if finding.severity != 'note']
    lines = []
    for _, group in groupby(told, key=lambda finding: (finding.code, finding.split)):
        same = list(group)
        more = f'; {len(same) - 1} more: tools/analysis_tools/check_dataset.py CONFIG lists them'
        lines.append(f'{same[0].text}{more if len(same) > 1 else ""}')
    return lines
