"""What a player asks for by its buffer."""

from dataclasses import replace

import made
import pytest

from testbed.services.pace import headers

S = made.S
TITLE = made.job().titles[0]  # 400 and 800 kbit/s


@pytest.mark.parametrize(
    ("level_s", "kbps"), [(0, 2400), (6, 1800), (12, 1200), (13, 1200)], ids=["empty", "half", "full", "over"]
)
def test_the_pace_falls_on_a_line_from_three_times_the_top_bitrate_to_one_and_a_half(level_s, kbps):
    session = replace(made.session("s0001", "north.homes.1"), pace=(3.0, 1.5))
    assert headers(session, TITLE, level_s * S) == (f"X-Pace: {kbps * 125}",)


def test_who_wants_no_pace_asks_for_none():
    assert headers(made.session("s0001", "north.homes.1"), TITLE, 0) == ()
