import struct

import numpy as np
import pytest
from captures import EPOCH_NS, block, enhanced, ethernet, mac, section, write_pcap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.measure.pcap import Pcap

SEEN = [(EPOCH_NS + 1_000 * number, ethernet(bytes(number * 13), mac(1), mac(2))) for number in range(40)]


def read(path, **how):
    """The packets of a file as (time, bytes kept, length), and what could not be read."""
    pcap = Pcap(path, **how)
    found = []
    for each in pcap:
        for offset, kept, wire, t_ns in zip(
            each.offsets, each.captured, each.wire, each.unix_ns, strict=True
        ):
            found.append((int(t_ns), each.buffer[offset : offset + kept].tobytes(), int(wire)))
    return found, pcap.unread


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("microseconds", [False, True])
def test_both_resolutions_and_byte_orders_are_read(tmp_path, order, microseconds):
    path = write_pcap(tmp_path / "a.pcap", SEEN, order=order, microseconds=microseconds)
    assert read(path) == ([(t_ns, frame, len(frame)) for t_ns, frame in SEEN], 0)


def test_the_length_on_the_wire_outlives_the_snap_length(tmp_path):
    found, _ = read(write_pcap(tmp_path / "a.pcap", SEEN, snap=60))
    assert found == [(t_ns, frame[:60], len(frame)) for t_ns, frame in SEEN]


def test_chunks_end_between_packets(tmp_path, monkeypatch):
    path = write_pcap(tmp_path / "a.pcap", SEEN)
    whole = read(path)
    monkeypatch.setattr("testbed.measure.pcap.LARGEST", 600)
    monkeypatch.setattr("testbed.measure.pcap.BLOCK", 0)
    assert sum(1 for _ in Pcap(path, chunk=1)) > 5
    assert read(path, chunk=1) == whole
    monkeypatch.setattr("testbed.measure.pcap.MOST", 3)
    assert read(path) == read(path, chunk=1) == whole


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 100])
def test_a_file_cut_short_gives_its_whole_packets(tmp_path, cut):
    path = write_pcap(tmp_path / "a.pcap", SEEN)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    found, unread = read(path)
    assert found == [(t_ns, frame, len(frame)) for t_ns, frame in SEEN[:-1]]
    assert unread == 16 + len(SEEN[-1][1]) - cut


def test_a_record_longer_than_any_ends_the_reading(tmp_path):
    path = write_pcap(tmp_path / "a.pcap", SEEN[:2])
    whole = path.read_bytes()
    broken = struct.pack("<IIII", 0, 0, 1 << 30, 1 << 30) + bytes(5)
    path.write_bytes(whole + broken)
    found, unread = read(path)
    assert len(found) == 2
    assert unread == len(broken)


@pytest.mark.parametrize("data", [b"", b"\x4d\x3c\xb2", bytes(24), bytes(100)])
def test_what_is_no_pcap_is_unread(tmp_path, data):
    (tmp_path / "a.pcap").write_bytes(data)
    assert read(tmp_path / "a.pcap") == ([], len(data))


def test_a_link_that_is_not_known_is_unread(tmp_path):
    data = bytearray(write_pcap(tmp_path / "a.pcap", SEEN).read_bytes())
    data[20] = 127  # radiotap
    (tmp_path / "a.pcap").write_bytes(data)
    assert read(tmp_path / "a.pcap") == ([], len(data))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(garbage=st.binary(max_size=300), place=st.integers(0, 600))
def test_garbage_never_crashes_and_every_byte_is_accounted_for(tmp_path, garbage, place):
    data = bytearray(write_pcap(tmp_path / "a.pcap", SEEN).read_bytes())
    data[place : place + len(garbage)] = garbage
    (tmp_path / "a.pcap").write_bytes(data)
    found, unread = read(tmp_path / "a.pcap")
    assert sum(16 + len(frame) for _, frame, _ in found) + unread in (len(data), len(data) - 24)
    assert all(np.int64(t_ns) >= 0 for t_ns, _, _ in found)


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_of_either_byte_order_and_of_any_resolution(tmp_path, order):
    frame = SEEN[3][1]
    interfaces = [("a", 9), ("b", 6), ("c", 0x80 | 10), ("d", 12)]
    data = section(interfaces, order) + block(0x0A, bytes(40), order)  # secrets, which nobody asked for
    for number, stamp in enumerate(
        (EPOCH_NS, EPOCH_NS // 1000, (EPOCH_NS // 10**9) << 10, EPOCH_NS % 10**9 * 1000)
    ):
        data += enhanced(stamp, frame, interface=number, order=order, way=number % 3, wire=999)
    data += block(3, (500).to_bytes(4, "little" if order == "<" else "big") + frame, order)
    other = "<>"[order == "<"]
    data += section([("e", 9)], other) + enhanced(EPOCH_NS, frame, order=other)
    (tmp_path / "a.pcapng").write_bytes(data)
    pcap = Pcap(tmp_path / "a.pcapng")
    (records,) = list(pcap)
    times = [EPOCH_NS, EPOCH_NS, EPOCH_NS, 0, 0, EPOCH_NS]
    assert records.unix_ns.tolist() == times
    assert records.wire.tolist() == [999] * 4 + [500, len(frame)]
    assert records.table["interface"].tolist() == [0, 1, 2, 3, 0, 4]
    assert records.table["direction"].tolist() == [0, 1, 2, 0, 0, 0]
    kept = -(-len(frame) // 4) * 4  # a simple packet does not say where its padding begins
    assert records.captured.tolist() == [len(frame)] * 4 + [kept, len(frame)]
    assert (pcap.unread, pcap.problem, pcap.interfaces) == (0, "", ("a", "b", "c", "d", "e"))


def test_a_block_larger_than_a_chunk_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr("testbed.measure.pcap.BLOCK", 0)
    monkeypatch.setattr("testbed.measure.pcap.LARGEST", 1000)
    data = section() + block(0x0A, bytes(50_000)) + enhanced(EPOCH_NS, SEEN[1][1])
    (tmp_path / "a.pcapng").write_bytes(data)
    assert read(tmp_path / "a.pcapng", chunk=1) == ([(EPOCH_NS, SEEN[1][1], len(SEEN[1][1]))], 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(garbage=st.binary(max_size=60), place=st.integers(0, 600), cut=st.integers(0, 700))
def test_garbage_in_a_pcapng_never_crashes_and_what_is_wrong_is_said(tmp_path, garbage, place, cut):
    whole = section([("a", 9), ("b", 6)])
    for number, (t_ns, frame) in enumerate(SEEN[:5]):
        whole += enhanced(t_ns, frame, interface=number % 2)
    data = bytearray(whole)
    data[place : place + len(garbage)] = garbage
    (tmp_path / "a.pcapng").write_bytes(data[:cut])
    pcap = Pcap(tmp_path / "a.pcapng")
    found = sum(len(each) for each in pcap)
    assert 0 <= pcap.unread <= len(data[:cut])
    assert bool(pcap.problem) == (pcap.unread > 0 or not cut)
    assert found <= 5 or bytes(garbage).strip(b"\0")
