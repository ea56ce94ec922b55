from decimal import Decimal
from types import SimpleNamespace

import polars as pl
import pytest
from captures import ACK, MS, Network, S, network, tcp

from testbed.measure.tables import QueryError, Tables, write

UP = "c1 r1 ix r2 s1"
FAULT = SimpleNamespace(at=5 * S, lasts=2 * S)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    net = Network()
    for second in range(10):
        net.send(second * S, UP, tcp(4000, 443, second, 1, ACK, b"x"))
        net.send(second * S + MS, UP, tcp(5000 + second, 443, second, 1, ACK, b"x"))
    run = net.write(tmp_path_factory.mktemp("query's"))
    write(run)
    return Tables(run)


def test_answers_come_as_rows_columns_a_frame_or_one_value(tables):
    query = "select sport, count(*) as seen from packets where node = ? and sport = ? group by sport"
    assert tables.sql(query, "c1", 4000) == [(4000, 10)]
    assert tables.columns(query, "c1", 4000) == {"sport": [4000], "seen": [10]}
    assert tables.frame(query, "c1", 4000).equals(
        pl.DataFrame({"sport": [4000], "seen": [10]}, schema={"sport": pl.UInt16, "seen": pl.Int64})
    )
    assert tables.scalar(query, "c1", 4000) == 4000
    assert tables.scalar(query, "c1", 1) is None
    sums = "select sum(length) as total, 0.5::decimal(5, 1) as half from packets where node = 'c1'"
    assert tables.columns(sums) == {"total": [20 * 55], "half": [Decimal("0.5")]}
    assert type(tables.columns(sums)["total"][0]) is int
    assert tables.job.scenario == "made"


def test_goodput_is_payload_seen_for_the_first_time_in_bins(tmp_path):
    net = Network()
    for ms, seq, size in ((0, 0, 700), (99, 700, 300), (100, 1000, 50), (150, 700, 300), (320, 1050, 1000)):
        net.send(ms * MS, UP, tcp(4000, 443, seq, 1, ACK, bytes(size)), hop_ns=0)
    write(net.write(tmp_path))
    query = "select t_ns, bytes, rate_bps from goodput(1e8) where node = 'c1'"
    assert Tables(tmp_path).sql(query) == [
        (0, 1000, 80_000.0),
        (100 * MS, 50, 4_000.0),
        (300 * MS, 1000, 80_000.0),
    ]


def test_columns_of_one_name_are_told_apart(tables):
    found = tables.frame("select 1 as a, 2 as b, 3 as a, 4 as a_2, 5 as a")
    assert found.columns == ["a", "b", "a_3", "a_2", "a_4"]
    assert found.row(0) == (1, 2, 3, 4, 5)


def test_windows_of_a_fault(tables):
    query = "select count(*) from packets where node = 'c1'"
    parts = [tables.before(FAULT), tables.during(FAULT), tables.after(FAULT)]
    assert [part.scalar(query) for part in parts] == [10, 4, 6]
    assert [part.scalar("select count(*) from hops where \"from\" = 'r1'") for part in parts] == [10, 4, 6]
    assert [part.scalar("select count(*) from flows where node = 'c1'") for part in parts] == [6, 2, 3]
    assert [part.scalar("select count(*) from captures") for part in parts] == [6, 6, 6]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("select nonsense from packets", "nonsense"),
        ("select * from nowhere", "nowhere"),
        ("selec 1", "syntax error"),
        ("", "0 statements"),
        ("select 1; select 2", "2 statements"),
        ("select ?", "parameter"),
        ("select 1 / 'x'", "x"),
        ("drop view packets", "DROP"),
        ("create table t as select 1", "CREATE"),
        ("attach 'a.db'", "ATTACH"),
        ("set threads = 1", "SET"),
        ("explain analyze select 1", "EXPLAIN"),
        ("install httpfs", "LOAD"),
    ],
)
def test_what_duckdb_or_we_refuse_is_a_query_error(tables, query, reason):
    for ask in (tables.sql, tables.scalar, tables.columns, tables.frame):
        with pytest.raises(QueryError, match=reason):
            ask(query)


def test_no_other_file_can_be_read_and_none_written(tables, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    own = tables.run / "tables" / "packets.parquet"
    before = own.read_bytes()
    queries = [f"select * from '{secret}'", f"select * from read_csv('{secret}')",
               f"select * from read_text('{secret}')",
               f"copy packets to '{tmp_path}/out.parquet'",
               f"copy (select 1) to '{own}' (use_tmp_file false)",
               f"select * from read_parquet('{tables.run}/tables/*.parquet')",
               f"select * from read_text('{tables.run}/job.json')"]  # fmt: skip
    for query in queries:
        with pytest.raises(QueryError):
            tables.sql(query)
    assert own.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


def test_a_query_cannot_see_the_variables_of_the_program(tables):
    frame = pl.DataFrame({"a": [1]})
    assert len(frame) == 1
    with pytest.raises(QueryError, match="frame"):
        tables.sql("select * from frame")


def test_a_table_that_was_not_made_is_empty(tmp_path):
    (tmp_path / "job.json").write_text(network().dumps())
    tables = Tables(tmp_path)
    assert tables.scalar("select count(*) from packets") == 0
    assert tables.frame("select sack, flow_id, t_ns from packets").schema == {
        "sack": pl.List(pl.UInt32), "flow_id": pl.UInt32, "t_ns": pl.Int64,
    }  # fmt: skip


def test_a_flows_start_places_it_in_a_window(tables):
    ports = tables.during(FAULT).sql("select distinct sport from flows order by sport")
    assert ports == [(5005,), (5006,)]
