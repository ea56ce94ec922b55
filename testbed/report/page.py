"""The page: its sections in order, and the tables among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from testbed.impairments import shown
from testbed.report import aftermath, summary, timeline, topology
from testbed.report.story import Story
from testbed.report.summary import counted
from testbed.units import show_duration

SIGNS = {"pass": "✓", "fail": "✗", "unknown": "?"}
ANSWERS = {True: "yes", False: "no", None: "unknown"}
OUTCOMES = {True: "pass", False: "fail", None: "unknown"}
TIMELINE = (
    "All plots share one time axis; coloured bands are faults. Each session shows its buffer above and its"
    " bitrate below, in the colour of the OCA that served it."
)
TOPOLOGY = (
    "A frame is a network (AS); hosts stand with the router they hang on. ⚡ marks what a fault struck."
    " Labels are rate and one-way delay."
)
AFTERMATH = (
    "Each dot is a step that packets or records show, by the time since the fault: tenfold from mark to mark."
    " A line leads to the last of several. A packet is named as capture#frame."
)
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>{head}</header>
<main>
{sections}</main>
<script>
{script}</script>
</body>
</html>
"""


def render(story: Story) -> str:
    """The whole page, byte for byte the same for equal stories."""
    part = resources.files("testbed.report")
    style, script = (part.joinpath(name).read_text("utf-8") for name in ("style.css", "script.js"))
    sections = [
        _section("Checks", _checks(story), "What the scenario demands, and what was measured."),
        _section("Faults", _faults(story), "What was broken, and whether packets and routes prove it."),
        _section("What came of it", aftermath.draw(story), AFTERMATH),
        _section("Timeline", timeline.draw(story), TIMELINE),
        _section(
            "Topology",
            f'<div class="wide" tabindex="0" role="group" aria-label="Topology, scrollable">'
            f"{topology.draw(story.job)}</div>{_links(story)}",
            TOPOLOGY,
        ),
        _section("Servers", _servers(story), "What the players asked of each server, retries included."),
        _section("Sessions", _sessions(story), "One row for every viewer, as the player saw it."),
        _section("How it was made", _made(story), "Enough to make the same run again."),
    ]
    return PAGE.format(
        title=f"{escape(story.job.scenario)}: {story.judgement.verdict}",
        style=style,
        head=_head(story),
        sections="".join(sections),
        script=script,
    )


def _head(story: Story) -> str:
    job = story.job
    about = (
        f"{show_duration(job.duration_ns)} on the topology {escape(job.topology)}, seed {job.seed},"
        f" {job.clock} clock, {counted(len(job.sessions), 'session')}, {counted(len(job.faults), 'fault')}"
    )
    distrust = "".join(
        f'<p class="distrust">Not to be trusted: {escape(reason)}.</p>' for reason in story.judgement.trust
    )
    happened = "".join(f"<li>{escape(sentence)}</li>" for sentence in summary.told(story))
    told = f'<ul class="told">{happened}</ul>' if happened else ""
    return f"<h1>{escape(job.scenario)} {_pill(story.judgement.verdict)}</h1>{told}<p>{about}</p>{distrust}"


def _section(title: str, content: str, caption: str) -> str:
    return f'<section>\n<h2>{title}</h2>\n<p class="caption">{escape(caption)}</p>\n{content}\n</section>\n'


