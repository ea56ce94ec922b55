"""What a run is exported to is read by other programs: tshark, polars, and a validator of trace events."""

import dataclasses
import json
import shutil
import struct
import subprocess

import made
import polars as pl
import pyarrow as pa
import pytest
from captures import ACK, EPOCH_NS, MS, SYN, Network, S, tcp
from typer.testing import CliRunner

from testbed.cli import app
from testbed.exports import Nothing, pcapng
from testbed.exports.arrow import Arrow
from testbed.exports.parquet import Parquet
from testbed.exports.pcapng import Pcapng
from testbed.exports.perfetto import Perfetto
from testbed.measure.pcap import Pcap
from testbed.measure.schema import TABLES
from testbed.measure.tables import write

COLUMNS = ("offsets", "captured", "wire", "unix_ns")
UP, DOWN = "c1 r1 ix r2 s1", "s1 r2 ix r1 c1"


def quiet(stage, done, of):
    assert done >= 0
    assert done <= of


def event(t_ns, phase):
    return {
        "table": "events", "unix_ns": EPOCH_NS + t_ns, "fault": 1, "kind": "link-down", "target": "r1--ix",
        "phase": phase, "detail": "",
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    net = Network()
    net.send(0, UP, tcp(4000, 443, 9, 0, SYN))
    for number in range(1, 200):
        net.send(number * 50 * MS, UP, tcp(4000, 443, 10 + number, 1, ACK, b"u" * (number % 5)))
        net.send(
            number * 50 * MS, DOWN, tcp(443, 4000, number * 1000, 1, ACK, bytes(number % 7) + b"d" * 900)
        )
    rows = [event(0, "planned"), event(2 * S, "began"), event(3 * S, "ended"), event(15 * S, "healed")]
    run = net.write(tmp_path_factory.mktemp("exported"), records=rows)
    (run / "secrets.keylog").write_text("CLIENT_RANDOM 00 11\n")
    write(run)
    return run


def tshark(path, *fields, only=""):
    if shutil.which("tshark") is None:
        pytest.skip("tshark, the judge, is not installed")
    command = ["tshark", "-r", path, "-n", "-T", "fields", "-Y", only]
    command += [word for field in fields for word in ("-e", field)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in said.stdout.splitlines()]


def in_order(run):
    """Time, point, length and direction of every packet, in order, from the captures and the table."""
    columns = ("t_ns", "node", "interface", "length", "direction")
    table = pl.read_parquet(run / "tables" / "packets.parquet").sort(columns[:3], maintain_order=True)
    rows = table.select(columns).rows()
    return [(EPOCH_NS + t_ns, f"{node}.{name}", length, way) for t_ns, node, name, length, way in rows]


class Sevens(Pcap):
    """A capture that comes in many small chunks."""

    def __iter__(self):
        for records in super().__iter__():
            for at in range(0, len(records), 7):
                yield dataclasses.replace(records, table=records.table[at : at + 7])


@pytest.mark.parametrize("reader", [Pcap, Sevens])
def test_all_captures_become_one_in_the_order_of_time(run, tmp_path, monkeypatch, reader):
    monkeypatch.setattr(pcapng, "Pcap", reader)
    path, wanted = tmp_path / "x.pcapng", in_order(run)
    assert Pcapng().write(run, path, quiet) == len(wanted) == 4 * (1 + 2 * 199)
    rows = tshark(
        path, "frame.time_epoch", "frame.interface_name", "frame.len", "frame.packet_flags_direction"
    )
    assert wanted == [
        (int(time.replace(".", "")), name, int(length), {1: "in", 2: "out"}[int(flags, 0)])
        for time, name, length, flags in rows
    ]


def test_faults_are_comments_and_what_comes_after_all_packets_is_not_lost(run, tmp_path):
    path = tmp_path / "x.pcapng"
    Pcapng().write(run, path, quiet)
    rows = tshark(path, "frame.time_epoch", "frame.comment", only="frame.comment")
    assert [text for _, text in rows] == [
        "fault 1 link-down r1--ix: began at 2.000000000 s",
        "fault 1 link-down r1--ix: ended at 3.000000000 s",
    ]
    assert [int(time.replace(".", "")) - EPOCH_NS for time, _ in rows] == [2 * S, 3 * S]
    assert b"fault 1 link-down r1--ix: healed at 15.000000000 s" in path.read_bytes()


def test_secrets_come_before_packets(run, tmp_path):
    path = tmp_path / "x.pcapng"
    Pcapng().write(run, path, quiet)
    data, kinds, at = path.read_bytes(), [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert size % 4 == 0
        assert struct.unpack_from("<I", data, at + size - 4) == (size,)
        kinds.append(kind)
        at += size
    assert kinds[:8] == [pcapng.SECTION, *[pcapng.INTERFACE] * 6, pcapng.DECRYPTION]
    assert set(kinds[8:]) == {pcapng.PACKET, 5}
    assert b"CLIENT_RANDOM 00 11\n" in data


@pytest.mark.parametrize(("at", "names"), [
    (["c1"], {"c1.eth0"}), (["ix--r1"], {"r1.eth2"}), (["c1.eth0", "r1--ix"], {"c1.eth0", "r1.eth2"}),
])  # fmt: skip
def test_a_point_a_node_or_a_link_can_be_named(run, tmp_path, at, names):
    path = tmp_path / "x.pcapng"
    Pcapng(at).write(run, path, quiet)
    assert {name for (name,) in tshark(path, "frame.interface_name")} == names


def test_a_place_where_nothing_was_captured_is_refused(run, tmp_path):
    with pytest.raises(Nothing, match=r"nothing was captured at s1; there are c1\.eth0, "):
        Pcapng(["s1"]).write(run, tmp_path / "x.pcapng", quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "ending", "read"), [
    (Arrow, ".arrow", pl.read_ipc), (Parquet, ".parquet", pl.read_parquet),
])  # fmt: skip
def test_tables_keep_their_rows_and_types(run, tmp_path, kind, ending, read):
    rows = kind().write(run, tmp_path / "out", quiet)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{name}{ending}" for name in TABLES}
    total = 0
    for name, table in TABLES.items():
        frame = read(tmp_path / "out" / f"{name}{ending}")
        total += len(frame)
        assert frame.columns == table.arrow.names
        source = run / "tables" / f"{name}.parquet"
        assert frame.equals(pl.read_parquet(source).cast(dict(frame.schema)))
    assert total == rows
    if kind is Arrow:
        assert pa.ipc.open_file(tmp_path / "out" / "packets.arrow").schema == TABLES["packets"].arrow


def test_a_table_that_an_older_version_did_not_make_is_empty(run, tmp_path):
    (old := tmp_path / "old" / "tables").mkdir(parents=True)
    frame = pl.read_parquet(run / "tables" / "packets.parquet").drop("sack")
    frame.write_parquet(old / "packets.parquet")
    Arrow().write(old.parent, tmp_path / "out", quiet)
    assert pl.read_ipc(tmp_path / "out" / "packets.arrow")["sack"].null_count() == len(frame)
    assert len(pl.read_ipc(tmp_path / "out" / "flows.arrow")) == 0


def trace_events(path):
    """The events of a trace, held against the Trace Event Format."""
    trace = json.loads(path.read_text())
    events, opened = trace["traceEvents"], {}
    names = {(each["pid"], each["tid"]) for each in events if each["name"] == "thread_name"}
    for each in events:
        assert {"ph", "pid", "tid", "name"} <= set(each)
        assert isinstance(each["pid"], int)
        assert isinstance(each["tid"], int)
        if each["ph"] == "M":
            continue
        assert each["ts"] >= 0
        assert (each["pid"], each["tid"]) in names
        match each["ph"]:
            case "X":
                assert each["dur"] >= 0
            case "i":
                assert each["s"] == "t"
            case "C":
                assert all(isinstance(value, int | float) for value in each["args"].values())
            case "b":
                opened[each["cat"], each["id"]] = each["ts"]
            case "e":
                assert opened.pop((each["cat"], each["id"])) <= each["ts"]
            case other:
                raise AssertionError(other)
    assert opened == {}
    return trace


def test_a_trace_has_faults_flows_players_and_bgp(run, tmp_path):
    viewed = made.run(tmp_path / "made")
    path = tmp_path / "x.json"
    count = Perfetto().write(viewed, path, quiet)
    trace = trace_events(path)
    assert len(trace["traceEvents"]) == count
    slices = [each for each in trace["traceEvents"] if each["ph"] == "X"]
    [fault] = [each for each in slices if each["cat"] == "fault"]
    start_us = trace["otherData"]["scenario_starts_us"]
    assert start_us == 1e6  # the fault was planned a second before
    assert (fault["ts"] - start_us, fault["dur"]) == (10e6, 10e6)
    assert [each["name"] for each in slices if each["cat"] == "player"].count("playing") == 2
    assert {"waiting", "playing"} == {each["name"] for each in slices if each["cat"] == "player"}
    assert "failover" in {each["name"] for each in trace["traceEvents"]}
    Perfetto().write(run, path, quiet)
    flows = [each for each in trace_events(path)["traceEvents"] if each.get("cat") == "flow"]
    assert [each["ph"] for each in flows] == ["b", "e"]
    assert flows[0]["name"] == "tcp c1:4000 → s1:443"


def test_the_command_says_what_it_wrote_and_refuses_what_it_cannot(run, tmp_path):
    def said(*words):
        return CliRunner().invoke(app, ["export", str(run), *words])

    done = said("--to", "perfetto", "-o", str(tmp_path / "t.json"), "-f", "json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["path"] == str(tmp_path / "t.json")
    assert told["bytes"] == (tmp_path / "t.json").stat().st_size
    assert (refused := said("--to", "pcap")).exit_code == 2
    assert "there is no format pcap; there are arrow, parquet, pcapng, perfetto" in refused.stderr
    assert (refused := said("--to", "arrow", "--at", "c1")).exit_code == 2
    assert "leave --at out" in refused.stderr
    assert (refused := said("--to", "pcapng", "--at", "c9")).exit_code == 2
    assert "nothing was captured at c9; there are c1.eth0" in refused.stderr
