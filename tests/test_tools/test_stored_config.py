"""A config on stored features with the real tools: what a head says there is what it says behind its backbone."""

import torch
from heads_fixtures import write_config
from mmpretrain.apis import get_model
from tiny_run import run_tool

from mmlattn.utils.predictions import load_predictions

HEAD = """
model.update(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='mmlattn.LinearMultiLabelHead', num_classes=3, in_channels=32))
default_scope = 'mmpretrain'
data_preprocessor.update(to_onehot=True, num_classes=3)
test_evaluator = val_evaluator = dict(type='mmlattn.MultiLabelReport')
test_cfg = val_cfg = dict()
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
"""


def test_weights_of_a_head_are_tested_on_stored_features(tmp_path):
    config = write_config(tmp_path)
    config.write_text(config.read_text() + HEAD)
    done = run_tool(
        'analysis_tools/stored_config.py', config, tmp_path / 'stored.py', '--features', tmp_path / 'features',
        '--workers', 0, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    torch.manual_seed(0)
    model = get_model(str(config), device='cpu')
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter)
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith('backbone.')}
    torch.save(dict(state_dict=weights), tmp_path / 'head.pth')
    done = run_tool(
        'model_converters/complete_weights.py',
        config,
        tmp_path / 'head.pth',
        tmp_path / 'whole.pth',
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for name, checkpoint in (('stored', 'head'), (config.stem, 'whole')):
        files = [tmp_path / f'{name}.py', tmp_path / f'{checkpoint}.pth']
        done = run_tool('test.py', *files, '--out', tmp_path / f'{checkpoint}.pkl', cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        found[checkpoint] = load_predictions(str(tmp_path / f'{checkpoint}.pkl'))
    assert [s['img_path'] for s in found['head']] == [s['img_path'] for s in found['whole']]
    scores = {
        name: torch.stack([sample['pred_score'] for sample in samples]) for name, samples in found.items()
    }
    # float16 has 11 bits.
    torch.testing.assert_close(scores['head'], scores['whole'], rtol=5e-3, atol=5e-3)
    assert scores['whole'].std() > 0.05
    again = run_tool('analysis_tools/stored_config.py', config, tmp_path / 'stored.py', cwd=tmp_path)
    assert again.returncode == 1 and 'must be a new file' in again.stderr
