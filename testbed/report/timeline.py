"""The plots over time, one below the other on one axis: faults, requests by OCA, every session.

Shapes are SVG stretched to the width there is; words are HTML laid over them, so that they stay
readable where the plot is squeezed onto a phone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from html import escape

from testbed.report.story import Moment, Story

SPAN = 1000  # the width of every plot in SVG units, whatever its width on the screen
BINS = 90  # at most about as many columns of requests
ROUND_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
NAME_HEIGHT = 24
SESSIONS = 24  # as many as one can look at; the table has them all


def draw(story: Story) -> str:
    """All lanes, with the legend above and the axis below."""
    sessions = chosen(story)
    left_out = len(story.sessions) - len(sessions)
    note = (
        f"<p>The {len(sessions)} sessions with most trouble; {left_out} more in the table.</p>"
        if left_out
        else ""
    )
    lanes = [_fault_lane(story), _request_lane(story)]
    lanes += [_session_lane(story, session) for session in sessions]
    return (
        f'{_legend(story)}{note}<div class="timeline" data-s="{story.job.duration_ns / 1e9:g}">'
        f"{''.join(lanes)}{_axis(story)}</div>"
    )


def chosen(story: Story) -> list[dict[str, object]]:
    """The sessions that are drawn: all, or those with most trouble, in the order of their ids."""
    worst = sorted(
        story.sessions,
        key=lambda row: (
            row["outcome"] == "completed",
            -row["rebuffer_ns"],
            -row["failovers"],
            row["session_id"],
        ),
    )
    return sorted(worst[:SESSIONS], key=lambda row: str(row["session_id"]))


def buffer_path(moments: list[Moment]) -> list[tuple[int, int]]:
    """The buffer over time: what players told, and the playing down in between; (t_ns, buffer_ns)."""
    points: list[tuple[int, int]] = []
    playing = False
    for moment in moments:
        if points:
            since, level = points[-1]
            points.append((moment.t_ns, max(0, level - (moment.t_ns - since)) if playing else level))
        points.append((moment.t_ns, moment.buffer_ns))
        if moment.event in ("startup", "resume"):
            playing = True
        elif moment.event in ("stall", "end"):
            playing = False
    return points


def stalls(moments: list[Moment]) -> list[tuple[int, int]]:
    """When the picture stood still: (from_ns, until_ns), the last one until the session's end."""
    found: list[tuple[int, int]] = []
    began: int | None = None
    for moment in moments:
        if moment.event == "stall":
            began = moment.t_ns
        elif moment.event in ("resume", "end") and began is not None:
            found.append((began, moment.t_ns))
            began = None
    return found


def _x(story: Story, t_ns: int) -> float:
    return round(min(max(t_ns / story.job.duration_ns, 0.0), 1.0) * SPAN, 2)


def _percent(story: Story, t_ns: int) -> str:
    return f"{_x(story, t_ns) * 100 / SPAN:g}%"


def _bands(story: Story) -> str:
    """The faults as bands behind a plot."""
    return "".join(
        f'<i class="band" style="left:{_percent(story, fault.at_ns)};'
        f"right:{_percent(story, story.job.duration_ns - fault.at_ns - fault.lasts_ns)};"
        f'--fault:{escape(story.colour(fault.kind))}"></i>'
        for fault in story.job.faults
    )


def _names(story: Story) -> str:
    """The faults' names, each from where its band begins, or up to where it ends if that is far right."""
    parts = []
    for row, fault in enumerate(story.job.faults):
        end_ns = fault.at_ns + fault.lasts_ns
        late = fault.at_ns + end_ns >= story.job.duration_ns  # its middle is right of the plot's
        side, at_ns = ("right", story.job.duration_ns - end_ns) if late else ("left", fault.at_ns)
        told = f"⚡{fault.id} {fault.kind} {fault.target}"
        parts.append(
            f'<b style="{side}:{_percent(story, at_ns)};top:{row * NAME_HEIGHT}px">{escape(told)}</b>'
        )
    return "".join(parts)


def _lane(kind: str, label: str, track: str, data: str = "") -> str:
    return (
        f'<div class="lane {kind}"><div class="label">{label}</div>'
        f'<div class="track"{data}>{track}</div></div>'
    )


def _svg(height: int, spoken: str, shapes: str) -> str:
    return (
        f'<svg viewBox="0 0 {SPAN} {height}" style="height:{height}px" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(spoken)}">{shapes}</svg>'
    )


def _column(kind: str, left: float, right: float, top: float, tall: float) -> str:
    return f'<rect class="{kind}" x="{left:g}" y="{top:.1f}" width="{right - left:.2f}" height="{tall:.1f}"/>'


def _fault_lane(story: Story) -> str:
    tall = f'<div style="height:{max(1, len(story.job.faults)) * NAME_HEIGHT}px"></div>'
    return _lane("faults", "<b>Faults</b>", _bands(story) + tall + _names(story))


