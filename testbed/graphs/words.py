"""What a link of a job does, said again in the words of a topology's YAML."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from testbed.aqms import AQM_OPTIONS
from testbed.impairments import OPTION_SHOWN
from testbed.job import Job, Link, Loss, Shape
from testbed.model.link import MTU
from testbed.units import show_duration, show_rate, show_share, show_size

_LOSS_WORDS = {"gilbert-elliott": ("p", "r", "bad", "good"), "4-state": ("p13", "p31", "p32", "p23", "p14")}

LISTED_MOST = 4

Words = dict[str, Any]


def of_link(job: Job, link: Link) -> Words:
    """A link's words: those of both directions, and what either has of its own."""
    there, back = of_shape(link.a_to_b), of_shape(link.b_to_a)
    both = {key: value for key, value in there.items() if back.get(key) == value}
    words: Words = {"relation": link.relation} if link.relation else {}
    words |= both
    mtu = next(port.mtu for port in job.node(link.a).interfaces if port.name == link.a_interface)
    if mtu != MTU:
        words["mtu"] = mtu
    for direction, own in (("forward", there), ("backward", back)):
        if rest := {key: value for key, value in own.items() if key not in both}:
            words[direction] = rest
    return words


def of_shape(shape: Shape) -> Words:
    """The words of one direction; a trace is a file, which other tools cannot read."""
    words: Words = {}
    if shape.rate_bps:
        words["rate"] = show_rate(shape.rate_bps)
    if shape.delay_ns:
        words["delay"] = show_duration(shape.delay_ns)
    if shape.jitter_ns:
        words["jitter"] = _jitter(shape)
    if shape.loss is not None:
        words["loss"] = _loss(shape.loss)
    for name in ("duplicate", "reorder", "corrupt"):
        if share := getattr(shape, name):
            words[name] = show_share(share)
    if shape.queue_bytes is not None:
        words["queue"] = show_size(shape.queue_bytes)
    elif shape.queue_packets not in (None, Shape().queue_packets):
        words["queue"] = f"{shape.queue_packets}p"
    if shape.aqm != "fifo":
        options = {
            name: OPTION_SHOWN[AQM_OPTIONS[shape.aqm][name]](value)
            for name, value in shape.aqm_options.items()
        }
        words["aqm"] = {"kind": shape.aqm, **options} if options else shape.aqm
    if shape.ecn:
        words["ecn"] = True
    return words


def listed(names: Iterable[str]) -> str:
    """The first names and how many there are more."""
    every = list(dict.fromkeys(names))
    return ", ".join(every[:LISTED_MOST]) + (
        f" and {len(every) - LISTED_MOST} more" if len(every) > LISTED_MOST else ""
    )


def _jitter(shape: Shape) -> str | Words:
    by = show_duration(shape.jitter_ns)
    words = {"by": by}
    if shape.jitter_distribution != "uniform":
        words["distribution"] = shape.jitter_distribution
    if shape.jitter_correlation:
        words["correlation"] = show_share(shape.jitter_correlation)
    return words if len(words) > 1 else by


def _loss(loss: Loss) -> str | Words:
    if loss.model == "random":
        return show_share(loss.parameters[0])
    names = _LOSS_WORDS[loss.model]
    return {"model": loss.model} | {
        name: show_share(value) for name, value in zip(names, loss.parameters, strict=True)
    }
