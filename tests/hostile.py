"""Damaged captures through all that reads captures, compiled with checks of every access and shift.

Run with the address sanitizer preloaded (tests/test_hostile.py); says how much it read.
"""

import random
import struct
import sys
from pathlib import Path

from captures import (
    ACK,
    EPOCH_NS,
    FIN,
    MS,
    RST,
    SYN,
    Network,
    enhanced,
    ethernet,
    ipv4,
    ipv6,
    mac,
    section,
    stamps,
    tcp,
    udp,
    write_pcap,
)  # fmt: skip

from testbed.measure import native
from testbed.measure.foreign import tabulate
from testbed.measure.tables import write

native.COMPILE = (*native.COMPILE, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

UP, DOWN = "c1 r1 ix r2 s1", "s1 r2 ix r1 c1"
BLOCKS = b"\x01\x01\x05\x12" + struct.pack(">IIII", 10, 20, 30, 40)
SYN_OPTIONS = b"\x02\x04\x05\xb4\x04\x02\x03\x03\xff" + stamps(1, 0)[2:] + b"\x01"
BGP_OPEN = b"\xff" * 16 + struct.pack(">HBBHHIB", 29, 1, 4, 64500, 90, 0x0A000001, 0)
QUESTION = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + b"\x03www\x07example\x00\x00\x01\x00\x01"
QUIC = b"\xc3\x00\x00\x00\x01\x08" + bytes(20)


def segments(dice):
    """Segments of every kind that is looked into, with their protocols."""
    seq, port = dice.choice((0, 5, 2**31, 2**32 - 9)), dice.choice((53, 179, 443, 4000))
    quoted = ipv4(tcp(4000, 443, 1, 1, ACK)[:8], "10.0.0.0", "10.0.4.1", 6)
    return [
        (6, tcp(4001, port, seq, 0, SYN, options=SYN_OPTIONS)),
        (6, tcp(port, 4001, 77, seq + 1, SYN | ACK, options=SYN_OPTIONS)),
        (6, tcp(4001, port, seq + 1, 78, ACK, bytes(dice.randrange(90)), options=stamps(5, 6))),
        (6, tcp(port, 4001, 78, seq + dice.randrange(200), ACK, options=BLOCKS, window=dice.choice((0, 9)))),
        (6, tcp(4001, 179, seq + 1, 78, ACK, BGP_OPEN)),
        (6, tcp(4001, 443, seq + 1, 78, ACK, b"\x16\x03\x01\x00\x30\x01")),
        (6, tcp(4001, port, seq, 78, dice.choice((FIN | ACK, RST)))),
        (17, udp(4001, 53, QUESTION)),
        (17, udp(4001, 443, QUIC)),
        (1, b"\x03\x01" + bytes(6) + quoted),
        (89, bytes(24)),
    ]


def frames(dice):
    """Frames of them, some in IPv6 behind extension headers, some fragments, some tagged."""
    for proto, segment in segments(dice):
        headers, first = b"", proto
        for kind in dice.sample((0, 43, 44, 51, 60), dice.randrange(3)):
            headers, first = bytes([first, dice.choice((0, 0, 1, 255))]) + bytes(6) + headers, kind
        whole = bytearray(ipv4(segment, "10.0.0.0", "10.0.4.1", proto))
        whole[6:8] = dice.choice((0x4000, 0x4000, 0x2000, 0x2005)).to_bytes(2)
        payload, kind = dice.choice(
            ((bytes(whole), 0x0800), (ipv6(headers + segment, "2001:db8::1", "2001:db8::2", first), 0x86DD))
        )
        yield ethernet(payload, mac(1), mac(2), kind, vlan=dice.choice((None, 7)))


def spoilt(dice, data):
    """The same with some bytes changed, and perhaps its end cut off."""
    data = bytearray(data)
    for _ in range(dice.choice((0, 1, 3, 30))):
        data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 255, dice.randrange(256)))
    return bytes(data[: dice.choice((len(data), dice.randrange(1, len(data))))])


def foreign(dice, folder):
    """A capture by somebody else: pcap or pcapng, its packets damaged, then the file itself."""
    seen = []
    for _ in range(dice.randrange(1, 8)):
        for frame in frames(dice):
            step = dice.choice((0, 1000, 10**9, -5000))
            seen.append((EPOCH_NS + len(seen) * 1000 + step, spoilt(dice, frame)))
    order, path = dice.choice("<>"), folder / "a.pcap"
    if dice.random() < 0.5:
        write_pcap(path, seen, order=order, microseconds=dice.random() < 0.5)
    else:
        data = section([("a", 9), ("b", dice.choice((6, 0, 12, 127, 128, 255)))], order)
        for t_ns, frame in seen:
            data += enhanced(t_ns, frame, interface=dice.randrange(2), order=order, way=dice.randrange(3))
        path.write_bytes(data)
    if dice.random() < 0.5:
        path.write_bytes(spoilt(dice, path.read_bytes()))
    rows, _ = tabulate([path], folder / "tables")
    return rows["packets"]


def joined(dice, folder):
    """The captures of a run, damaged on their way."""
    net = Network()
    for number in range(dice.randrange(1, 60)):
        proto, segment = dice.choice(segments(dice))
        where = {
            "proto": proto,
            "ident": dice.choice((0, number)),
            "lost_at": dice.choice(("", "", "r1", "r2")),
        }
        net.send(number * MS, dice.choice((UP, DOWN)), segment, hop_ns=dice.choice((0, MS, 90 * MS)), **where)
    for seen in net.seen.values():
        seen[:] = [(t_ns, spoilt(dice, frame) if dice.random() < 0.2 else frame) for t_ns, frame in seen]
    run = net.write(folder / "run", rings=dice.random() < 0.3)
    for path in (run / "captures").iterdir():
        if dice.random() < 0.2 and path.stat().st_size:
            path.write_bytes(spoilt(dice, path.read_bytes()))
    return write(run)["packets"]


def main(folder, rounds):
    """Read damaged captures, as many rounds as are asked for."""
    packets = 0
    for number in range(rounds):
        dice = random.Random(number)
        own = folder / str(number)
        own.mkdir()
        packets += (joined if number % 8 == 7 else foreign)(dice, own)
    print(f"{packets} packets")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
