"""What is interrupted leaves the file that was there."""

import numpy as np
import pytest

from mmlattn.utils.whole_files import whole_file


def test_a_file_is_replaced_when_it_is_whole_and_not_before(tmp_path):
    file = tmp_path / 'scores.npz'
    for value in (1, 2):
        with whole_file(file) as draft:
            np.savez(draft, x=value)  # would add the ending that is missing
            assert file.exists() == (value == 2)
    with pytest.raises(KeyboardInterrupt), whole_file(file) as draft:
        draft.write_text('half of')
        raise KeyboardInterrupt
    assert np.load(file)['x'] == 2
