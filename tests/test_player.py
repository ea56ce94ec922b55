from __future__ import annotations

import dataclasses
import json
import socket
import time

import pytest
from servers import Oca, https, identity, resolver

from testbed.job import Session, Title
from testbed.services.player import run
from testbed.services.viewer import BACK_OFF_NS

MILLISECOND = 10**6
SECOND = 10**9
NAMES = ("steering.test", "oca-n1.test", "oca-ix1.test", "origin.test")
TITLE = Title(
    name="film",
    segment_ns=100 * MILLISECOND,
    bitrates_kbps=(200, 400),
    segment_bytes=tuple((2500 + index, 5000 + index) for index in range(8)),
)
CONTENT = {
    f"/film/{kbps}.mp4": bytes(sum(sizes))
    for kbps, sizes in zip(TITLE.bitrates_kbps, zip(*TITLE.segment_bytes, strict=True), strict=True)
}
SESSION = Session(
    id="s0001",
    client="north.homes.1",
    title="film",
    abr="bba",
    start_ns=0,
    buffer_ns=400 * MILLISECOND,
    startup_ns=200 * MILLISECOND,
    timeout_ns=300 * MILLISECOND,
    resolver="127.0.0.1",
    ca="",
)


class Stage:
    """Two OCAs, a steering service that ranks them, a resolver, and a viewer's events."""

    def __init__(self, folder, who, port, *, first, second, steering):
        self.folder = folder
        self.first, self.second, self.steering = first, second, steering
        self.who = who
        self.port = port
        self.urls = [
            {"oca": "oca-n1", "url": f"https://oca-n1.test:{first.port}/film/"},
            {"oca": "oca-ix1", "url": f"https://oca-ix1.test:{second.port}/film/"},
        ]
        steering.steer[:] = [{"urls": self.urls, "ttl_s": 30}]

    def play(self, *, duration_ns=10 * SECOND, title=TITLE, sessions=1, **change):
        session = dataclasses.asdict(SESSION) | {
            "netns": None,
            "resolver_port": self.port,
            "ca": self.who.certificate,
            "steering_host": f"steering.test:{self.steering.port}",
        }
        session |= change
        run(
            {
                "events": str(self.folder / "events.jsonl"),
                "seed": 1,
                "t0_unix_ns": time.time_ns(),
                "duration_ns": duration_ns,
                "titles": {"film": json.loads(json.dumps(dataclasses.asdict(title)))},
                "sessions": [session | {"id": f"s{index + 1:04}"} for index in range(sessions)],
            }
        )
        rows = [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]
        self.requests = [row for row in rows if row["table"] == "requests"]
        self.playback = [row for row in rows if row["table"] == "playback"]

    def events(self, kind):
        return [row for row in self.playback if row["event"] == kind]

    def end(self):
        (end,) = self.events("end")
        assert end is self.playback[-1]
        return {key: value for key, value in end["detail"].items() if key != "played_kbit"}


@pytest.fixture(scope="module")
def who(tmp_path_factory):
    return identity(tmp_path_factory.mktemp("ca"), *NAMES)


@pytest.fixture
def stage(tmp_path, who):
    with (
        https(who, Oca(content=CONTENT)) as first,
        https(who, Oca(content=CONTENT)) as second,
        https(who, Oca()) as steering,
        resolver(dict.fromkeys((*NAMES, "unnamed.test"), "127.0.0.1")) as (port, _),
    ):
        yield Stage(tmp_path, who, port, first=first, second=second, steering=steering)


