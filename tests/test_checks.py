from __future__ import annotations

import made
import pytest

from testbed.checks.bitrate import Bitrate
from testbed.checks.failover_time import FailoverTime
from testbed.checks.play_delay import PlayDelay
from testbed.checks.qoe import Qoe
from testbed.checks.rebuffer_ratio import RebufferRatio
from testbed.checks.served_by import ServedBy
from testbed.checks.sessions_complete import SessionsComplete
from testbed.checks.sql import Sql
from testbed.measure.tables import Tables
from testbed.units import Duration, Rate, Share

S = made.S


def judged(tmp_path, check, **rows):
    return check.judge(Tables(made.run(tmp_path / "run", **rows)))


def failovers(*seconds):
    return [made.moment(10, "s0001", "failover", 400, 1, took_ns=round(s * S)) for s in seconds]


class TestRebufferRatio:
    rows = (
        made.viewed("s0001", rebuffer_ns=1 * S, played_ns=99 * S),
        made.viewed("s0002", rebuffer_ns=5 * S, played_ns=95 * S, play_delay_ns=60 * S),
    )

    @pytest.mark.parametrize(("most", "outcome"), [("3%", "pass"), ("2.9%", "fail")])
    def test_all_sessions_are_added_up_without_the_wait_for_the_first_frame(self, tmp_path, most, outcome):
        found = judged(tmp_path, RebufferRatio(max=Share.parse(most)), sessions=self.rows)
        assert (found.outcome, found.measured, found.wanted) == (outcome, "3%", f"at most {most}")

    def test_each_session_is_judged_by_the_worst(self, tmp_path):
        found = judged(tmp_path, RebufferRatio(max=Share.parse("3%"), over="each"), sessions=self.rows)
        assert (found.outcome, found.measured) == ("fail", "5%")
        assert "s0002" in found.detail

    def test_nobody_saw_a_frame(self, tmp_path):
        rows = [made.viewed("s0001", rebuffer_ns=0, played_ns=0)]
        assert judged(tmp_path, RebufferRatio(max=Share(0.5)), sessions=rows).outcome == "unknown"


class TestFailoverTime:
    @pytest.mark.parametrize(
        ("bounds", "outcome", "measured"),
        [
            ({"p95": "3s"}, "fail", "p95 4s"),
            ({"p50": "2s"}, "pass", "p50 2s"),
            ({"max": "4s"}, "pass", "max 4s"),
            ({"p50": "2s", "max": "3999ms"}, "fail", "p50 2s, max 4s"),
        ],
    )
    def test_every_bound_must_be_kept(self, tmp_path, bounds, outcome, measured):
        check = FailoverTime(**{name: Duration.parse(bound) for name, bound in bounds.items()})
        found = judged(tmp_path, check, playback=failovers(4, 1, 2))
        assert (found.outcome, found.measured) == (outcome, measured)

    def test_no_failover_is_no_evidence(self, tmp_path):
        rows = [made.moment(1, "s0001", "segment", 400, 4, took_ns=1)]
        assert judged(tmp_path, FailoverTime(p95=Duration(1)), playback=rows).outcome == "unknown"

    def test_a_bound_is_needed(self):
        with pytest.raises(ValueError, match="at least one of p50, p95 and max"):
            FailoverTime()


class TestSessionsComplete:
    rows = (made.viewed("s0001"), made.viewed("s0002", outcome="cut"))

    @pytest.mark.parametrize(("least", "outcome"), [("50%", "pass"), ("51%", "fail")])
    def test_the_share_of_completed_sessions(self, tmp_path, least, outcome):
        found = judged(tmp_path, SessionsComplete(min=Share.parse(least)), sessions=self.rows)
        assert (found.outcome, found.measured) == (outcome, "50%")
        assert "s0002 cut" in found.detail

    def test_no_session_is_no_evidence(self, tmp_path):
        assert judged(tmp_path, SessionsComplete(min=Share(0.0)), sessions=[]).outcome == "unknown"


class TestSql:
    @pytest.mark.parametrize(
        ("query", "bounds", "outcome"),
        [
            ("select count(*) from sessions", {"equals": 2}, "pass"),
            ("select count(*) from sessions", {"equals": 0}, "fail"),
            ("select 1.5", {"min": 1, "max": 2}, "pass"),
            ("select 1.5", {"min": 1.6}, "fail"),
            ("select 1.5", {"max": 1.4}, "fail"),
            ("select 'a'", {"equals": "a"}, "pass"),
            ("select null", {"equals": 0}, "unknown"),
            ("select 1, 2", {"equals": 1}, "unknown"),
            ("select session_id from sessions", {"equals": "s0001"}, "unknown"),
            ("select 1 where false", {"equals": 1}, "unknown"),
        ],
    )
    def test_one_value_is_compared(self, tmp_path, query, bounds, outcome):
        assert judged(tmp_path, Sql(query=query, **bounds)).outcome == outcome

    def test_a_query_over_several_lines_is_told_on_one(self, tmp_path):
        assert judged(tmp_path, Sql(query="select\n  1\n", equals=1)).detail == "select 1"

    @pytest.mark.parametrize("bounds", [{}, {"equals": 1, "min": 1}])
    def test_bounds_that_say_nothing_or_too_much(self, bounds):
        with pytest.raises(ValueError, match="equals"):
            Sql(query="select 1", **bounds)


