"""The statistics that links are judged by, against what is known of them."""

import numpy as np
import proving
import pytest


@pytest.mark.parametrize(
    ("of", "share", "low", "high"),
    [
        (20, 0.5, 4, 16),  # P(X <= 3) = 0.13 %, P(X <= 4) = 0.59 %
        (10, 0.1, 0, 4),  # P(X <= 3) = 98.7 %, P(X <= 4) = 99.8 %
        (100_000, 0.01, 920, 1082),  # 1000 +- 2.576 * 31.5, a little askew
    ],
)
def test_a_count_lies_in_its_range_99_times_in_100(of, share, low, high):
    finding = proving.binomial("", low, of, share)
    assert (finding.low, finding.high) == (low, high)


def test_a_range_includes_its_ends():
    held = [proving.Finding(what="", measured=each, low=1, high=2).holds for each in (0.9, 1, 2, 2.1)]
    assert held == [False, True, True, False]


def test_the_loss_of_four_states_is_that_of_the_chain_in_the_long_run():
    """netem's states: 1 passes in a gap, 2 passes in a burst, 3 is lost in a burst, 4 alone in a gap."""
    p13, p31, p32, p23, p14 = 0.02, 0.2, 0.3, 0.4, 0.01
    chain = np.array([
        [1 - p13 - p14, 0, p13, p14],
        [0, 1 - p23, p23, 0],
        [p31, p32, 1 - p31 - p32, 0],
        [1, 0, 0, 0],
    ])  # fmt: skip
    after_long = np.linalg.matrix_power(chain, 10_000)[0]
    assert proving.share_lost(p13, p31, p32, p23, p14) == pytest.approx(after_long[2] + after_long[3])