def test_a_title_is_streamed_to_its_end(stage):
    stage.play()
    assert stage.end() == {"outcome": "completed", "played_ns": 800 * MILLISECOND, "reason": ""}
    segments = stage.events("segment")
    assert [row["detail"]["index"] for row in segments] == list(range(8))
    assert {row["detail"]["oca"] for row in segments} == {"oca-n1"}
    assert len(stage.events("startup")) == 1
    assert not stage.events("failover")
    steering, *ranges = stage.requests
    assert (steering["oca"], steering["status"], steering["request_id"]) == ("steering", 200, "s0001-1")
    assert [row["request_id"] for row in ranges] == [f"s0001-{number}" for number in range(2, 10)]
    assert {row["status"] for row in ranges} == {206}
    assert sum(row["bytes"] for row in ranges) == sum(row["detail"]["bytes"] for row in segments)
    assert stage.first.ranges == [
        (f"/film/{row['url'].rpartition('/')[2]}", row["request_id"]) for row in ranges
    ]


def test_a_request_has_its_phases(stage):
    stage.play()
    first, second = stage.requests[1:3]
    assert (
        0 < first["dns_ns"] < first["dns_ns"] + first["connect_ns"] + first["tls_ns"] < first["first_byte_ns"]
    )
    assert first["first_byte_ns"] <= first["total_ns"]
    assert (second["dns_ns"], second["connect_ns"], second["tls_ns"]) == (0, 0, 0)
    assert first["client"] == "north.homes.1"


def test_the_bitrate_rises_with_the_buffer_and_switches_are_recorded(stage):
    stage.play()
    (switch,) = stage.events("switch")[:1]
    assert (switch["bitrate_kbps"], switch["detail"]["from_kbps"]) == (400, 200)
    sizes = [TITLE.segment_bytes[row["detail"]["index"]] for row in stage.events("segment")]
    rungs = [{200: 0, 400: 1}[row["bitrate_kbps"]] for row in stage.events("segment")]
    assert [row["detail"]["bytes"] for row in stage.events("segment")] == [
        size[rung] for size, rung in zip(sizes, rungs, strict=True)
    ]


def test_the_buffer_never_holds_more_than_it_may(stage):
    stage.play()
    assert max(row["buffer_ns"] for row in stage.playback) <= SESSION.buffer_ns


def test_a_dying_oca_is_left_for_the_next_of_the_list(stage):
    stage.first.die_after = 3
    stage.play()
    assert stage.end()["outcome"] == "completed"
    (failover,) = stage.events("failover")
    failed = next(row for row in stage.requests if row["error"])
    after = stage.requests[stage.requests.index(failed) + 1]
    assert (failover["detail"]["from"], failover["detail"]["to"]) == ("oca-n1", "oca-ix1")
    assert failover["detail"]["error"] == failed["error"] != ""
    assert failover["detail"]["took_ns"] == after["unix_ns"] + after["first_byte_ns"] - failed["unix_ns"]
    assert [row["oca"] for row in stage.requests] == ["steering", *["oca-n1"] * 4, *["oca-ix1"] * 5]
    assert [row["detail"]["index"] for row in stage.events("segment")] == list(range(8))


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("https://oca-n1.test:{port}/other/", "HTTP 404"),
        ("https://oca-n1.test:{port}/alone?", "HTTP 503: no control plane"),
        ("https://nowhere.test:{port}/film/", "dns nxdomain: nowhere.test"),
        ("https://oca-n1.test:1/film/", "cannot connect: ECONNREFUSED"),
        ("https://oca-n1.test:{port}/stall?", "timeout: no byte for 0.3 s"),
        ("https://unnamed.test:{port}/film/", "certificate refused: another name"),
    ],
)
def test_whatever_an_oca_lacks_the_next_one_serves(stage, url, error):
    stage.urls[0]["url"] = url.format(port=stage.first.port)
    content = bytes(3 * 400_000)  # what the silent one promises for each range
    stage.second.content = {"/film/200.mp4": content, "/film/400.mp4": content}
    stage.play(title=dataclasses.replace(TITLE, segment_bytes=((400_000, 400_000),) * 3))
    assert stage.end()["outcome"] == "completed"
    assert stage.requests[1]["error"] == error
    assert (stage.requests[1]["sport"] or 1) > 0
    (failover,) = stage.events("failover")
    assert failover["detail"]["error"] == error
    assert [row["oca"] for row in stage.requests] == ["steering", "oca-n1", *["oca-ix1"] * 3]


