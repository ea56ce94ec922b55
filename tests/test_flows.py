import io
import shutil
import subprocess

import polars as pl
import pytest
from captures import ACK, EPOCH_NS, FIN, MS, RST, SYN, Network, address, tcp, udp, write_pcap

from testbed.measure.tables import Tables, write

UP, DOWN = "c1 r1 ix r2 s1", "s1 r2 ix r1 c1"


def transfer(net, port=4000, begin_ns=0, segments=40, lost=(7, 8, 20), base=2**32 - 9000):
    """A download of 1000-byte segments; those `lost` at r2 are sent again after three duplicates."""
    clock, server = begin_ns, base

    def up(t_ns, seq, ack, flags=ACK, data=b"", **how):
        net.send(t_ns, UP, tcp(port, 443, seq, ack, flags, data, **how))

    def down(t_ns, seq, flags=ACK, data=b"", **how):
        net.send(t_ns, DOWN, tcp(443, port, seq, 201, flags, data), **how)

    up(clock, 100, 0, SYN)
    net.send(clock + 5 * MS, DOWN, tcp(443, port, server, 101, SYN | ACK))
    up(clock + 10 * MS, 101, server + 1)
    up(clock + 11 * MS, 101, server + 1, data=b"q" * 100)
    server += 1
    clock += 20 * MS
    received, held = 0, set()
    for number in range(segments):
        down(
            clock, server + 1000 * number, data=bytes([number]) * 1000, lost_at="r2" if number in lost else ""
        )
        if number not in lost:
            held.add(number)
            while received in held:
                received += 1
            up(clock + 6 * MS, 201, server + 1000 * received)
        clock += 2 * MS
        if number >= 3 and number - 3 in lost:
            down(clock, server + 1000 * (number - 3), data=bytes([number - 3]) * 1000)
            held.add(number - 3)
            while received in held:
                received += 1
            up(clock + 6 * MS, 201, server + 1000 * received)
            clock += 2 * MS
    clock += 10 * MS
    down(clock, server + 1000 * segments, FIN | ACK)
    up(clock + 6 * MS, 201, server + 1000 * segments + 1, FIN | ACK)
    return net


def flow(tables, link, columns="*"):
    (row,) = tables.frame(f"select {columns} from flows where link = ? and flow_id = 1", link).to_dicts()
    return row


@pytest.fixture(scope="module")
def lossy(tmp_path_factory):
    run = transfer(Network()).write(tmp_path_factory.mktemp("lossy"))
    write(run)
    return Tables(run)


def test_a_download_at_the_sender(lossy):
    row = flow(lossy, "r2--s1")
    assert (row["client"], row["server"], row["sport"], row["dport"]) == ("c1", "s1", 4000, 443)
    assert (row["client_address"], row["server_address"]) == tuple(
        address(lossy.job, name) for name in ("c1", "s1")
    )
    assert (row["payload_up"], row["unique_up"]) == (100, 100)
    assert (row["payload_down"], row["unique_down"]) == (43_000, 40_000)
    assert (row["retransmitted"], row["out_of_order"]) == (3, 0)
    assert row["bytes_down"] == 45 * 54 + 43_000
    assert row["reset"] is False


def test_the_same_download_past_the_loss(lossy):
    row = flow(lossy, "c1--r1")
    assert (row["payload_down"], row["unique_down"]) == (40_000, 40_000)
    assert (row["retransmitted"], row["out_of_order"]) == (0, 3)
    assert row["dup_acks"] == 6  # 9 and 10 ask for 7, 11 asks for 8, 21 to 23 ask for 20


def test_retransmissions_are_marked_in_packets_at_the_sender_only(lossy):
    marked = "select link, count(*) from packets where retransmission group by link"
    assert lossy.sql(marked) == [("r2--s1", 3)]


def test_the_handshake_and_round_trips(lossy):
    row = flow(lossy, "c1--r1")
    assert row["handshake_ns"] == 10 * MS
    at_server = flow(lossy, "r2--s1")
    # The server's SYN leaves at 5 ms and is answered at 10 ms, data after 6 ms; an answer takes 3 ms.
    assert at_server["rtt_min_ns"] == 8 * MS
    assert at_server["rtt_p50_ns"] == at_server["rtt_p95_ns"] == 9 * MS


def test_bytes_agree_with_packets(lossy):
    wrong = lossy.sql(
        """select f.link, f.packets_up + f.packets_down, count(*) from flows f join packets p
           using (flow_id, node, interface) group by all
           having f.packets_up + f.packets_down <> count(*)
               or sum(length) <> any_value(f.bytes_up + f.bytes_down)"""
    )
    assert wrong == []


