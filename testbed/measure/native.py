"""What is done for every packet is C, compiled once a machine and kept in the user's cache.

ring.c makes a capture file of what the kernel left, scan.c finds the packets in one, parse.c reads them,
follow.c follows their connections, cross.c joins what several capture points saw, columns.c makes columns
of rows. They are called on numpy arrays and hold no lock of Python's, so two captures can be read at a time.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from ctypes import CDLL, POINTER, byref, c_char_p, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SOURCES = tuple(
    Path(__file__).parent / "c" / name
    for name in ("packets.h", "ring.c", "scan.c", "parse.c", "follow.c", "cross.c", "columns.c")
)
# Numbers in captures may be anything: -fwrapv, for what is computed of them may overflow.
COMPILE = ("gcc", "-O3", "-std=gnu11", "-fwrapv", "-shared", "-fPIC", "-fvisibility=hidden")
INSTALL = "sudo apt-get install gcc libc6-dev"


class NotCompiled(RuntimeError):
    """The analysis cannot be compiled; the message says why, and what to do after "; "."""


def _layout(**fields: Any) -> np.dtype[np.void]:
    return np.dtype(list(fields.items()), align=True)


RECORD = _layout(
    offset="i8", unix_ns="i8", captured="u4", wire="u4", interface="u4", link_type="u2", direction="u2"
)
ROW = _layout(
    t_ns="i8", fingerprint="u8", rtt_ns="i8", src="u4", dst="u4", length="u4", tcp_seq="u4", tcp_ack="u4",
    payload_length="u4", ts_val="u4", ts_ecr="u4", flow_id="u4", extra="u4", payload="u4", in_flight="u4",
    interface="u4", sacked="u4", has="u2", sport="u2", dport="u2", proto="u2", ip_id="u2", fragment="u2",
    tcp_flags="u2", tcp_window="u2", mss="u2", vlan="u2", analysis="u2", ttl="u1", tos="u1", icmp_type="u1",
    icmp_code="u1", scale="u1", starts_with="u1", ecn="u1", control="u1",
)  # fmt: skip
EXTRA = _layout(count="u4", words=("u4", 8))
ADDRESS = _layout(bytes="V16", family="u1")
KEPT = _layout(offset="u4", size="u4")
TOTALS = _layout(
    packets="i8", bytes="i8", payload="i8", unique="i8", retransmitted="i8", out_of_order="i8", dup_acks="i8",
    fast="i8", spurious="i8", timeouts="i8", zero_windows="i8", window_fulls="i8", in_flight="i8",
    first_out_ns="i8", first_in_ns="i8",
)  # fmt: skip
SUMMARY = _layout(
    src="u4", dst="u4", interface="u4", sport="u2", dport="u2", proto="u2", opened="u2", isn="i8",
    first_ns="i8", last_ns="i8", handshake_ns="i8", tls_ns="i8", reset="i8", forward=TOTALS, backward=TOTALS,
)  # fmt: skip
SAMPLE = _layout(flow="u4", ahead="u4", rtt_ns="i8")
QUANTILES = _layout(flow="u4", ahead="u4", rtt_min_ns="i8", rtt_p50_ns="i8", rtt_p95_ns="i8")
FIRST = _layout(out_ns="i8", in_ns="i8")
SOURCE = _layout(
    rows="u8", at="i8", count="i8", flows="u8", codes="u8", not_to="u8", not_from="u8", inward="i4", more="i4"
)
COLUMN = _layout(offset="u4", size="u4", out="u8")
HOP = _layout(sent_ns="i8", received_ns="i8", flow_id="u4", source="i4", ambiguous="i4", padding="i4")
_SIZES = {
    "record_size": RECORD, "row_size": ROW, "extra_size": EXTRA, "address_size": ADDRESS, "kept_size": KEPT,
    "summary_size": SUMMARY, "sample_size": SAMPLE, "first_size": FIRST, "source_size": SOURCE,
    "hop_size": HOP, "column_size": COLUMN, "quantiles_size": QUANTILES,
}  # fmt: skip

# Function: what it returns, and what it takes.
_COUNT = POINTER(c_uint64)
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "unring": (c_int64, [c_char_p, c_uint64, c_uint32, c_void_p, _COUNT]),
    "scan_new": (c_void_p, []),
    "scan_free": (None, [c_void_p]),
    "scan_state": (c_int32, [c_void_p]),
    "scan_format": (c_int32, [c_void_p]),
    "scan_interfaces": (c_uint64, [c_void_p]),
    "scan_name": (c_char_p, [c_void_p, c_uint64]),
    "scan_next": (
        c_int64,
        [c_void_p, c_void_p, c_int64, c_uint32, c_void_p, c_int64, POINTER(c_int64)],
    ),
    "parser_new": (c_void_p, [c_int64, c_char_p, c_char_p, c_int32, c_int32, c_int32]),
    "parser_free": (None, [c_void_p]),
    "parser_addresses": (c_void_p, [c_void_p, _COUNT]),
    "parser_extras": (c_void_p, [c_void_p, _COUNT]),
    "parser_kept": (c_void_p, [c_void_p, _COUNT]),
    "parser_payloads": (c_void_p, [c_void_p, _COUNT]),
    "parse": (c_int32, [c_void_p, c_void_p, c_void_p, c_int64, c_void_p]),
    "follow_new": (c_void_p, []),
    "follow_free": (None, [c_void_p]),
    "follow_count": (c_uint64, [c_void_p]),
    "follow_summaries": (None, [c_void_p, c_void_p]),
    "follow_towards": (c_void_p, [c_void_p, _COUNT]),
    "follow_samples": (c_void_p, [c_void_p, _COUNT]),
    "cross_new": (
        c_void_p,
        [c_int64, c_int64, c_int64, c_int32, c_int32, c_void_p, c_int64, c_void_p, c_int64],
    ),
    "cross_free": (None, [c_void_p]),
    "cross": (c_int64, [c_void_p, c_void_p, c_int32, c_void_p, c_int64, POINTER(c_int32)]),
    "settled": (c_int64, [c_void_p, c_int64, c_int64, c_int64]),
    "columns": (None, [c_void_p, c_int64, c_void_p, c_int32]),
    "bitmap": (c_int64, [c_void_p, c_int64, c_uint32, c_void_p]),
    "follow_control": (c_int64, [c_void_p]),
    "quantiles": (c_int64, [c_void_p, c_int64, c_int64, c_void_p]),
    "follow": (c_int32, [c_void_p, c_void_p, c_int64]),
}


def folder() -> Path:
    """The folder under which compiled libraries are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "testbed" / "measure"


