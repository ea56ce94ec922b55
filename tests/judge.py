"""tshark judges what is said of TCP segments."""

import subprocess

from testbed.measure.packets import ANALYSES

# tshark's field, where it is not our word with underscores.
FIELDS = {
    "duplicate-ack": "duplicate_ack",
    "previous-segment-not-captured": "lost_segment",
    "acked-unseen-segment": "ack_lost_segment",
    "port-numbers-reused": "reused_ports",
}
LABELS = [label for label in ANALYSES if label != "timeout"]  # which tshark has no field for
NEAR_NS = 1000


def judged(path):
    """What tshark says of each frame of a capture: its labels, and its round-trip time in nanoseconds."""
    command = ["tshark", "-r", str(path), "-n", "-T", "fields", "-E", "occurrence=f"]
    for field in ["ack_rtt", *(FIELDS.get(label, label.replace("-", "_")) for label in LABELS)]:
        command += ["-e", f"tcp.analysis.{field}"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")[:-1]
    return [
        (
            {label for label, said in zip(LABELS, row[1:], strict=True) if said},
            round(float(row[0]) * 1e9) if row[0] else None,
        )
        for row in (line.split("\t") for line in lines)
    ]


def labels(analysis):
    """Those of our labels that tshark has, too."""
    return set((analysis or "").split()) - {"timeout"}


def near(one_ns, other_ns):
    """Whether two round-trip times are the same to a microsecond, or both are none."""
    return one_ns == other_ns or (
        one_ns is not None and other_ns is not None and abs(one_ns - other_ns) <= NEAR_NS
    )
