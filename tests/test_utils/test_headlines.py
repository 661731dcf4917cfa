"""The console shows headlines of long messages, the log file everything."""

import logging

from mmengine.logging import MMLogger

from mmlattn.utils.launch.headlines import show_headlines

METRICS = [f'multi-label/v{n}: {n}.0000' for n in range(20)]
METRICS += ['label-set/exact: 4.0000', 'accuracy/top1: 50.0000', 'data_time: 0.0012', 'time: 0.0100']


def test_the_console_has_headlines_and_the_file_everything(tmp_path, capfd):
    file = tmp_path / 'run.log'
    logger = show_headlines(MMLogger('headlines', logger_name='headlines', log_file=str(file)))
    show_headlines(logger)  # a second time changes nothing
    environment = (
        '\n' + '-' * 60 + '\nSystem environment:\n' + '\n'.join(f'    part {n}: x' for n in range(30))
    )
    table = '\n| class | AP |\n' + '\n'.join(f'| class {n} | 50.00 |' for n in range(30))
    messages = [
        environment, 'Config:\na = 1\nb = 2', f'Epoch(val) [3][7/7]    {"  ".join(METRICS)}', table,
        'Epoch(test) [2/2]    accuracy/top1: 50.0000  data_time: 0.0012  time: 0.0100',
    ]  # fmt: skip
    for message in messages:
        logger.info(message)
    for handler in logger.handlers:
        handler.flush()
    console = ''.join(capfd.readouterr())
    lines = console.splitlines()
    assert lines[0].endswith(f'System environment: 33 lines in {file}')
    assert lines[1].endswith(f'Config: 3 lines in {file}')
    assert lines[2].endswith(
        'Epoch(val) [3][7/7]    multi-label/v0: 0.0000  multi-label/v1: 1.0000  multi-label/v2: 2.0000  '
        'multi-label/v3: 3.0000  '
        f'label-set/exact: 4.0000  accuracy/top1: 50.0000  data_time: 0.0012  time: 0.0100  and 16 more in {file}'
    )
    assert 'class 29' in console and messages[-1] in console, 'what was asked for, and what is short'
    written = file.read_text()
    assert all(message in written for message in messages)


def test_what_comes_for_each_weight_is_one_line_on_the_console(tmp_path, capfd):
    file = tmp_path / 'run.log'
    logger = show_headlines(MMLogger('weights', logger_name='weights', log_file=str(file)))
    show_headlines(logger)
    for number in range(9):
        logger.info(f'paramwise_options -- layer{number}.weight:lr=0.1')
        logger.warning(f'layer{number}.bias is skipped since its requires_grad=False')
    logger.info('the last one')
    for handler in logger.handlers:
        handler.flush()
    lines = ''.join(capfd.readouterr()).splitlines()
    assert len(lines) == 3 and lines[2].endswith('the last one')
    assert 'paramwise_options: a line for each weight' in lines[0] and lines[0].endswith(f' in {file}')
    assert 'requires_grad=False' in lines[1] and lines[1].endswith(f' in {file}')
    assert 'layer8.weight:lr=0.1' in file.read_text() and 'layer8.bias is skipped' in file.read_text()


def test_without_a_file_nothing_is_hidden(capfd):
    logger = show_headlines(MMLogger('no_file', logger_name='no_file'))
    logger.log(logging.INFO, 'Config:\na = 1\nb = 2')
    assert 'b = 2' in ''.join(capfd.readouterr())
