"""Which packets a capture keeps, and how much of each: a program for the kernel's packet filter.

Classic BPF, an array of struct sock_filter (linux/filter.h). Expressions are compiled by libpcap, whose
language they are (pcap-filter(7)), when a scenario is planned; the guest only hands programs on.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import struct
from collections.abc import Sequence

SNAP_BYTES = 128  # Ethernet 14, VLAN 4, IPv6 40, TCP 60: all headers, and some
WHOLE_BYTES = 0x40000  # no frame is longer (MAXIMUM_SNAPLEN of libpcap)

# Which packets are kept whole where headers will do, in the notation of the kernel's bpf_asm: ARP, ICMP, BGP
# and DNS, whose content the tables tell of. "fall" is the next line.
_HEADERS = f"""
        ldh 12
        jeq 0x0806 whole fall
        jeq 0x0800 fall ip6
        ldb 23
        jeq 1 whole fall
        jeq 6 ports4 fall
        jeq 17 ports4 cut
ports4: ldh 20
        jset 0x1fff cut fall
        ldxb 14
        ldhx 14
        jeq 179 whole fall
        jeq 53 whole fall
        ldhx 16
        jeq 179 whole fall
        jeq 53 whole cut
ip6:    jeq 0x86dd fall cut
        ldb 20
        jeq 58 whole fall
        jeq 6 ports6 fall
        jeq 17 ports6 cut
ports6: ldh 54
        jeq 179 whole fall
        jeq 53 whole fall
        ldh 56
        jeq 179 whole fall
        jeq 53 whole cut
whole:  ret {WHOLE_BYTES}
cut:    ret {SNAP_BYTES}
"""
_CODES = {"ldh": 0x28, "ldb": 0x30, "ldhx": 0x48, "ldxb": 0xB1, "jeq": 0x15, "jset": 0x45, "ret": 0x06}
_RETURN, _JUMP = 0x06, 0x05
_ETHERNET = 1  # DLT_EN10MB
_ANY_NETMASK = 0xFFFFFFFF  # PCAP_NETMASK_UNKNOWN
_INSTRUCTION = struct.Struct("=HBBI")  # code, jump if true, jump if false, operand

Program = bytes


class FilterError(ValueError):
    """An expression that libpcap refuses, or that cannot be compiled here; the message says why."""


def assemble(text: str = _HEADERS) -> Program:
    """The program of a text in the notation of bpf_asm; by default the one that keeps headers."""
    lines = [line.rpartition(":") for line in text.strip().splitlines()]
    labels = {label.strip(): at for at, (label, _, _) in enumerate(lines) if label}
    steps = []
    for at, (_, _, line) in enumerate(lines):
        name, operand, *targets = line.split()
        jumps = [0 if target == "fall" else labels[target] - at - 1 for target in targets] or [0, 0]
        steps.append(_INSTRUCTION.pack(_CODES[name], *jumps, int(operand, 0)))
    return b"".join(steps)


def returning(size: int) -> Program:
    """The program that keeps so many bytes of every packet; with 0 it keeps none."""
    return _INSTRUCTION.pack(_RETURN, 0, 0, size)


def keeping(takes: str, classes: Sequence[tuple[str, Program]], rest: Program) -> Program:
    """The program that of the packets that `takes` describes (all, if empty) keeps what their class says.

    The first class whose expression fits a packet is its class, else `rest` is. An expression that looks
    beyond the end of a packet loses it, as the kernel has it. Raises FilterError.
    """
    parts: list[tuple[Program, Program | None]] = [(compiled(takes), None)] if takes else []
    parts += [(compiled(expression), kept) for expression, kept in classes]
    program = rest
    for test, kept in reversed(parts):
        program = _branched(test, kept, program)
    return program


def _branched(test: Program, kept: Program | None, following: Program) -> Program:
    """`test` as a branch: to `kept` and else on; without `kept`, what it takes goes on, the rest is lost.

    Only unconditional jumps reach further than 255 steps, so each return of the test becomes one.
    """
    steps = [*_INSTRUCTION.iter_unpack(test)]
    then = 0 if kept is None else len(following)
    code = []
    for at, (operation, yes, no, operand) in enumerate(steps):
        ahead = len(steps) - at - 1
        if operation != _RETURN:
            code.append((operation, yes, no, operand))
        elif operand:
            code.append((_JUMP, 0, 0, ahead + then // _INSTRUCTION.size))
        else:
            code.append((_JUMP, 0, 0, ahead) if kept is not None else (_RETURN, 0, 0, 0))
    return b"".join(_INSTRUCTION.pack(*step) for step in code) + following + (kept or b"")


class _Compiled(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("steps", ctypes.c_void_p))


@functools.cache
def _libpcap() -> ctypes.CDLL:
    name = ctypes.util.find_library("pcap") or "libpcap.so.0.8"
    try:
        library = ctypes.CDLL(name)
    except OSError:
        raise FilterError(
            "libpcap, which compiles filters, is not here: sudo apt-get install libpcap0.8"
        ) from None
    library.pcap_open_dead.restype = ctypes.c_void_p
    library.pcap_open_dead.argtypes = (ctypes.c_int, ctypes.c_int)
    library.pcap_geterr.restype = ctypes.c_char_p
    library.pcap_geterr.argtypes = library.pcap_close.argtypes = (ctypes.c_void_p,)
    library.pcap_compile.argtypes = (
        ctypes.c_void_p, ctypes.POINTER(_Compiled), ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32,
    )  # fmt: skip
    library.pcap_freecode.argtypes = (ctypes.POINTER(_Compiled),)
    return library


@functools.cache
def compiled(expression: str) -> Program:
    """The program that returns 0 for packets an expression of pcap-filter(7) does not fit; or FilterError."""
    library = _libpcap()
    handle = library.pcap_open_dead(_ETHERNET, WHOLE_BYTES)
    program = _Compiled()
    try:
        if library.pcap_compile(handle, ctypes.byref(program), expression.encode(), 1, _ANY_NETMASK):
            raise FilterError(library.pcap_geterr(handle).decode(errors="replace"))
        steps = ctypes.string_at(program.steps, program.length * _INSTRUCTION.size)
        library.pcap_freecode(ctypes.byref(program))
    finally:
        library.pcap_close(handle)
    return steps
