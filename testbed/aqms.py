"""Active queue managements and their options, by the names of their tc pages.

Data only: the model refuses what is not here, and the guest sends what is. Values are nanoseconds
(duration), bytes (size), numbers from 0 to 1 (share) and whole numbers (count). A queue's length is
no option: the link says it as `queue`; nor is ECN, a flag of its own.
"""

from __future__ import annotations

AQM_OPTIONS: dict[str, dict[str, str]] = {
    "fifo": {},
    # tc-fq_codel(8)
    "fq_codel": {
        "target": "duration",
        "interval": "duration",
        "quantum": "size",
        "flows": "count",
        "ce_threshold": "duration",
        "memory_limit": "size",
        "drop_batch": "count",
    },
    # tc-codel(8)
    "codel": {"target": "duration", "interval": "duration", "ce_threshold": "duration"},
    # tc-pie(8)
    "pie": {"target": "duration", "tupdate": "duration", "alpha": "count", "beta": "count"},
    # tc-red(8)
    "red": {"min": "size", "max": "size", "avpkt": "size", "burst": "count", "probability": "share"},
    # tc-cake(8); it has no switch for ECN: it always marks what can be marked
    "cake": {"rtt": "duration"},
}

ALWAYS_MARKS = frozenset({"cake"})  # whether or not the link says ecn
