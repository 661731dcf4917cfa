"""Scores of labels from paths, in numbers worked out by hand."""

import math

import pytest
import torch

from mmlattn.models.cnn_rnn.beam_search import Beams
from mmlattn.models.cnn_rnn.paths import DEAD
from mmlattn.models.cnn_rnn.scores import first_scores, marginals, noisy_or_scores, step_max_scores


def test_marginals_are_shares_of_the_paths_found():
    """Paths {0}, {0, 2} and {} with .3, .1 and .2 of all; one path so improbable that exp of it is 0; and none."""
    labels = torch.tensor(
        [[[1, 0, 0], [1, 0, 1], [0, 0, 0]], [[0, 1, 0], [0, 0, 0], [0, 0, 0]], [[1, 1, 1]] * 3]
    )
    log_probs = torch.tensor([[math.log(p) for p in (0.3, 0.2, 0.1)], [-5e3, DEAD, DEAD], [DEAD] * 3])
    log_probs[0] = torch.tensor([0.3, 0.1, 0.2]).log()
    got = marginals(Beams(None, None, log_probs, labels.bool()))
    expected = torch.tensor([[4 / 6, 0, 1 / 6], [0, 1, 0], [0, 0, 0]])
    torch.testing.assert_close(got, expected)
    assert got.dtype == torch.float32


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_scores_along_a_path(dtype):
    """Two labels and END; a path of one label, and one of none whose later steps must not count."""
    probs = torch.tensor(
        [
            [[0.5, 0.3, 0.2], [0.0, 0.4, 0.6], [0.9, 0.05, 0.05]],
            [[0.1, 0.2, 0.7], [0.8, 0.1, 0.1], [0.9, 0.05, 0.05]],
        ],
        dtype=dtype,
    )
    log_probs, lengths = probs.clamp(min=1e-30).log(), torch.tensor([1, 0])
    close = lambda got, expected: torch.testing.assert_close(got, torch.tensor(expected, dtype=dtype))  # noqa: E731
    close(first_scores(log_probs), [[0.5, 0.3], [0.1, 0.2]])
    close(step_max_scores(log_probs, lengths), [[0.5, 0.4], [0.1, 0.2]])
    close(noisy_or_scores(log_probs, lengths), [[0.5, 0.3 + 0.7 * 0.4], [0.1, 0.2]])


def test_noisy_or_keeps_small_probabilities_and_certainty():
    """1 - (1 - p)^2 for p = 1e-9, which single precision would round to 0, and for p = 1."""
    log_probs = torch.tensor([[[1e-9, 1.0, 1e-9], [1e-9, 1.0, 1e-9]]]).log()
    got = noisy_or_scores(log_probs, torch.tensor([1]))
    torch.testing.assert_close(got, torch.tensor([[2e-9, 1.0]]), rtol=1e-6, atol=0)