def test_a_stall_is_dated_at_the_instant_the_buffer_ran_out(stage):
    stage.first.die_after = 3
    with socket.create_server(("127.0.0.1", 0)) as mute:  # connects, and never says a word
        port = mute.getsockname()[1]
        stage.urls.insert(1, {"oca": "mute", "url": f"https://origin.test:{port}/"})
        stage.play(startup_ns=100 * MILLISECOND, timeout_ns=600 * MILLISECOND)
    assert stage.end() == {"outcome": "completed", "played_ns": 800 * MILLISECOND, "reason": ""}
    startup, stall, resume = (stage.events(kind)[0] for kind in ("startup", "stall", "resume"))
    before = [row for row in stage.events("segment") if row["unix_ns"] < stall["unix_ns"]]
    assert stall["unix_ns"] == startup["unix_ns"] + len(before) * TITLE.segment_ns
    assert stall["buffer_ns"] == 0
    assert resume["unix_ns"] > stall["unix_ns"]
    (failover,) = stage.events("failover")
    assert (failover["detail"]["from"], failover["detail"]["to"]) == ("oca-n1", "oca-ix1")
    assert failover["detail"]["took_ns"] > 600 * MILLISECOND


def test_when_all_fail_steering_is_asked_again(stage):
    dead = [{"oca": "dead", "url": "https://origin.test:1/film/"}]
    stage.steering.steer[:] = [{"urls": dead, "ttl_s": 30}, {"urls": stage.urls, "ttl_s": 30}]
    stage.play()
    assert stage.end()["outcome"] == "completed"
    assert [row["oca"] for row in stage.requests][:4] == ["steering", "dead", "steering", "oca-n1"]
    pause_ns = stage.requests[2]["unix_ns"] - stage.requests[1]["unix_ns"] - stage.requests[1]["total_ns"]
    assert pause_ns >= BACK_OFF_NS / 2


def test_an_old_list_is_renewed_and_the_oca_kept(stage):
    stage.steering.steer[:] = [
        {"urls": stage.urls, "ttl_s": 0},
        {"urls": stage.urls[::-1], "ttl_s": 30},
    ]
    stage.play(buffer_ns=2 * SECOND)
    ocas = [row["oca"] for row in stage.requests]
    assert ocas.count("steering") == 2
    assert set(ocas) == {"steering", "oca-n1"}


def test_a_viewer_who_gets_nothing_leaves(stage):
    stage.urls[:] = [{"oca": "dead", "url": "https://origin.test:1/film/"}]
    stage.play(give_up_ns=100 * MILLISECOND)
    assert stage.end() == {"outcome": "error", "played_ns": 0, "reason": "cannot connect: ECONNREFUSED"}


def test_a_session_is_cut_at_the_end_of_the_scenario(stage):
    stage.play(duration_ns=500 * MILLISECOND)
    detail = stage.end()
    assert detail["outcome"] == "cut"
    (startup,), (end,) = stage.events("startup"), stage.events("end")
    assert 0 < detail["played_ns"] <= end["unix_ns"] - startup["unix_ns"]  # a busy machine ends it late


def test_a_request_under_way_at_the_end_is_cut_and_recorded(stage):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        stage.urls[0]["url"] = f"https://oca-n1.test:{mute.getsockname()[1]}/"
        stage.play(duration_ns=300 * MILLISECOND, timeout_ns=5 * SECOND)
    assert stage.end()["outcome"] == "cut"
    assert stage.requests[-1]["error"] == "cut off: the scenario ended"


def test_a_session_after_the_end_never_starts(stage, tmp_path):
    (tmp_path / "events.jsonl").write_text("")
    stage.play(duration_ns=SECOND, start_ns=SECOND)
    assert stage.requests == stage.playback == []


def test_several_viewers_share_the_process(stage):
    stage.play(sessions=4)
    assert sorted(row["session_id"] for row in stage.events("end")) == ["s0001", "s0002", "s0003", "s0004"]
    assert {row["detail"]["outcome"] for row in stage.events("end")} == {"completed"}