def path() -> Path:
    """Where the library of these sources is kept, whether or not it is there."""
    made_of = hashlib.sha256(repr(COMPILE).encode())
    for source in SOURCES:
        made_of.update(source.read_bytes())
    return folder() / f"{made_of.hexdigest()[:16]}.so"


def lacks() -> str:
    """What is missing to compile with, in words; empty if nothing is or it is compiled already."""
    return "" if shutil.which(COMPILE[0]) or path().is_file() else f"the program {COMPILE[0]}"


def compiled() -> Path:
    """The library, compiled first where the cache has none; NotCompiled says why it cannot be.

    It appears whole or not at all, so that any number of processes may need it at once.
    """
    place = path()
    if place.is_file():
        return place
    if lacking := lacks():
        raise NotCompiled(f"the analysis of packets needs {lacking} to be compiled; {INSTALL}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="compiling-", dir=place.parent) as scratch:
            made = Path(scratch) / place.name
            sources = [str(each) for each in SOURCES if each.suffix == ".c"]
            command = [*COMPILE, "-o", str(made), *sources]
            # without a PATH gcc does not find the assembler and the linker
            environment = {"PATH": os.defpath} | os.environ
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise NotCompiled(f"gcc cannot compile the analysis of packets; {INSTALL}\n{done.stderr}")
            made.replace(place)
    except OSError as error:
        raise NotCompiled(
            f"the cache folder {place.parent} cannot be written ({error.strerror}); "
            "set XDG_CACHE_HOME to a folder you may write to"
        ) from error
    return place


@cache
def library() -> CDLL:
    """The compiled functions; NotCompiled if they cannot be had."""
    loaded = CDLL(str(compiled()))
    for name, layout in _SIZES.items():
        size = c_uint32.in_dll(loaded, name).value
        assert size == layout.itemsize, f"{name} is {size} in C and {layout.itemsize} here"
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def pointer(array: npt.NDArray[Any]) -> int:
    """The address of an array's data, which must be contiguous."""
    return array.ctypes.data


def copied(name: str, owner: int, layout: np.dtype[Any]) -> npt.NDArray[Any]:
    """A copy of an array that C keeps: function `name` tells where it is and how long."""
    count = c_uint64()
    at = getattr(library(), name)(owner, byref(count))
    if not count.value:
        return np.empty(0, layout)
    return np.frombuffer(ctypes.string_at(at, count.value * layout.itemsize), layout)
