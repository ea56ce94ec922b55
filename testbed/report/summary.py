"""What happened, in the few sentences one would say to a colleague."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from testbed.job import Fault
from testbed.report.story import Moment, Story
from testbed.report.timeline import stalls
from testbed.units import show_duration


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it is due."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def told(story: Story) -> list[str]:
    """How playback went over all, then a sentence or two for each fault in the order they struck."""
    faults = sorted(story.job.faults, key=lambda fault: (fault.at_ns, fault.id))
    return [*_overall(story), *(_fault(story, fault) for fault in faults)]


def _overall(story: Story) -> Iterator[str]:
    if not story.sessions:
        return
    done = sum(row["outcome"] == "completed" for row in story.sessions)
    stood_ns = sum(row["rebuffer_ns"] for row in story.sessions)
    stood = sum(row["rebuffers"] > 0 for row in story.sessions)
    picture = (
        f"the picture stood still in {stood} of them, for {stood_ns / 1e9:.1f} s together"
        if stood
        else "the picture never stood still"
    )
    yield f"{done} of {counted(len(story.sessions), 'session')} played to the end; {picture}."


def _fault(story: Story, fault: Fault) -> str:
    end_ns = fault.at_ns + fault.lasts_ns
    when = f"⚡{fault.id} At {show_duration(fault.at_ns)}, {fault.kind} struck {fault.target}"
    finding = next(found for found in story.judgement.faults if found.id == fault.id)
    if finding.took_hold is False:
        return f"{when}, but never took hold."
    sure = "" if finding.took_hold else " (nothing shows that it took hold)"
    moved: dict[str, Moment] = {}
    stalled = 0
    for session, moments in story.moments.items():
        for moment in moments:
            if moment.event == "failover" and fault.at_ns <= moment.t_ns <= end_ns:
                moved.setdefault(session, moment)
        stalled += any(fault.at_ns <= began <= end_ns for began, _ in stalls(moments))
    effects = [f"{when} for {show_duration(fault.lasts_ns)}{sure}."]
    if moved:
        ways = Counter(
            (str(moment.detail.get("from")), str(moment.detail.get("to"))) for moment in moved.values()
        )
        paths = ", ".join(f"{a} → {b} ({number})" for (a, b), number in sorted(ways.items()))
        slowest_ms = max(moment.detail.get("took_ns", 0) for moment in moved.values()) / 1e6
        who = counted(len(moved), "session")
        effects.append(f"Meanwhile {who} failed over, {paths}, the slowest in {slowest_ms:.0f} ms;")
    else:
        effects.append("Meanwhile no session failed over;")
    effects.append(f"{counted(stalled, 'session')} stalled." if stalled else "none stalled.")
    if finding.healed is not True:
        effects.append("It was not provably undone.")
    return " ".join(effects)