def test_a_broken_session_ends_with_a_record(stage, capsys):
    stage.play(netns=-1)
    assert stage.end()["outcome"] == "error"
    assert "OSError" in stage.end()["reason"]
    assert "OSError" in capsys.readouterr().err


def test_a_viewer_leaves_when_they_like(stage):
    stage.play(leave_ns=450 * MILLISECOND)
    end = stage.end()
    assert (end["outcome"], end["reason"]) == ("left", "the viewer left")
    assert 0 < end["played_ns"] < 450 * MILLISECOND


def test_a_viewer_leaves_in_the_middle_of_a_request(stage):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        stage.urls[0]["url"] = f"https://oca-n1.test:{mute.getsockname()[1]}/"
        stage.play(leave_ns=200 * MILLISECOND, timeout_ns=5 * SECOND)
    assert stage.end() == {"outcome": "left", "played_ns": 0, "reason": "the viewer left"}
    assert stage.requests[-1]["error"] == "the viewer left"


def test_a_pause_is_no_stall_and_the_buffer_fills_meanwhile(stage):
    stage.play(pauses=((300 * MILLISECOND, 700 * MILLISECOND),))
    assert stage.end() == {"outcome": "completed", "played_ns": 800 * MILLISECOND, "reason": ""}
    (pause,), (unpause,) = stage.events("pause"), stage.events("unpause")
    assert unpause["unix_ns"] - pause["unix_ns"] == 700 * MILLISECOND
    assert unpause["buffer_ns"] > 200 * MILLISECOND
    assert not stage.events("stall")
    took_ns = stage.playback[-1]["unix_ns"] - stage.events("startup")[0]["unix_ns"]
    assert took_ns >= 1500 * MILLISECOND


def test_a_seek_throws_the_buffer_away_and_is_no_stall(stage):
    stage.play(seeks=((100 * MILLISECOND, 650 * MILLISECOND),))
    assert stage.end()["outcome"] == "completed"
    # on a busy machine the viewer seeks before anything has been played
    (seek,), (seeked, *_) = stage.events("seek"), [*stage.events("seeked"), *stage.events("startup")]
    assert seek["detail"] == {"index": 6}
    assert seek["unix_ns"] < seeked["unix_ns"]
    assert not stage.events("stall")
    indices = [row["detail"]["index"] for row in stage.events("segment")]
    assert indices[-2:] == [6, 7]
    assert len(indices) < 8


def test_a_slow_oca_is_left_and_if_all_are_slow_one_is_waited_for(stage):
    stage.urls[0]["url"] = f"https://oca-n1.test:{stage.first.port}/drip?"  # 60 kB in 1.2 s
    sized = dataclasses.replace(TITLE, segment_bytes=((60_000, 60_000),) * 2)
    stage.second.content = {"/film/200.mp4": bytes(120_000), "/film/400.mp4": bytes(120_000)}
    stage.play(title=sized, slow_ns=400 * MILLISECOND)
    assert stage.end()["outcome"] == "completed"
    assert [row["oca"] for row in stage.requests] == ["steering", "oca-n1", "oca-ix1", "oca-ix1"]
    assert stage.requests[1]["error"] == "slow: not whole in 0.4 s"
    assert 0 < stage.requests[1]["bytes"] < 60_000


def test_probing_takes_the_quickest_of_the_list(stage):
    stage.urls[0]["url"] = f"https://oca-n1.test:{stage.first.port}/other/"
    stage.play(probe=True)
    assert [row["oca"] for row in stage.requests][:4] == ["steering", "oca-n1", "oca-ix1", "oca-ix1"]
    assert not stage.events("failover")


def test_a_device_shows_no_more_than_it_can(stage):
    stage.play(max_kbps=399)
    assert {row["bitrate_kbps"] for row in stage.events("segment")} == {200}
    stage.events("end")