def _pill(outcome: str, text: str = "") -> str:
    return f'<span class="pill {outcome}">{SIGNS[outcome]} {escape(text or outcome)}</span>'


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table of cells that are HTML already; it scrolls by itself where it is too wide.

    With the kind "cards" every row becomes a card of its own on a phone.
    """
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-label="{escape(column)}">{cell}</td>'
            for column, cell in zip(columns, row, strict=True)
        )
        + "</tr>\n"
        for row in rows
    )
    table = f"<thead><tr>{head}</tr></thead><tbody>\n{body}</tbody>"
    return f'<div class="wide" tabindex="0"><table class="{kind}">{table}</table></div>'


def _checks(story: Story) -> str:
    if not story.judgement.checks:
        return "<p>The scenario asks for none.</p>"
    return _table(
        ("check", "outcome", "measured", "wanted", "detail"),
        (
            (
                escape(check.kind),
                _pill(check.outcome),
                escape(check.measured),
                escape(check.wanted),
                escape(check.detail),
            )
            for check in story.judgement.checks
        ),
        "cards",
    )


def _faults(story: Story) -> str:
    if not story.job.faults:
        return "<p>Nothing was broken.</p>"
    found = {finding.id: finding for finding in story.judgement.faults}
    rows: list[Sequence[str]] = []
    for fault in story.job.faults:
        finding = found[fault.id]
        happened = [
            event for event in story.events if event["fault"] == fault.id and event["phase"] != "planned"
        ]
        times = f"<div>{'<br>'.join(map(_moment, happened))}</div>"
        what = f"⚡{fault.id} {escape(fault.kind)}"
        rows.append(
            (
                f'<span class="fault" style="--fault:{escape(story.colour(fault.kind))}">{what}</span>',
                escape(fault.target),
                f"{show_duration(fault.at_ns)} for {show_duration(fault.lasts_ns)}",
                _pill(OUTCOMES[finding.took_hold], ANSWERS[finding.took_hold]),
                _pill(OUTCOMES[finding.healed], ANSWERS[finding.healed]),
                times,
                escape(finding.detail),
            )
        )
    columns: Sequence[str] = ("fault", "target", "planned at", "took hold", "healed", "happened", "detail")
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return _table(columns, rows, "cards")


def _moment(event: dict[str, Any]) -> str:
    return f"{escape(event['phase'].replace('_', ' '))} {event['t_ns'] / 1e9:.3f} s"


def _links(story: Story) -> str:
    rows = (
        (
            escape(link.name),
            escape(link.relation),
            escape(shown(link.a_to_b)),
            escape(shown(link.b_to_a)),
        )
        for link in story.job.links
    )
    table = _table(("link", "relation", "there", "back"), rows)
    return f"<details><summary>All {len(story.job.links)} links</summary>{table}</details>"


def _servers(story: Story) -> str:
    if not story.requests:
        return "<p>Nobody asked any.</p>"
    rows = []
    for index, oca in enumerate(story.ocas):
        asked = [request for request in story.requests if request.oca == oca]
        rows.append((
            f'<i class="key o{index % 8}"></i>{escape(oca)}',
            str(len(asked)),
            str(sum(request.failed for request in asked)),
            _data(sum(request.bytes for request in asked)),
        ))  # fmt: skip
    return _table(("server", "requests", "failed", "data"), rows)


def _data(size: int) -> str:
    """An amount of data to three digits or so, for people: 1234567 -> "1.23 MB"."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size < 1000 * scale else f"{size / scale:.0f} {unit}"
    return f"{size} B"


def _sessions(story: Story) -> str:
    def seconds(ns: int | None) -> str:
        return "" if ns is None else f"{ns / 1e9:.2f} s"

    def row(session: dict[str, Any]) -> Sequence[str]:
        outcome = str(session["outcome"])
        return (
            escape(session["session_id"]),
            escape(session["client"]),
            _pill("pass" if outcome == "completed" else "fail", outcome),
            escape(" → ".join(session["ocas"] or ())),
            seconds(session["start_ns"]),
            seconds(session["play_delay_ns"]),
            str(session["rebuffers"]),
            seconds(session["rebuffer_ns"]),
            seconds(session["played_ns"]),
            f"{session['mean_kbps'] or 0:.0f} kbit/s",
            str(session["switches"]),
            str(session["failovers"]),
        )

    if not story.sessions:
        return "<p>Nobody played anything.</p>"
    return _table(
        (
            "session", "client", "outcome", "OCAs", "starts at", "play delay", "rebuffers", "rebuffering",
            "played", "mean bitrate", "switches", "failovers",
        ),
        map(row, story.sessions),
    )  # fmt: skip


def _made(story: Story) -> str:
    run = story.run
    host = run.get("host", {})
    facts = {
        "run": story.name,
        "seed": story.job.seed,
        "venue and clock": f"{run.get('venue', 'unknown')}, {story.job.clock}",
        "kernel": run.get("kernel", ""),
        "time": f"{run.get('virtual_s', 0):.1f} s emulated in {run.get('real_s', 0):.1f} s",
        "machine": f"{host.get('cpu', 'unknown')}, {host.get('cores', '?')} cores",
        "digest of the results": run.get("digest", ""),
    }
    listed = _listed({name: value for name, value in facts.items() if value != ""})
    versions = _listed(run.get("versions", {}))
    sources = "".join(
        f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"
        for name, text in story.job.sources.items()
    )
    again = f"testbed reproduce {escape(story.name)}"
    return (
        f"<p>To run it again and compare every result file:</p><pre>{again}</pre>"
        f"<dl>{listed}</dl><details><summary>Versions</summary><dl>{versions}</dl></details>{sources}"
    )


def _listed(facts: Mapping[str, object]) -> str:
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
