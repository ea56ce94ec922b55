"""Plain senders and receivers for tests that measure links; they run inside the guest.

A time `after_ns` counts from when the service is started, a second or two before the scenario.
"""

import signal
import socket
import struct
import time
from pathlib import Path

from testbed.emulate import attributes, rtnetlink
from testbed.emulate.netlink import Netlink, nested

PORT = 9000
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33  # beyond what net.core allows everybody
_RTA_METRICS, _RTAX_QUICKACK = 8, 15
_IP_MTU_DISCOVER, _DONT, _DO = 10, 0, 2  # linux/in.h


def send(config):
    """Send UDP datagrams, `count` of each of `sizes` (bytes of frame), `burst` of them every `every_ns`."""
    burst = config.get("burst", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 1 << 28)
        out.bind(("0.0.0.0", PORT))  # what the other end sends comes here, and nobody answers with ICMP
        out.connect((config["to"], PORT))
        due = time.time_ns() + config["after_ns"]
        time.sleep(config["after_ns"] / 1e9 - 1)
        out.send(bytes(18))  # has the neighbours' addresses resolved, when the other end is there
        for size in config["sizes"]:
            padding = bytes(size - 46)  # Ethernet 14, IPv4 20, UDP 8, number 4
            for first in range(0, config["count"], burst):
                if (ahead := due - time.time_ns()) > 0:
                    time.sleep(ahead / 1e9)
                for number in range(first, min(first + burst, config["count"])):
                    out.send(number.to_bytes(4) + padding)  # no two alike, so that each can be followed
                due += config["every_ns"]
        signal.pause()


def scatter(config):
    """Send `count` equal UDP datagrams of each of `sizes` (bytes of payload) in turn, two every `every_ns`.

    What fits into a packet must not be fragmented, so it has identification 0, as RFC 6864 allows, and is
    equal to the last one in all of its bytes; the rest becomes fragments.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind(("0.0.0.0", PORT))
        time.sleep(config["after_ns"] / 1e9)
        for number in range(config["count"]):
            for size in config["sizes"]:
                out.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _DO if size < 1472 else _DONT)
                out.sendto(bytes(size), (config["to"], PORT))
            if number % 2:
                time.sleep(config["every_ns"] / 1e9)
        signal.pause()


def sink(_config):
    """Receive nothing, so that nobody answers with ICMP; the socket buffer overflows unseen."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as into:
        into.bind(("0.0.0.0", PORT))
        signal.pause()


def stream(config):
    """Send over one TCP connection for `lasts_ns`, or `bytes` of it, under a congestion control by name.

    `buffer_bytes` is what the sender may have in flight and in waiting; `sysctls` are those of its
    namespace, below net.ipv4.
    """
    _set(config)
    with socket.socket() as out:
        out.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, config["congestion"].encode())
        out.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, config["buffer_bytes"])
        time.sleep(config["after_ns"] / 1e9)
        out.connect((config["to"], PORT))
        block = memoryview(bytes(1 << 20))
        if "bytes" in config:
            left = config["bytes"]
            while left > 0:
                left -= out.send(block[:left])
        else:
            until = time.time_ns() + config["lasts_ns"]
            while time.time_ns() < until:
                out.send(block[: 1 << 17])
            out.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))  # stop now


def swallow(config):
    """Take what `stream` sends and throw it away, woken only when `take_bytes` have come.

    Few system calls are cheap; a receiver that slept between its reads would be as cheap, but the kernel
    puts acknowledgements off while data lies unread that was asked for (SO_RCVLOWAT in socket(7)).
    With `quickack` every segment is acknowledged by itself. With `nap_ns` little is taken at a time and with
    naps between, into a small buffer, so that the window closes.
    """
    _set(config)
    if config.get("quickack"):
        _acknowledge_each(config["to"], config["via"])
    with socket.socket() as listening:
        nap_ns = config.get("nap_ns", 0)
        listening.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 17 if nap_ns else 1 << 24)
        listening.bind(("0.0.0.0", PORT))
        listening.listen()
        connection, _ = listening.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, config["take_bytes"])
        room = bytearray(1 << 23)
        try:
            while connection.recv_into(room, 1 << 17 if nap_ns else 0, socket.MSG_TRUNC):  # uncopied (tcp(7))
                time.sleep(nap_ns / 1e9) if nap_ns else None
        except ConnectionResetError:
            return


def _set(config):
    for name, value in config.get("sysctls", {}).items():
        Path("/proc/sys/net/ipv4", name).write_text(value)


def _acknowledge_each(peer, via):
    """Give the way back to the sender the attribute `quickack 1` (ip-route(8))."""
    route = rtnetlink.route(f"{peer}/31", via)
    metrics = nested(_RTA_METRICS, attributes.packed(_RTAX_QUICKACK, "I", 1))
    netlink = Netlink()
    netlink.ask(route._replace(body=route.body + metrics))
    netlink.close()