def test_a_flow_without_an_answer_has_nulls(tmp_path):
    net = Network()
    net.send(0, UP, tcp(4000, 443, 100, 0, SYN))
    net.send(5 * MS, DOWN, tcp(443, 4000, 0, 101, RST | ACK))
    net.send(9 * MS, UP, udp(5000, 53, b"abc"), proto=17)
    run = net.write(tmp_path)
    write(run)
    rows = Tables(run).sql(
        """select proto, rtt_min_ns, handshake_ns, reset, payload_up, unique_up
           from flows where node = 'c1' order by flow_id"""
    )
    assert rows == [("tcp", None, None, True, 0, 0), ("udp", None, None, False, 3, 3)]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """What tshark says of the packets at the sender's link, two flows of them, and what we say."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark, the judge, is not installed")
    folder = tmp_path_factory.mktemp("judged")
    net = transfer(transfer(Network()), 4001, begin_ns=37 * MS, segments=60, lost=(5, 11, 30, 31, 32))
    write(net.write(folder))
    path = write_pcap(folder / "whole.pcap", sorted(net.seen["r2.eth1"], key=lambda seen: seen[0]))
    fields = ["frame.time_epoch", "tcp.srcport", "tcp.analysis.retransmission", "tcp.analysis.out_of_order",
              "tcp.analysis.fast_retransmission", "tcp.analysis.spurious_retransmission",
              "tcp.analysis.duplicate_ack", "tcp.analysis.ack_rtt", "tcp.analysis.initial_rtt",
              "tcp.stream"]  # fmt: skip
    command = ["tshark", "-r", str(path), "-n", "-T", "fields", "-E", "occurrence=f", "-E", "header=y"]
    for field in fields:
        command += ["-e", field]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    frame = pl.read_csv(io.StringIO(said), separator="\t", infer_schema=False)
    seconds = pl.col("frame.time_epoch").str.split(".")
    frame = frame.with_columns(
        t_ns=seconds.list.get(0).cast(pl.Int64) * 10**9 + seconds.list.get(1).cast(pl.Int64) - EPOCH_NS
    )
    return frame, Tables(folder)


def test_tshark_marks_the_same_retransmissions(judged):
    frame, tables = judged
    kinds = ["retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order"]
    wanted = frame.filter(pl.any_horizontal(pl.col(f"tcp.analysis.{kind}").is_not_null() for kind in kinds))
    ours = tables.sql("select t_ns from packets where link = 'r2--s1' and retransmission order by t_ns")
    assert len(ours) == 8
    assert [t_ns for (t_ns,) in ours] == sorted(wanted["t_ns"])


def test_tshark_counts_the_same_duplicate_acknowledgements(judged):
    frame, tables = judged
    wanted = frame.filter(pl.col("tcp.analysis.duplicate_ack").is_not_null()).group_by("tcp.stream").len()
    ours = tables.sql("select dup_acks from flows where link = 'r2--s1' order by flow_id")
    assert [count for (count,) in ours] == wanted.sort("tcp.stream")["len"].to_list()


def test_tshark_measures_the_same_handshakes_and_round_trips(judged):
    frame, tables = judged
    initial = (
        frame.drop_nulls("tcp.analysis.initial_rtt")
        .group_by("tcp.stream")
        .agg(pl.col("tcp.analysis.initial_rtt").first())
    )
    wanted = [float(value) for value in initial.sort("tcp.stream")["tcp.analysis.initial_rtt"]]
    ours = tables.sql(
        "select handshake_ns, rtt_min_ns, rtt_p50_ns from flows where link = 'r2--s1' order by flow_id"
    )
    assert [row[0] / 1e9 for row in ours] == pytest.approx(wanted, abs=1e-6)
    samples = frame.filter((pl.col("tcp.srcport") != "443") & pl.col("tcp.analysis.ack_rtt").is_not_null())
    by_flow = (
        samples.with_columns(pl.col("tcp.analysis.ack_rtt").cast(pl.Float64))
        .group_by("tcp.stream")
        .agg(least=pl.col("tcp.analysis.ack_rtt").min(), middle=pl.col("tcp.analysis.ack_rtt").median())
        .sort("tcp.stream")
    )
    assert [row[1] / 1e9 for row in ours] == pytest.approx(by_flow["least"].to_list(), abs=1e-6)
    assert [row[2] / 1e9 for row in ours] == pytest.approx(by_flow["middle"].to_list(), abs=1e-6)
