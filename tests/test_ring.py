import struct

import pytest
from captures import EPOCH_NS, Tagged, ethernet, mac, ring_block, write_pcap, write_ring
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.measure.ring import convert

FRAME = ethernet(bytes(range(50)), mac(1), mac(2))
SEEN = [(EPOCH_NS + 17 * number, FRAME + bytes(number % 7)) for number in range(10)]


def test_a_ring_becomes_the_pcap_of_its_packets(tmp_path):
    ring = write_ring(tmp_path / "a.ring", SEEN)
    converted = convert(ring, tmp_path / "a.pcap")
    assert (converted.packets, converted.unreadable) == (10, 0)
    assert (tmp_path / "a.pcap").read_bytes() == write_pcap(tmp_path / "wanted.pcap", SEEN).read_bytes()


def test_what_the_snap_length_cut_keeps_its_length_on_the_wire(tmp_path):
    convert(write_ring(tmp_path / "a.ring", SEEN, snap=20), tmp_path / "a.pcap")
    wanted = write_pcap(tmp_path / "wanted.pcap", SEEN, snap=20)
    assert (tmp_path / "a.pcap").read_bytes() == wanted.read_bytes()


@pytest.mark.parametrize(("tpid", "written"), [(None, b"\x81\x00"), (0x88A8, b"\x88\xa8")])
def test_a_vlan_tag_kept_beside_the_frame_goes_back_in(tmp_path, tpid, written):
    (tmp_path / "a.ring").write_bytes(ring_block([(EPOCH_NS, Tagged(FRAME, 42, tpid)), (EPOCH_NS, FRAME)]))
    convert(tmp_path / "a.ring", tmp_path / "a.pcap")
    tagged = FRAME[:12] + written + struct.pack(">H", 42) + FRAME[12:]
    wanted = write_pcap(tmp_path / "wanted.pcap", [(EPOCH_NS, tagged), (EPOCH_NS, FRAME)])
    assert (tmp_path / "a.pcap").read_bytes() == wanted.read_bytes()


@pytest.mark.parametrize(("missing", "kept"), [(5, 9), (100, 9), (200, 8)])
def test_a_torn_block_gives_its_whole_packets_and_the_rest_is_counted(tmp_path, missing, kept):
    data = write_ring(tmp_path / "a.ring", SEEN, per_block=5).read_bytes()
    (tmp_path / "a.ring").write_bytes(data[:-missing])
    converted = convert(tmp_path / "a.ring", tmp_path / "a.pcap")
    assert (converted.packets, converted.unreadable) == (kept, 10 - kept)
    assert (tmp_path / "a.pcap").read_bytes() == write_pcap(tmp_path / "w.pcap", SEEN[:kept]).read_bytes()


def test_an_empty_block_and_an_empty_ring_have_no_packets(tmp_path):
    for data in (b"", ring_block([])):
        (tmp_path / "a.ring").write_bytes(data)
        converted = convert(tmp_path / "a.ring", tmp_path / "a.pcap")
        assert (converted.packets, converted.unreadable) == (0, 0)
        assert (tmp_path / "a.pcap").stat().st_size == 24


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(garbage=st.binary(max_size=400), place=st.integers(0, 900), cut=st.booleans())
def test_garbage_never_crashes(tmp_path, garbage, place, cut):
    data = bytearray(write_ring(tmp_path / "a.ring", SEEN).read_bytes())
    data[place : place + len(garbage)] = garbage
    (tmp_path / "a.ring").write_bytes(bytes(data[: place + len(garbage)] if cut else data))
    converted = convert(tmp_path / "a.ring", tmp_path / "a.pcap")
    assert converted.packets >= 0
    assert converted.unreadable >= 0
