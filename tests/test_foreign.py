import json

import pytest
from captures import (
    ACK,
    EPOCH_NS,
    SYN,
    enhanced,
    ethernet,
    ipv4,
    mac,
    section,
    tcp,
    udp,
    write_pcap,
)
from typer.testing import CliRunner

from testbed.cli import app

A, B = "198.51.100.1", "203.0.113.7"


def frame(payload, proto=6, *, ahead=True, **how):
    src, dst = (A, B) if ahead else (B, A)
    return ethernet(ipv4(payload, src, dst, proto, **how), mac(1), mac(2))


SYNS = [frame(tcp(4000, 443, 7, 0, SYN)), frame(tcp(443, 4000, 9, 8, SYN | ACK), ahead=False)]


def asked(folder, query):
    done = CliRunner().invoke(app, ["query", str(folder), query, "-f", "json"])
    assert done.exit_code == 0, done.output
    return [tuple(row.values()) for row in json.loads(done.stdout)["rows"]]


def test_captures_of_others_become_tables_that_can_be_asked(tmp_path):
    data = section([("wan", 9), ("lan", 6)])
    data += enhanced(EPOCH_NS, SYNS[0], interface=0, way=2) + enhanced(
        EPOCH_NS + 3000, SYNS[1], interface=0, way=1
    )
    data += enhanced(EPOCH_NS // 1000 + 1, SYNS[0], interface=1)
    (tmp_path / "lab.pcapng").write_bytes(data)
    write_pcap(tmp_path / "other.pcap", [(EPOCH_NS + 9000, frame(udp(5000, 53, b"x"), 17))], order=">")
    (tmp_path / "broken.pcap").write_bytes(b"no capture")
    files = [str(tmp_path / name) for name in ("lab.pcapng", "other.pcap", "broken.pcap")]
    done = CliRunner().invoke(app, ["packets", *files, "-o", str(tmp_path / "out"), "-q", "-f", "json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["rows"] == {"packets": 4, "flows": 3, "bgp": 0, "dns": 0, "captures": 3}
    assert list(told["problems"]) == [files[2]]
    assert asked(
        tmp_path / "out", "select node, interface, direction, t_ns, src, tcp_analysis from packets"
    ) == [
        ("lab", "wan", "out", EPOCH_NS, A, None),
        ("lab", "lan", None, EPOCH_NS + 1000, A, None),
        ("lab", "wan", "in", EPOCH_NS + 3000, B, None),
        ("other", "", None, EPOCH_NS + 9000, A, None),
    ]
    flows = (
        "select flow_id, node, interface, client, server, packets_up, packets_down from flows order by all"
    )
    assert asked(tmp_path / "out", flows) == [
        (1, "lab", "lan", A, B, 1, 0),
        (1, "lab", "wan", A, B, 1, 1),
        (2, "other", "", A, B, 1, 0),
    ]


def test_files_of_one_name_stay_apart_and_a_file_without_packets_is_bad_input(tmp_path):
    for name in ("a", "b"):
        write_pcap(tmp_path / name / "x.pcap", [(EPOCH_NS, SYNS[0])])
    (tmp_path / "empty.pcap").touch()
    invoke = CliRunner().invoke
    files = [str(tmp_path / name / "x.pcap") for name in "ab"]
    assert invoke(app, ["packets", *files, "-o", str(tmp_path / "out"), "-q"]).exit_code == 0
    nodes = [node for (node,) in asked(tmp_path / "out", "select node from packets")]
    assert nodes == [str(tmp_path / name / "x") for name in "ab"]
    done = invoke(app, ["packets", str(tmp_path / "empty.pcap"), "-o", str(tmp_path / "none"), "-q"])
    assert done.exit_code == 2
    assert "empty.pcap is empty" in done.stderr


@pytest.mark.parametrize(
    ("link", "head"), [(101, b""), (113, bytes([0, 4]) + bytes(12) + b"\x08\0"), (12, b"")]
)
def test_links_other_than_ethernet(tmp_path, link, head):
    path = write_pcap(tmp_path / "a.pcap", [(EPOCH_NS, head + SYNS[0][14:])])
    data = bytearray(path.read_bytes())
    data[20] = link
    path.write_bytes(data)
    CliRunner().invoke(app, ["packets", str(path), "-o", str(tmp_path / "out"), "-q"])
    assert asked(tmp_path / "out", "select src, dport, direction, length from packets") == [
        (A, 443, "out" if link == 113 else None, len(head) + 40)
    ]