def _request_lane(story: Story) -> str:
    ocas, height = story.ocas, 90
    least_s = story.job.duration_ns / 1e9 / BINS
    width_ns = round(next((width for width in ROUND_S if width >= least_s), ROUND_S[-1]) * 1e9)
    counted = Counter((max(0, request.t_ns) // width_ns, request.oca) for request in story.requests)
    failed = Counter(max(0, request.t_ns) // width_ns for request in story.requests if request.failed)
    totals: Counter[int] = Counter()
    for (bin_, _), count in counted.items():
        totals[bin_] += count
    most = max(totals.values(), default=1)
    shapes = []
    for bin_ in sorted(totals):
        left, right = _x(story, bin_ * width_ns), _x(story, (bin_ + 1) * width_ns)
        base = float(height)
        for index, oca in enumerate(ocas):
            tall = counted[bin_, oca] * (height - 6) / most
            if tall:
                base -= tall
                shapes.append(_column(f"o{index % 8}", left, right - 1, base, tall))
        if failed[bin_]:
            shapes.append(_column("bad", left, right - 1, 0, 5))
    spoken = "Requests to each OCA over time: " + ", ".join(
        f"{oca} {sum(request.oca == oca for request in story.requests)}" for oca in ocas
    )
    label = f"<b>Requests</b><span>to each OCA, per {width_ns / 1e9:g} s; full height {most}</span>"
    track = f"{_bands(story)}{_svg(height, spoken, ''.join(shapes))}"
    return _lane("requests", label, track)


def _session_lane(story: Story, row: dict[str, object]) -> str:
    session = str(row["session_id"])
    moments = story.moments.get(session, [])
    most_ns, most_kbps = _scales(story)
    spoken = (
        f"Session {session} of {row['client']}: {row['outcome']}, {row['rebuffers']} rebuffers,"
        f" {row['failovers']} failovers"
    )
    kind = "fine" if row["outcome"] == "completed" else "poor"
    label = (
        f"<b>{escape(session)}</b><span>{escape(str(row['client']))}</span>"
        f'<span class="{kind}">{escape(str(row["outcome"]))}</span>'
    )
    track = (
        f"{_bands(story)}"
        f"{_svg(46, f'{spoken}; buffer over time', _buffer(story, moments, most_ns))}"
        f"{_svg(30, f'{spoken}; bitrate over time', _bitrate(story, moments, most_kbps))}"
        f"{''.join(_failovers(story, moments))}"
    )
    points = [
        [
            round(moment.t_ns / 1e9, 2),
            round(moment.buffer_ns / 1e9, 1),
            moment.bitrate_kbps,
            moment.detail.get("oca", ""),
        ]
        for moment in moments
        if moment.event == "segment"
    ]
    data = f" data-name='{escape(session)}' data-points='{escape(json.dumps(points, separators=(',', ':')))}'"
    return _lane("session", label, track, data)


def _scales(story: Story) -> tuple[int, int]:
    """The full height of every session's plots: buffer in ns, bitrate in kbit/s; the same for all."""
    told = (moment.buffer_ns for moments in story.moments.values() for moment in moments)
    planned = (session.buffer_ns for session in story.job.sessions)
    bitrates = (max(title.bitrates_kbps) for title in story.job.titles)
    return max((*told, *planned), default=1) or 1, max(bitrates, default=1)


def _buffer(story: Story, moments: list[Moment], most_ns: int) -> str:
    points = buffer_path(moments)
    if not points:
        return ""
    line = " ".join(f"{_x(story, t_ns):g},{46 - 44 * level / most_ns:.1f}" for t_ns, level in points)
    first, last = _x(story, points[0][0]), _x(story, points[-1][0])
    stood = (
        _column("bad", _x(story, begin), max(_x(story, end), _x(story, begin) + 2), 0, 46)
        for begin, end in stalls(moments)
    )
    area = f'<polygon class="buffer" points="{first:g},46 {line} {last:g},46"/>'
    return f'{"".join(stood)}{area}<polyline class="buffer" points="{line}"/>'


def _bitrate(story: Story, moments: list[Moment], most_kbps: int) -> str:
    """A column for every segment, from when it was there to when the next was, in its OCA's colour."""
    ocas = {oca: index % 8 for index, oca in enumerate(story.ocas)}
    segments = [moment for moment in moments if moment.event == "segment"]
    if not segments:
        return ""
    ends = [moment.t_ns for moment in segments[1:]] + [moments[-1].t_ns]
    shapes = []
    for moment, end_ns in zip(segments, ends, strict=True):
        left, tall = _x(story, moment.t_ns), 28 * moment.bitrate_kbps / most_kbps
        colour = f"o{ocas[oca]}" if (oca := moment.detail.get("oca")) in ocas else "o7"
        shapes.append(_column(colour, left, max(_x(story, end_ns), left + 0.5), 30 - tall, tall))
    return "".join(shapes)


def _failovers(story: Story, moments: list[Moment]) -> Iterator[str]:
    for moment in moments:
        if moment.event == "failover":
            told = moment.detail
            spoken = (
                f"failover from {told.get('from')} to {told.get('to')}, {told.get('took_ns', 0) / 1e9:.3f} s"
            )
            left = _percent(story, moment.t_ns)
            yield f'<i class="failover" style="left:{left}" title="{escape(spoken)}">▼</i>'


def _legend(story: Story) -> str:
    parts = [
        f'<li><i class="key o{index % 8}"></i>{escape(oca)}</li>' for index, oca in enumerate(story.ocas)
    ]
    most_ns, most_kbps = _scales(story)
    parts.append(f'<li><i class="key line"></i>buffer, full height {most_ns / 1e9:.0f} s</li>')
    parts.append(
        f'<li><i class="key column"></i>bitrate, full height {most_kbps} kbit/s, in its OCA\'s colour</li>'
    )
    parts += ['<li><i class="key bad"></i>picture stands, or request failed</li>']
    parts.append('<li><i class="failover">▼</i> failover</li>')
    return f'<ul class="legend">{"".join(parts)}</ul>'


def _axis(story: Story) -> str:
    duration_s = story.job.duration_ns / 1e9
    step = next(
        step
        for step in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
        if duration_s / step <= 10 or step == 3600
    )
    ticks = "".join(
        f'<span style="left:{100 * tick / duration_s:g}%">{tick} s</span>'
        for tick in range(0, int(duration_s) + 1, step)
        if tick == duration_s or tick < 0.97 * duration_s
    )
    return _lane("axis", "", ticks)
