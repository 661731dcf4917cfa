from types import SimpleNamespace

import mmcv
import pytest
import torch
from mmpretrain.structures import DataSample

from mmlattn.engine import EvidenceVisualizationHook
from mmlattn.visualization import EvidenceVisualizer


@pytest.mark.parametrize('to_rgb', [True, False])
@pytest.mark.parametrize('mode', ['val', 'test'])
def test_red_stays_red(tmp_path, mode, to_rgb):
    """A red picture, loaded in BGR where the preprocessor turns it and in RGB where it doesn't."""
    EvidenceVisualizer.get_instance(f'{mode}{to_rgb}')
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    image[2 if to_rgb else 0] = 250
    preprocessor = SimpleNamespace(to_rgb=to_rgb)
    runner = SimpleNamespace(model=SimpleNamespace(data_preprocessor=preprocessor), train_loop=None, iter=0)
    hook = EvidenceVisualizationHook(enable=True, out_dir=str(tmp_path))
    sample = DataSample().set_pred_score(torch.tensor([0.9])).set_pred_label([0])
    getattr(hook, f'after_{mode}_iter')(runner, 0, dict(inputs=torch.stack([image])), [sample])
    (file,) = tmp_path.iterdir()
    blue, _, red = (mmcv.imread(str(file))[..., channel] for channel in range(3))
    assert ((red > 200) & (blue < 50)).any() and not ((blue > 200) & (red < 50)).any()
