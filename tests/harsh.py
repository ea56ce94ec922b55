"""TCP over links that lose, copy, reorder and overflow: what joins and labels of packets are held to."""

from rows import MS, PLAIN, WIRE, Row, S, run

from testbed.job import Loss, Shape

LOST, FEW = Loss(parameters=(0.01,)), Loss(parameters=(0.002,))
# The kernel counts a copy that it made and lost again as a drop, while the packet went on: no capture can
# show that. So what makes copies loses nothing here, and what loses makes none.
PATHS = {
    "queue": (Shape(rate_bps=20_000_000, delay_ns=10 * MS, queue_packets=12), Shape(delay_ns=10 * MS)),
    "loss": (Shape(delay_ns=10 * MS, loss=LOST), Shape(delay_ns=10 * MS, loss=LOST)),
    "copies": (
        Shape(rate_bps=50_000_000, delay_ns=5 * MS, duplicate=0.01),
        Shape(delay_ns=5 * MS, duplicate=0.01),
    ),
    "disorder": (
        Shape(rate_bps=50_000_000, delay_ns=5 * MS, reorder=0.01, loss=FEW),
        Shape(delay_ns=5 * MS, reorder=0.01, loss=FEW),
    ),
    "everything": (
        Shape(rate_bps=30_000_000, delay_ns=8 * MS, jitter_ns=1 * MS, duplicate=0.02, reorder=0.02),
        Shape(delay_ns=8 * MS, jitter_ns=1 * MS, loss=FEW, reorder=0.02, queue_packets=4),
    ),
    "stalls": (Shape(rate_bps=100_000_000, delay_ns=5 * MS), Shape(delay_ns=5 * MS)),
}
BYTES = (6_000_000, 1_000_000)
SECOND = (Shape(delay_ns=2 * MS, loss=FEW), Shape(delay_ns=2 * MS, loss=FEW))


def rows():
    """Each path between two plain wires, and a second link with losses behind it.

    One carries datagrams that are equal in every byte, and fragments; the others TCP.
    """
    made = [
        Row(
            name=name, hops=(WIRE, path, SECOND, (PLAIN, WIRE[0])),
            sender="traffic:stream",
            sending={
                "after_ns": 2 * S, "congestion": "cubic", "buffer_bytes": 1 << 20,
                "bytes": BYTES[name == "stalls"],
            },
            receiver="traffic:swallow",
            receiving={"take_bytes": 1, "nap_ns": 1500 * MS if name == "stalls" else 0},
        )
        for name, path in PATHS.items()
    ]  # fmt: skip
    datagrams = Row(
        name="datagrams", hops=(WIRE, PATHS["copies"], PATHS["queue"], SECOND),
        sender="traffic:scatter",
        sending={"after_ns": 2 * S, "count": 1500, "sizes": [200, 4000, 200], "every_ns": 4 * MS},
        receiver="traffic:sink",
    )  # fmt: skip
    return [*made, datagrams]


def recorded(folder):
    """The tables of one run of them all, long enough for nothing to be under way at its end."""
    return run("harsh", rows(), folder, lasts_ns=25 * S, sample_ns=1 * S)
