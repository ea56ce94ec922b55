"""What every cluster of OCAs is to hold: its manifest, the most popular titles that fit."""

from __future__ import annotations

from testbed.plan.blueprint import Blueprint


def cluster(oca: str, plan: Blueprint) -> str:
    """The manifest cluster of an OCA: its own word, or the router it is at."""
    spec = plan.topology.ocas[oca]
    return spec.cluster or spec.at


def manifests(plan: Blueprint) -> dict[str, list[str]]:
    """The titles of every cluster in the order in which they are wanted; none where nothing is filled."""
    fill = plan.fill
    if fill is None:
        return {}
    sizes = {name: sum(files.values()) for name, files in files_of(plan).items()}
    popular = [*fill.popularity, *(name for name in sizes if name not in fill.popularity)]
    found = {}
    for each in sorted({cluster(oca, plan) for oca in plan.topology.ocas}):
        wanted, room = fill.manifests.get(each, popular), fill.capacity
        if room is not None:
            held = 0
            wanted = [title for title in wanted if (held := held + sizes[title]) <= room]
        found[each] = list(wanted)
    return found


def files_of(plan: Blueprint) -> dict[str, dict[str, int]]:
    """The files of every title and their lengths in bytes."""
    return {
        title.name: {
            f"{kbps}.mp4": sum(segment[rung] for segment in title.segment_bytes)
            for rung, kbps in enumerate(title.bitrates_kbps)
        }
        for title in plan.titles
    }
