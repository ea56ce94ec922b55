"""Traces of real links: what is read of both formats, and that what is wrong is said with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed import traces
from testbed.job import Trace

MS, S = 10**6, 10**9
REAL = Path(__file__).parent.parent.parent / "shared" / "data" / "traces"


@pytest.fixture
def read(tmp_path):
    def read(text: str, name: str = "link.down") -> Trace:
        path = tmp_path / name
        path.write_text(text)
        return traces.read(path)

    return read


def test_every_line_of_mahimahis_format_is_a_packet(read):
    trace = read("0\n0\n5\n5\n12\n20\n")
    assert trace == Trace(period_ns=20 * MS, times_ns=(0, 0, 5 * MS, 5 * MS, 12 * MS, 20 * MS))
    assert traces.mean_bps(trace) == 6 * 1514 * 8 * S // (20 * MS)


def test_windows_line_ends_and_a_missing_last_one_do_not_matter(read):
    assert read("1\r\n2\r\n3").times_ns == (MS, 2 * MS, 3 * MS)


def test_csv_says_a_rate_from_each_time_on(read):
    trace = read("time,rate\n0,10mbit\n500ms,0\n1.5,4mbit\n2.5s,1.5gbit/s\n", "link.csv")
    assert trace.times_ns == (0, S // 2, 3 * S // 2, 5 * S // 2)
    assert trace.rates_bps == (10_000_000, 0, 4_000_000, 1_500_000_000)
    assert trace.period_ns == 7 * S // 2  # the last rate lasts as long as the one before it
    assert traces.mean_bps(trace) == (5_000_000 + 0 + 4_000_000 + 1_500_000_000) * 2 // 7


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("link.down", "", "link.down is empty; write a line for each packet"),
        ("link.down", "\n \n", "link.down is empty"),
        ("link.down", "1\nx\n3\n", "link.down:2: 'x' is no whole number of milliseconds; write for"),
        ("link.down", "1\n\n3\n", "link.down:2: '' is no whole number"),
        ("link.down", "1.5\n", "link.down:1: '1.5' is no whole number"),
        ("link.down", "-1\n", "link.down:1: '-1' is no whole number"),
        ("link.down", "٣\n", "link.down:1: '٣' is no whole number"),
        ("link.down", "9" * 5000, "link.down:1: "),
        ("link.down", "1\n4\n3\n", "link.down:3: 3 comes after 4; write the milliseconds rising"),
        ("link.down", "0\n0\n", "link.down:2: the trace ends at 0 ms; the last line is its length"),
        ("link.csv", "0,10mbit\n", "link.csv:1: the header is '0,10mbit'; write time,rate"),
        ("link.csv", "time,rate\n0,10\n", "link.csv:2: '10' has no unit; did you mean 10mbit?"),
        ("link.csv", "time,rate\n0,1mbit\nsoon,1mbit\n", "link.csv:3: 'soon' is not a duration"),
        ("link.csv", "time,rate\n0,1mbit\n1m,1mbit\n", "link.csv:3: '1m' is ambiguous; did you mean 1min"),
        ("link.csv", "time,rate\n0,1mbit,2\n", "link.csv:2: '0,1mbit,2' is no time and rate"),
        ("link.csv", "time,rate\n1,1mbit\n2,1mbit\n", "link.csv:2: the first time is 1s; count the times"),
        ("link.csv", "time,rate\n0,1mbit\n1,2mbit\n1,3mbit\n", "link.csv:4: 1s comes after 1s; write the"),
        ("link.csv", "time,rate\n", "link.csv has no rates; write two or more"),
        ("link.csv", "time,rate\n0,1mbit\n", "link.csv has 1 rate; write two or more"),
        ("link.csv", "time,rate\n0,0\n1,0mbit\n", "link.csv lets nothing through"),
    ],
)  # fmt: skip
def test_what_is_no_trace_says_where_and_what_to_write_instead(read, name, text, message):
    with pytest.raises(ValueError, match="; ") as refused:
        read(text, name)
    assert message in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_file_without_bound_is_not_read(read, monkeypatch):
    monkeypatch.setattr(traces, "LINES_MOST", 3)
    assert read("1\n2\n3\n")
    with pytest.raises(ValueError, match="more than 3 lines; cut it"):
        read("1\n2\n3\n4\n")


def test_a_trace_is_called_the_same_on_every_machine(tmp_path):
    (tmp_path / "lte.down").write_text("1\n2\n")
    assert traces.named("./x/../lte.down", tmp_path / "lte.down").name == "lte.down"
    here = str(tmp_path / "lte.down")
    name = traces.named(here, tmp_path / "lte.down").name
    assert name.startswith("lte.down.")
    assert str(tmp_path) not in name
    (tmp_path / "lte.down").write_text("1\n3\n")
    assert traces.named(here, tmp_path / "lte.down").name != name


@given(st.lists(st.integers(0, 10**6), min_size=1).map(sorted).filter(lambda times: times[-1] > 0))
def test_whatever_rises_is_a_trace(tmp_path_factory, times):
    path = tmp_path_factory.getbasetemp() / "any.up"
    path.write_text("".join(f"{time}\n" for time in times))
    assert traces.read(path).times_ns == tuple(time * MS for time in times)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real traces do not lie beside the project")
@pytest.mark.parametrize("way", ["down", "up"])
def test_a_real_trace_is_read_whole(way):
    path = REAL / f"ATT-LTE-driving-2016.{way}"
    trace = traces.read(path)
    lines = path.read_text().split()
    assert len(trace.times_ns) == len(lines)
    assert trace.times_ns[-1] == trace.period_ns == int(lines[-1]) * MS
    assert 10**5 < traces.mean_bps(trace) < 10**8