def test_a_live_viewer_keeps_to_the_edge(stage):
    stage.play(live_latency_ns=300 * MILLISECOND, startup_ns=100 * MILLISECOND, start_ns=500 * MILLISECOND)
    assert stage.end()["outcome"] == "completed"
    segments = stage.events("segment")
    assert [row["detail"]["index"] for row in segments] == list(range(2, 8))  # 0.5 s less 0.3 s
    began_ns = stage.requests[0]["unix_ns"] - 500 * MILLISECOND
    for row in segments:  # no segment before it is whole
        assert row["unix_ns"] >= began_ns + (row["detail"]["index"] + 1) * TITLE.segment_ns - 50 * MILLISECOND
        assert row["detail"]["latency_ns"] >= 200 * MILLISECOND
    assert 200 * MILLISECOND < stage.playback[-1]["detail"]["latency_ns"] < 700 * MILLISECOND


def test_a_live_viewer_who_fell_behind_skips(stage):
    stage.first.die_after = 2
    with socket.create_server(("127.0.0.1", 0)) as mute:
        stage.urls.insert(1, {"oca": "mute", "url": f"https://origin.test:{mute.getsockname()[1]}/"})
        long = dataclasses.replace(TITLE, segment_bytes=TITLE.segment_bytes * 2)
        content = {path: body * 2 for path, body in CONTENT.items()}
        stage.first.content = stage.second.content = content
        stage.play(
            title=long,
            live_latency_ns=200 * MILLISECOND,
            startup_ns=100 * MILLISECOND,
            timeout_ns=600 * MILLISECOND,
        )
    assert stage.end()["outcome"] == "completed"
    (skip,) = stage.events("skip")
    assert skip["detail"]["index"] >= 5
    assert len(stage.events("segment")) < 16


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"urls": [], "ttl_s": 30}, "steering knows no OCA"),
        ({"urls": [{"oca": "oca-n1"}], "ttl_s": 30}, "steering's answer is unreadable: KeyError('url')"),
        ({}, "steering's answer is unreadable: KeyError('urls')"),
    ],
)
def test_a_useless_answer_of_steering_is_told_by_name(stage, answer, error):
    stage.steering.steer[:] = [answer]
    stage.play(give_up_ns=100 * MILLISECOND)
    assert stage.end() == {"outcome": "error", "played_ns": 0, "reason": error}


def test_a_silent_control_plane_is_told_by_name_in_its_time(stage):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        before = time.monotonic()
        stage.play(steering_host=f"steering.test:{port}", give_up_ns=100 * MILLISECOND)
    assert stage.end() == {"outcome": "error", "played_ns": 0, "reason": "timeout: no byte for 0.3 s"}
    assert [row["error"] for row in stage.requests] == ["timeout: no byte for 0.3 s"]
    assert time.monotonic() - before < 5


def test_a_truncated_segment_is_told_by_name_and_fetched_again(stage):
    stage.urls[0]["url"] = f"https://oca-n1.test:{stage.first.port}/short?"
    stage.second.content = {"/film/200.mp4": bytes(800_000), "/film/400.mp4": bytes(800_000)}
    stage.play(title=dataclasses.replace(TITLE, segment_bytes=((400_000, 400_000),) * 2))
    assert stage.end()["outcome"] == "completed"
    assert stage.requests[1]["error"].startswith("connection ")
    assert stage.requests[1]["bytes"] <= 150_000


def test_a_manifest_out_of_order_is_told_by_name(stage, capsys):
    stage.play(title=dataclasses.replace(TITLE, bitrates_kbps=(400, 200)))
    assert stage.end() == {
        "outcome": "error",
        "played_ns": 0,
        "reason": "manifest: bitrates must rise, but 200 kbit/s follows 400 kbit/s",
    }
    assert not stage.requests


def test_a_request_says_which_connection_carried_it(stage):
    stage.play()
    assert {row["address"] for row in stage.requests} == {"127.0.0.1"}
    assert len({row["sport"] for row in stage.requests}) == 2  # steering, and one OCA throughout
    assert {row["http"] for row in stage.requests} == {"1.1"}
