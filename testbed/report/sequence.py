"""A time-sequence plot of one TCP connection, as tcptrace draws it: what was sent and answered when.

Time runs to the right, the sequence number of one direction upwards. A stroke is a segment from its first
byte to its last, red if it was sent again; the green stair is what the receiver acknowledged, the yellow one
above it how far its window let the sender go; a purple stroke is a SACK block. (Ostermann's tcptrace and
xplot; Shepard, "TCP packet trace analysis", MIT 1991.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from testbed.measure.pcap import Pcap
from testbed.measure.points import file_of, points
from testbed.measure.query import Tables

WIDTH, HEIGHT = 1200, 680
LEFT, RIGHT, TOP, BOTTOM = 90, 20, 64, 48
FIN, SYN, RST, ACK = 1, 2, 4, 16
_STYLE = """
svg { background: #fff; font: 13px system-ui, sans-serif; }
text { fill: #1c2430; } .soft { fill: #566273; } .grid { stroke: #e4e8ed; } .axis { stroke: #566273; }
path, line { fill: none; } .new { stroke: #1f6fc4; stroke-width: 1.6; }
.again { stroke: #c81e1a; stroke-width: 2; }
.ack { stroke: #1c8a4b; } .window { stroke: #c79a08; } .sack { stroke: #8a3fc9; stroke-width: 2; }
.dup { stroke: #1c8a4b; stroke-width: 1.5; } .mark { font-weight: 700; fill: #c81e1a; }
"""
_LEGEND = (
    ("new", "segment"), ("again", "sent again"), ("ack", "acknowledged"), ("window", "window"),
    ("sack", "SACK block"),
)  # fmt: skip


class NoFlow(ValueError):
    """There is no such connection, or it was not seen there; the message says what there is."""


@dataclass
class Trace:
    """One direction of a connection at one capture point; sequence numbers count from the first seen."""

    flow: int
    title: str
    point: str
    faults: list[tuple[int, int, str, str]] = field(default_factory=list)  # begin, end, words, colour
    segments: list[tuple[int, int, int, bool]] = field(default_factory=list)  # t_ns, first, last, sent again
    acks: list[tuple[int, int]] = field(default_factory=list)
    windows: list[tuple[int, int]] = field(
        default_factory=list
    )  # t_ns, the highest number the receiver takes
    sacks: list[tuple[int, int, int]] = field(default_factory=list)
    duplicates: list[tuple[int, int]] = field(
        default_factory=list
    )  # acknowledgements that acknowledge nothing
    marks: list[tuple[int, int, str]] = field(default_factory=list)  # SYN, FIN, RST, zero window


def read(tables: Tables, flow: int, at: str = "", direction: str = "") -> Trace:
    """The trace of a flow where its data was seen first, or `at` a capture point.

    `direction` is up (from the client), down, or whichever carried more. Raises NoFlow.
    """
    rows = tables.frame("select * from flows where flow_id = ? order by node, interface", flow).to_dicts()
    if not rows:
        ask = (
            "testbed query RUN \"select flow_id, client, server, bytes_down from flows where proto = 'tcp'\""
        )
        raise NoFlow(f"there is no flow {flow}; they are listed by {ask}")
    if rows[0]["proto"] != "tcp":
        raise NoFlow(f"flow {flow} is {rows[0]['proto']}, which has no sequence numbers; name one of tcp")
    payload = {way: sum(row[f"payload_{way}"] for row in rows) for way in ("up", "down")}
    up = direction == "up" if direction else payload["up"] > payload["down"]
    names = [f"{row['node']}.{row['interface']}" for row in rows]
    if at and at not in names:
        raise NoFlow(f"flow {flow} was not seen at {at}; it was at {', '.join(names)}")
    about = rows[0]
    sender = about["client_address"] if up else about["server_address"]
    seen_first = (
        "select node || '.' || interface from packets where flow_id = ? and src = ? order by t_ns limit 1"
    )
    at = at or tables.scalar(seen_first, flow, sender) or names[0]
    packets = tables.frame(
        """select t_ns, src, tcp_flags, tcp_seq, tcp_ack, tcp_len, tcp_window, sack, retransmission
           from packets where flow_id = ? and node || '.' || interface = ? order by t_ns""",
        flow, at,
    ).to_dicts()  # fmt: skip
    ends = [f"{about[end]}:{about[port]}" for end, port in (("client", "sport"), ("server", "dport"))]
    title = " → ".join(ends if up else reversed(ends))
    trace = Trace(flow, title, at, _faults(tables))
    syn = next((p["t_ns"] for p in packets if p["src"] != sender and p["tcp_flags"] & SYN), None)
    scale = 0 if syn is None else window_scale(tables, at, syn)
    _fill(trace, packets, sender, scale or 0)
    return trace


def _faults(tables: Tables) -> list[tuple[int, int, str, str]]:
    from testbed import registry

    kinds = registry.kinds("faults")
    return [
        (fault.at_ns, fault.at_ns + fault.lasts_ns, f"⚡{fault.id} {fault.kind} {fault.target}",
         str(getattr(kinds.get(fault.kind), "colour", "#d9d9d9")))
        for fault in tables.job.faults
    ]  # fmt: skip


def _fill(trace: Trace, packets: Iterable[dict[str, Any]], sender: str, scale: int) -> None:
    base: int | None = None
    near = 0

    def relative(number: int) -> int:
        """A sequence number as it counts from the first, over as many wraps as there were."""
        nonlocal near
        assert base is not None
        step = (number - base - near + 2**31) % 2**32 - 2**31
        return near + step

    acked = -1
    for each in packets:
        t_ns, flags = each["t_ns"], each["tcp_flags"]
        if each["src"] == sender:
            base = each["tcp_seq"] if base is None else base
            first = relative(each["tcp_seq"])
            last = first + each["tcp_len"]
            near = max(near, last)
            if each["tcp_len"]:
                trace.segments.append((t_ns, first, last, bool(each["retransmission"])))
            for flag, word in ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST")):
                if flags & flag:
                    trace.marks.append((t_ns, last, word))
            continue
        if flags & RST:
            trace.marks.append((t_ns, near, "RST"))
        if base is None or not flags & ACK or flags & RST:
            continue
        number = relative(each["tcp_ack"])
        if number == acked and not each["tcp_len"] and not flags & (SYN | FIN):
            trace.duplicates.append((t_ns, number))
        acked = max(acked, number)
        trace.acks.append((t_ns, acked))
        # The window of a SYN is never scaled (RFC 7323, 2.2).
        window = each["tcp_window"] << (0 if flags & SYN else scale)
        trace.windows.append((t_ns, number + window))
        if not window:
            trace.marks.append((t_ns, number, "zero window"))
        edges = each["sack"] or []
        trace.sacks += [
            (t_ns, relative(a), relative(b)) for a, b in zip(edges[::2], edges[1::2], strict=False)
        ]


def window_scale(tables: Tables, at: str, t_ns: int) -> int | None:
    """The shift of the window scale option (RFC 7323) of the SYN captured at this time; None without one."""
    place = next(point for point in points(tables.job) if point.name == at)
    path = file_of(tables.run, place)
    if not path.exists():
        return None
    unix_ns = t_ns + int(json.loads((tables.run / "guest.json").read_text())["t0_unix_ns"])
    for records in Pcap(path):
        for index in (records.unix_ns == unix_ns).nonzero()[0].tolist():
            start = int(records.offsets[index])
            frame = records.buffer[start : start + int(records.captured[index])].tobytes()
            shift = _shift(frame)
            if shift is not None:
                return shift
        if len(records.unix_ns) and records.unix_ns[-1] > unix_ns:
            return None
    return None


def _shift(frame: bytes) -> int | None:
    """The window scale of an Ethernet frame that holds a SYN without VLAN tag or extension headers."""
    at = 14 + (frame[14] & 15) * 4 if frame[12:14] == b"\x08\x00" else 54
    if len(frame) < at + 20 or not frame[at + 13] & SYN:
        return None
    options, end = at + 20, at + (frame[at + 12] >> 4) * 4
    while options < min(end, len(frame)):
        kind = frame[options]
        if kind == 0:
            break
        if kind == 3:
            return frame[options + 2]
        options += 1 if kind == 1 else max(2, frame[options + 1])
    return None


@dataclass(frozen=True)
class _Scale:
    """From data to the drawing: linear, between two ends."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, most: int) -> list[float]:
        """Round numbers between the ends."""
        raw = (self.high - self.low) / most
        size = 10 ** math.floor(math.log10(raw))
        step = next(size * each for each in (1, 2, 5, 10) if size * each >= raw)
        first = math.ceil(self.low / step)
        return [number * step for number in range(first, int(self.high // step) + 1)]


def svg(trace: Trace, since_ns: int | None = None, until_ns: int | None = None) -> str:
    """The plot as an SVG that needs nothing else; only what was between two times, if they are given."""
    times = [each[0] for each in trace.segments] + [t for t, _ in trace.acks] + [t for t, *_ in trace.marks]
    begin = min(times, default=0) if since_ns is None else since_ns
    end = max(times, default=1) if until_ns is None else until_ns
    end = max(end, begin + 1000)
    segments = [each for each in trace.segments if begin <= each[0] <= end]
    tops = [last for _, _, last, _ in segments] + [n for t, n in trace.acks if begin <= t <= end]
    bottoms = [first for _, first, _, _ in segments] + [n for t, n in trace.acks if begin <= t <= end]
    low, high = min(bottoms, default=0), max(tops, default=1)
    room = max(high - low, 1) * 0.06
    x = _Scale(begin / 1e9, end / 1e9, LEFT, WIDTH - RIGHT)
    y = _Scale(low - room, high + 2 * room, HEIGHT - BOTTOM, TOP)
    parts = [*_bands(trace, begin, end, x), *_axes(x, y), '<g clip-path="url(#room)">']
    inside = [(t, n) for t, n in trace.windows if begin <= t <= end]
    parts.append(_stair("window", inside, x, y))
    parts.append(_stair("ack", [(t, n) for t, n in trace.acks if begin <= t <= end], x, y))
    sacks = "".join(f"M{x(t / 1e9):g},{y(a):g}V{y(b):g}" for t, a, b in trace.sacks if begin <= t <= end)
    dups = "".join(f"M{x(t / 1e9):g},{y(n):g}v-5" for t, n in trace.duplicates if begin <= t <= end)
    parts += [f'<path class="sack" d="{sacks}"/>', f'<path class="dup" d="{dups}"/>']
    for kind, again in (("new", False), ("again", True)):
        strokes = "".join(
            f"M{x(t / 1e9):g},{y(first):g}V{y(last):g}"
            for t, first, last, repeated in segments
            if repeated == again
        )
        parts.append(f'<path class="{kind}" d="{strokes}"/>')
    parts += [
        f'<text class="mark" x="{x(t / 1e9) + 3:g}" y="{y(n) - 4:g}">{escape(word)}</text>'
        for t, n, word in trace.marks
        if begin <= t <= end
    ]
    parts.append("</g>")
    repeats = sum(repeated for *_, repeated in segments)
    told = f"flow {trace.flow} at {trace.point}: {len(segments)} segments, {repeats} sent again"
    head = (
        f'<text x="{LEFT}" y="22" font-size="16" font-weight="700">{escape(trace.title)}</text>'
        f'<text class="soft" x="{LEFT}" y="42">{escape(told)}</text>{_legend()}'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(trace.title)}, {escape(told)}"><style>{_STYLE}</style>'
        f'<clipPath id="room"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}"'
        f' height="{HEIGHT - TOP - BOTTOM}"/></clipPath>{head}{"".join(parts)}</svg>\n'
    )


def _stair(kind: str, steps: Sequence[tuple[int, int]], x: _Scale, y: _Scale) -> str:
    if not steps:
        return ""
    first, *rest = steps
    drawn = f"M{x(first[0] / 1e9):g},{y(first[1]):g}" + "".join(f"H{x(t / 1e9):g}V{y(n):g}" for t, n in rest)
    return f'<path class="{kind}" d="{drawn}"/>'


def _bands(trace: Trace, begin: int, end: int, x: _Scale) -> Iterable[str]:
    for since, until, words, colour in trace.faults:
        if since < end and until > begin:
            left, right = x(max(since, begin) / 1e9), x(min(until, end) / 1e9)
            yield (
                f'<rect x="{left:g}" y="{TOP}" width="{right - left:.2f}" height="{HEIGHT - TOP - BOTTOM}"'
                f' fill="{escape(colour)}" opacity=".5"/>'
                f'<text x="{left + 4:g}" y="{TOP + 15}">{escape(words)}</text>'
            )


def _axes(x: _Scale, y: _Scale) -> Iterable[str]:
    bottom = HEIGHT - BOTTOM
    for tick in y.ticks(8):
        at = y(tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:g}" y2="{at:g}"/>'
        yield f'<text class="soft" text-anchor="end" x="{LEFT - 8}" y="{at + 4:g}">{_bytes(tick)}</text>'
    for tick in x.ticks(10):
        at = x(tick)
        yield f'<line class="grid" x1="{at:g}" x2="{at:g}" y1="{TOP}" y2="{bottom}"/>'
        yield f'<text class="soft" text-anchor="middle" x="{at:g}" y="{bottom + 18}">{tick:.10g}</text>'
    yield f'<path class="axis" d="M{LEFT},{TOP}V{bottom}H{WIDTH - RIGHT}"/>'
    where = f'x="{WIDTH - RIGHT}" y="{bottom + 38}"'
    yield f'<text class="soft" text-anchor="end" {where}>seconds of the scenario</text>'


def _bytes(count: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= scale:
            return f"{count / scale:g} {unit}"
    return f"{count:g} B"


def _legend() -> str:
    parts = []
    for place, (kind, words) in enumerate(_LEGEND):
        at = WIDTH - RIGHT - 130 * (len(_LEGEND) - place)
        parts.append(
            f'<line class="{kind}" x1="{at}" x2="{at + 18}" y1="18" y2="18"/>'
            f'<text x="{at + 24}" y="22">{words}</text>'
        )
    return "".join(parts)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ margin: 0; }} svg {{ display: block; width: 100vw; height: 100vh; }}</style></head>
<body>{svg}<script>{script}</script></body></html>
"""
# The wheel zooms at the pointer, dragging moves, a double click shows all again.
_SCRIPT = """
const svg = document.querySelector("svg"), all = svg.getAttribute("viewBox").split(" ").map(Number);
let box = [...all], from = null;
const show = () => svg.setAttribute("viewBox", box.join(" "));
const at = e => new DOMPoint(e.clientX, e.clientY).matrixTransform(svg.getScreenCTM().inverse());
svg.addEventListener("wheel", e => {
  e.preventDefault();
  const by = e.deltaY < 0 ? 0.8 : 1.25, p = at(e);
  box = [p.x - (p.x - box[0]) * by, p.y - (p.y - box[1]) * by, box[2] * by, box[3] * by];
  show();
}, { passive: false });
svg.addEventListener("pointerdown", e => { from = at(e); });
svg.addEventListener("pointermove", e => {
  if (!from) return;
  const p = at(e);
  box[0] += from.x - p.x; box[1] += from.y - p.y;
  show();
});
addEventListener("pointerup", () => { from = null; });
svg.addEventListener("dblclick", () => { box = [...all]; show(); });
for (const path of document.querySelectorAll("path, line")) path.style.vectorEffect = "non-scaling-stroke";
"""


def html(trace: Trace, since_ns: int | None = None, until_ns: int | None = None) -> str:
    """The plot as a page in which it can be zoomed and moved; it needs nothing else."""
    return _PAGE.format(title=escape(trace.title), svg=svg(trace, since_ns, until_ns), script=_SCRIPT)


def write(run: Path, flow: int, into: Path, at: str = "", direction: str = "", **span: int | None) -> Path:
    """Draw a flow of a run into a file, an HTML page if its name says so, else an SVG. Raises NoFlow."""
    trace = read(Tables(run), flow, at, direction)
    draw = html if into.suffix in (".html", ".htm") else svg
    into.write_text(draw(trace, **span), encoding="utf-8")
    return into
