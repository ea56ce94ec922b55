import dataclasses
import json

import pyarrow.parquet as pq
import pytest
from captures import ACK, EPOCH_NS, MS, SYN, Network, S, network, tcp, udp, write_pcap

from testbed.measure.schema import TABLES
from testbed.measure.tables import Tables, capture_drops, write

UP, DOWN = "c1 r1 ix r2 s1", "s1 r2 ix r1 c1"
RECORDS = [
    {"table": "requests", "unix_ns": EPOCH_NS + S, "session_id": "s0001", "client": "c1",
     "oca": "s1", "status": 206},
    {"table": "events", "unix_ns": EPOCH_NS + 2 * S, "fault": 0, "kind": "run", "target": "",
     "phase": "ended"},
    {"table": "events", "unix_ns": EPOCH_NS - S, "fault": 0, "kind": "run", "target": "", "phase": "began"},
    {"table": "playback", "unix_ns": EPOCH_NS + S, "session_id": "s0001", "event": "segment",
     "bitrate_kbps": 500, "buffer_ns": 4, "detail": {"oca": "s1", "index": 0}},
    {"table": "links", "unix_ns": EPOCH_NS, "link": "c1--r1", "node": "c1", "interface": "eth0", "bytes": 5,
     "packets": 1, "drops": 0, "queue_bytes": 0},
]  # fmt: skip


def traffic(job=None):
    net = Network(job)
    net.send(-MS, UP, tcp(4000, 443, 100, 0, SYN))
    net.send(5 * MS, DOWN, tcp(443, 4000, 500, 101, SYN | ACK))
    for number in range(30):
        net.send((10 + number) * MS, DOWN, tcp(443, 4000, 501 + 1000 * number, 101, ACK, b"x" * 1000))
    net.send(40 * MS, UP, udp(5000, 6000, b"x"), proto=17)
    return net


def test_every_table_is_written_with_its_schema_and_its_count(tmp_path):
    rows = write(traffic().write(tmp_path, records=RECORDS))
    assert list(rows) == list(TABLES)
    for name, table in TABLES.items():
        file = pq.read_table(tmp_path / "tables" / f"{name}.parquet")
        assert file.schema.names == list(table.columns)
        assert file.num_rows == rows[name]
    assert (rows["packets"], rows["events"], rows["requests"], rows["sessions"]) == (4 * 33, 2, 1, 2)
    assert not list((tmp_path / "tables").glob("*.part"))


def test_a_run_without_anything_still_has_every_table(tmp_path):
    (tmp_path / "job.json").write_text(dataclasses.replace(network(), sessions=()).dumps())
    rows = write(tmp_path)
    assert rows == dict.fromkeys(TABLES, 0) | {"captures": 6}
    tables = Tables(tmp_path)
    for name, table in TABLES.items():
        assert list(tables.columns(f"select * from {name}")) == list(table.columns)


def test_full_and_empty_tables_have_the_same_types(tmp_path):
    write(traffic().write(tmp_path / "full", records=RECORDS))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "job.json").write_text(network().dumps())
    write(tmp_path / "empty")
    full, empty = Tables(tmp_path / "full"), Tables(tmp_path / "empty")
    for name in TABLES:
        assert full.sql(f"describe {name}") == empty.sql(f"describe {name}")


def test_equal_runs_give_equal_bytes_from_rings_and_from_pcaps(tmp_path):
    for name, rings in (("a", True), ("b", True), ("c", False)):
        write(traffic().write(tmp_path / name, rings=rings, records=RECORDS))
    write(tmp_path / "b")  # again, now from the pcap files
    for path in sorted((tmp_path / "a").rglob("*.*")):
        for other in ("b", "c"):
            assert (tmp_path / other / path.relative_to(tmp_path / "a")).read_bytes() == path.read_bytes(), (
                path
            )
    assert not list(tmp_path.rglob("*.ring"))
    assert len(list((tmp_path / "a" / "captures").glob("*.pcap"))) == 6


def test_rows_are_in_order_and_text_is_json_where_the_guest_wrote_objects(tmp_path):
    write(traffic().write(tmp_path, records=RECORDS))
    tables = Tables(tmp_path)
    assert tables.sql("select t_ns, phase from events") == [(-S, "began"), (2 * S, "ended")]
    assert json.loads(tables.scalar("select detail from playback")) == {"oca": "s1", "index": 0}
    assert tables.scalar("select ocas from sessions where session_id = 's0001'") == ["s1"]
    places = tables.sql("select node, interface, t_ns from packets")
    assert places == sorted(places)
    assert places[0][2] == -MS


