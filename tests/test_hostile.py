"""Nothing that is in a capture makes the C code read or write where it must not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from captures import ACK, EPOCH_NS, SYN, ethernet, ipv4, mac, tcp, write_pcap

from testbed.measure import native
from testbed.measure.foreign import tabulate
from testbed.measure.tables import Tables

HERE = Path(__file__).parent


def library(name):
    """Where the compiler has a library; only its name if it has none."""
    command = [native.COMPILE[0], f"-print-file-name={name}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_damaged_captures_are_read_within_bounds(tmp_path):
    # The sanitizer has to be loaded before all others, and finds exceptions of C++ only behind itself.
    first = [library("libasan.so"), library("libstdc++.so.6")]
    if not all(Path(each).is_absolute() for each in first):
        pytest.skip("gcc has no address sanitizer here")
    environment = {**os.environ, "LD_PRELOAD": " ".join(first), "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [sys.executable, str(HERE / "hostile.py"), str(tmp_path), "40"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 500


def seen(segments):
    for number, segment in enumerate(segments):
        yield EPOCH_NS + number * 1000, ethernet(ipv4(segment, "10.0.0.1", "10.0.0.2", 6), mac(1), mac(2))


def test_ever_new_connections_between_the_same_ports_cost_no_more_each(tmp_path):
    """It would take hours if each looked through all before it."""
    count = 200_000
    path = write_pcap(tmp_path / "a.pcap", seen(tcp(1, 2, 7 * number, 0, SYN) for number in range(count)))
    rows, problems = tabulate([path], tmp_path / "tables")
    assert (rows["flows"], problems) == (count, {})


def test_holes_without_end_cost_no_more_each(tmp_path):
    """Every other segment is missing, and comes in the end, the last first; most are forgotten."""
    count = 40_000
    starts = [*range(0, 20 * count, 20), *range(20 * count - 10, 0, -20)]
    path = write_pcap(tmp_path / "a.pcap", seen(tcp(1, 2, at, 1, ACK, b"0123456789") for at in starts))
    tabulate([path], tmp_path / "tables")
    (late,) = Tables(tmp_path).sql("select out_of_order from flows")[0]
    assert 8_000 < late < count


def test_a_window_scale_beyond_what_there_is_counts_as_the_largest(tmp_path):
    """RFC 7323, section 2.3."""
    scale = b"\x03\x03\xff\x00"
    segments = [
        tcp(1, 2, 0, 0, SYN, options=scale),
        tcp(2, 1, 0, 1, SYN | ACK, options=scale, window=1),
        tcp(1, 2, 1, 1, ACK),
        tcp(2, 1, 1, 1, ACK, window=1),
        tcp(1, 2, 1, 1, ACK, bytes(1 << 14), window=1),
    ]
    back = [ethernet(ipv4(each, "10.0.0.2", "10.0.0.1", 6), mac(2), mac(1)) for each in segments]
    ahead = [ethernet(ipv4(each, "10.0.0.1", "10.0.0.2", 6), mac(1), mac(2)) for each in segments]
    frames = [(back if number in (1, 3) else ahead)[number] for number in range(len(segments))]
    path = write_pcap(tmp_path / "a.pcap", [(EPOCH_NS + at, each) for at, each in enumerate(frames)])
    tabulate([path], tmp_path / "tables")
    (*_, last) = Tables(tmp_path).sql("select tcp_analysis from packets")
    assert last == ("window-full",)