class TestPlayDelay:
    rows = tuple(made.viewed(f"s000{number}", play_delay_ns=number * S) for number in range(1, 5))

    @pytest.mark.parametrize(
        ("bounds", "outcome", "measured"),
        [
            ({"p50": "2s"}, "pass", "p50 2s"),
            ({"p95": "3s"}, "fail", "p95 4s"),
            ({"p50": "2s", "max": "4s"}, "pass", "p50 2s, max 4s"),
        ],
    )
    def test_every_bound_must_be_kept(self, tmp_path, bounds, outcome, measured):
        check = PlayDelay(**{name: Duration.parse(bound) for name, bound in bounds.items()})
        found = judged(tmp_path, check, sessions=self.rows)
        assert (found.outcome, found.measured) == (outcome, measured)

    def test_start_failures_fail_it(self, tmp_path):
        rows = [*self.rows, made.viewed("s0005", play_delay_ns=None, outcome="error", start_failure=True)]
        found = judged(tmp_path / "none", PlayDelay(max=Duration(9 * S)), sessions=rows)
        assert (found.outcome, found.detail) == ("fail", "4 sessions, 1 start failures")
        lenient = PlayDelay(max=Duration(9 * S), failures=1)
        assert judged(tmp_path / "one", lenient, sessions=rows).outcome == "pass"

    def test_nobody_wanted_to_see_anything(self, tmp_path):
        assert judged(tmp_path, PlayDelay(max=Duration(S)), sessions=[]).outcome == "unknown"


class TestBitrate:
    rows = (
        made.viewed("s0001", bitrate_kbps=1000.0, played_ns=30 * S),
        made.viewed("s0002", bitrate_kbps=500.0, played_ns=10 * S),
    )

    @pytest.mark.parametrize(
        ("least", "over", "outcome", "measured"),
        [
            ("875kbit", "all", "pass", "875kbit"),
            ("876kbit", "all", "fail", "875kbit"),
            ("501kbit", "each", "fail", "500kbit"),
        ],
    )
    def test_it_is_weighted_by_time_played(self, tmp_path, least, over, outcome, measured):
        found = judged(tmp_path, Bitrate(min=Rate.parse(least), over=over), sessions=self.rows)
        assert (found.outcome, found.measured) == (outcome, measured)
        assert "s0002" in found.detail

    def test_nobody_played(self, tmp_path):
        assert judged(tmp_path, Bitrate(min=Rate(1000)), sessions=[]).outcome == "unknown"


class TestQoe:
    def test_it_is_the_mean_of_the_sessions(self, tmp_path):
        rows = [made.viewed("s0001", qoe_lin=1.5), made.viewed("s0002", qoe_lin=-0.5)]
        found = judged(tmp_path / "enough", Qoe(min=0.5), sessions=rows)
        assert (found.outcome, found.measured) == ("pass", "0.50")
        assert judged(tmp_path / "more", Qoe(min=0.51), sessions=rows).outcome == "fail"
        assert judged(tmp_path / "none", Qoe(min=0), sessions=[]).outcome == "unknown"


class TestServedBy:
    rows = (
        *({"t_ns": 5 * S, "client": "north.homes.1", "oca": oca, "bytes": size}
          for oca, size in (("oca-n1", 300), ("oca-x1", 100), ("steering", 1000), ("oca-n2", 0))),
        {"t_ns": 5 * S, "client": "north.homeless.1", "oca": "oca-x1", "bytes": 1000},
        {"t_ns": 20 * S, "client": "north.homes.2", "oca": "oca-x1", "bytes": 400},
    )  # fmt: skip

    @pytest.mark.parametrize(
        ("bounds", "outcome", "measured"),
        [
            ({"to": "10s", "min": "75%"}, "pass", "75%"),
            ({"to": "10s", "min": "76%"}, "fail", "75%"),
            ({"to": "10s", "max": "74%"}, "fail", "75%"),
            ({"from_": "10s", "max": "0%"}, "pass", "0%"),
            ({"min": "37.5%", "max": "37.5%"}, "pass", "37.5%"),
        ],
    )
    def test_bytes_of_the_clients_in_that_time_count(self, tmp_path, bounds, outcome, measured):
        read = {
            name: (Duration if name in ("from_", "to") else Share).parse(bound)
            for name, bound in bounds.items()
        }
        found = judged(
            tmp_path, ServedBy(clients="north.homes", ocas=("oca-n1",), **read), requests=self.rows
        )
        assert (found.outcome, found.measured) == (outcome, measured)

    def test_several_ocas_are_added_up_and_all_are_named(self, tmp_path):
        check = ServedBy(clients="north.homes", ocas=("oca-n1", "oca-x1"), min=Share(1))
        found = judged(tmp_path, check, requests=self.rows)
        assert (found.outcome, found.measured) == ("pass", "100%")
        assert found.detail == "north.homes, from 0s: oca-x1 62.5%, oca-n1 37.5%"

    def test_who_got_nothing_shows_nothing(self, tmp_path):
        check = ServedBy(clients="north.homes", ocas=("oca-n1",), max=Share(1), from_=Duration.parse("25s"))
        assert judged(tmp_path, check, requests=self.rows).outcome == "unknown"
