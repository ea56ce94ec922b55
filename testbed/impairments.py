"""What a link may be told beyond plain quantities, and what its words do to a `Shape`.

Topologies say it of links, faults of links that run. The standard library only, for the guest reads
this too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from testbed.aqms import AQM_OPTIONS
from testbed.job import Loss, Shape
from testbed.units import Queue, show_duration, show_rate, show_share, show_size

OPTION_SHOWN: dict[str, Callable[[Any], str | int]] = {  # by the units of testbed.aqms
    "duration": show_duration,
    "size": show_size,
    "share": show_share,
    "count": int,
}
DISTRIBUTIONS = ("uniform", "normal", "pareto", "paretonormal")


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """How a delay varies; what is None stays as it is (uniform and uncorrelated, if nobody says)."""

    by_ns: int
    distribution: str | None = None
    correlation: float | None = None

    def over(self, below: Jitter) -> Jitter:
        """What this says, laid over what `below` says."""
        return Jitter(
            by_ns=self.by_ns,
            distribution=below.distribution if self.distribution is None else self.distribution,
            correlation=below.correlation if self.correlation is None else self.correlation,
        )


@dataclass(frozen=True, kw_only=True)
class Aqm:
    """An active queue management and its options, by the names of `testbed.aqms`."""

    kind: str
    options: dict[str, int | float] = field(default_factory=dict)


def gilbert_elliott(mean: float, burst: float) -> Loss:
    """The losses that come in bursts of `burst` packets on average and are a share `mean` of all.

    Every packet of the bad state is lost and none of the good one (Gilbert, 1960): netem stays bad
    for 1/r packets on average and good for 1/p, so mean = p / (p + r) and burst = 1 / r. ValueError
    where that would need a p above 1: there is one packet at least between two bursts.
    """
    r = 1 / burst
    p = mean * r / (1 - mean)
    if p > 1:
        raise ValueError(
            f"bursts of {burst:g} can be at most {show_share(burst / (burst + 1))} of all packets"
        )
    return Loss(model="gilbert-elliott", parameters=(p, r, 1.0, 0.0))


def mean_loss(loss: Loss | None) -> float:
    """The share of packets that a model loses in the long run."""
    if loss is None:
        return 0.0
    if loss.model == "gilbert-elliott":
        p, r, bad, good = loss.parameters
        return (p * bad + r * good) / (p + r)
    if loss.model == "4-state":
        # How often netem's chain is in each state, as multiples of state 1 (Salsano et al., 2009): received
        # 1 in a gap, 2 in a burst, lost 3 in a burst, 4 in a gap.
        p13, p31, p32, p23, p14 = loss.parameters
        in_burst = p13 / p31
        received_in_burst = in_burst * p32 / p23 if p32 else 0.0
        return (in_burst + p14) / (1 + received_in_burst + in_burst + p14)
    return loss.parameters[0]


def change(
    *,
    rate: int | None = None,
    trace: str | None = None,
    delay: int | None = None,
    jitter: Jitter | None = None,
    loss: Loss | None = None,
    duplicate: float | None = None,
    reorder: float | None = None,
    corrupt: float | None = None,
    aqm: Aqm | None = None,
    ecn: bool | None = None,
) -> dict[str, Any]:
    """The fields of a `Shape` that a link's words set; those of words that are None are not among them."""
    fields: dict[str, Any] = {
        "delay_ns": None if delay is None else int(delay),
        "duplicate": None if duplicate is None else float(duplicate),
        "reorder": None if reorder is None else float(reorder),
        "corrupt": None if corrupt is None else float(corrupt),
        "ecn": ecn,
    }
    if jitter is not None:
        fields |= {
            "jitter_ns": jitter.by_ns,
            "jitter_distribution": jitter.distribution,
            "jitter_correlation": jitter.correlation,
        }
    if aqm is not None:
        fields |= {"aqm": aqm.kind, "aqm_options": aqm.options}
    fields = {name: value for name, value in fields.items() if value is not None}
    if loss is not None:
        fields["loss"] = loss if any(loss.parameters) else None
    if rate is not None or trace is not None:
        fields |= {"rate_bps": None if rate is None else int(rate), "trace": trace}
    return fields


def room(queue: Queue, rate_bps: int, round_trip_ns: int, frame_bytes: int) -> dict[str, int | None]:
    """The fields of a `Shape` that a queue's length sets."""
    if queue.packets is not None:
        return {"queue_packets": queue.packets, "queue_bytes": None}
    return {"queue_packets": None, "queue_bytes": queue.to_bytes(rate_bps, round_trip_ns, frame_bytes)}


def shown(shape: Shape) -> str:
    """A direction of a link, shortly, in the words of the YAML; what is not there is not told."""
    parts = [shape.trace] if shape.trace else [show_rate(shape.rate_bps)] if shape.rate_bps else []
    parts.append(show_duration(shape.delay_ns))
    if shape.jitter_ns:
        kind = f" {shape.jitter_distribution}" if shape.jitter_distribution != "uniform" else ""
        carried = f" correlation {show_share(shape.jitter_correlation)}" if shape.jitter_correlation else ""
        parts[-1] += f" ± {show_duration(shape.jitter_ns)}{kind}{carried}"
    if shape.loss:
        parts.append(f"loss {_rounded(mean_loss(shape.loss))}" + _model(shape.loss))
    shares = {name: getattr(shape, name) for name in ("duplicate", "reorder", "corrupt")}
    parts += [f"{name} {_rounded(share)}" for name, share in shares.items() if share]
    held = f"{shape.queue_packets} packets" if shape.queue_bytes is None else show_size(shape.queue_bytes)
    parts.append(f"queue {held}")
    if shape.aqm != "fifo":
        options = "".join(
            f" {name} {OPTION_SHOWN[AQM_OPTIONS[shape.aqm][name]](value)}"
            for name, value in shape.aqm_options.items()
        )
        parts.append(f"{shape.aqm}{options}{' ecn' if shape.ecn else ''}")
    return ", ".join(parts)


def _model(loss: Loss) -> str:
    if loss.model == "gilbert-elliott":
        return f" in bursts of {1 / loss.parameters[1]:.3g}"
    return "" if loss.model == "random" else f" ({loss.model})"


def _rounded(share: float) -> str:
    return f"{100 * share:.4g}%"