def test_a_packets_row(tmp_path):
    write(traffic().write(tmp_path))
    row = (
        Tables(tmp_path)
        .frame("select * from packets where link = 'c1--r1' order by t_ns limit 1")
        .row(0, named=True)
    )
    assert row == {
        "t_ns": -MS, "node": "c1", "interface": "eth0", "link": "c1--r1", "direction": "out",
        "src": "10.0.0.0", "dst": "10.0.4.1", "proto": "tcp", "sport": 4000, "dport": 443,
        "length": 54, "ttl": 64, "ip_id": 1, "ecn": 0, "tcp_flags": SYN, "tcp_seq": 100, "tcp_ack": 0,
        "tcp_len": 0, "tcp_window": 500, "ts_val": None, "ts_ecr": None, "sack": None, "flow_id": 1,
        "retransmission": False, "vlan": None, "fragment": None, "tcp_mss": None, "tcp_scale": None,
        "icmp_type": None, "icmp_code": None, "quoted_src": None, "quoted_dst": None, "quoted_proto": None,
        "quoted_sport": None, "quoted_dport": None, "starts_with": None, "tcp_analysis": None, "rtt_ns": None,
        "in_flight": None,
    }  # fmt: skip


def test_fields_a_packet_does_not_have_are_null(tmp_path):
    write(traffic().write(tmp_path))
    found = Tables(tmp_path).sql(
        "select distinct tcp_flags, tcp_len, retransmission from packets where proto = 'udp'"
    )
    assert found == [(None, None, None)]


def test_what_is_missing_from_a_capture_is_counted(tmp_path):
    net = traffic()
    reported = {name: {"packets": len(seen) + 3, "drops": 1} for name, seen in net.seen.items()}
    run = net.write(tmp_path, capture=reported)
    path = run / "captures" / "c1.eth0.pcap"
    path.write_bytes(path.read_bytes()[:-10])
    (run / "captures" / "c2.eth0.pcap").write_bytes(b"no pcap")
    write(run)
    query = "select packets, drops, unreadable, unread_bytes from captures where node = ?"
    assert Tables(run).sql(query, "c1") == [(32, 1, 3, 16 + 128 - 10)]
    assert Tables(run).sql(query, "c2") == [(0, 1, 2, 7)]
    assert capture_drops(run) == dict.fromkeys(sorted(net.seen), 1)


def test_a_torn_ring_is_counted(tmp_path):
    run = traffic().write(tmp_path, rings=True, capture={})
    path = run / "captures" / "c1.eth0.ring"
    path.write_bytes(path.read_bytes()[:-20])
    write(run)
    assert Tables(run).sql("select packets, drops, unreadable from captures where node = 'c1'") == [
        (32, None, 1)
    ]


@pytest.mark.parametrize("text", [None, "", "{", "[]"])
def test_a_guest_that_was_killed_leaves_tables_nevertheless(tmp_path, text):
    run = traffic().write(tmp_path)
    (run / "guest.json").unlink()
    if text is not None:
        (run / "guest.json").write_text(text)
    assert write(run)["packets"] == 4 * 33
    assert Tables(run).scalar("select min(t_ns) from packets") == -MS  # the job knows when the clock started
    assert capture_drops(run) == {}


def test_progress_reaches_its_end(tmp_path):
    steps = []
    write(traffic().write(tmp_path), lambda stage, done, of: steps.append((stage, done, of)))
    assert [done for _, done, _ in steps] == list(range(1, len(steps) + 1))
    assert steps[-1] == ("tables", len(steps), len(steps))


def test_several_chunks_make_the_same_tables_as_one(tmp_path, monkeypatch):
    write(traffic().write(tmp_path / "one"))
    monkeypatch.setattr("testbed.measure.pcap.MOST", 3)
    monkeypatch.setattr("testbed.measure.hops.ROWS", 7)
    write(traffic().write(tmp_path / "many"))
    for name in ("packets", "flows", "hops"):
        one, many = ((tmp_path / run / "tables" / f"{name}.parquet").read_bytes() for run in ("one", "many"))
        assert one == many


def test_every_column_is_described():
    for table in TABLES.values():
        assert table.row
        assert all(column.about and not column.about.endswith(".") for column in table.columns.values())


def test_microsecond_captures_of_others_are_read(tmp_path):
    net = traffic()
    run = net.write(tmp_path)
    write_pcap(run / "captures" / "c1.eth0.pcap", sorted(net.seen["c1.eth0"]), order=">", microseconds=True)
    write(run)
    assert Tables(run).scalar("select count(*) from packets where node = 'c1'") == 33
