"""Plain senders and receivers for tests that measure links; they run inside the guest."""

import socket
import time

PORT = 9000


def send(config):
    """Send UDP datagrams of `sizes` bytes (of frame), each `count` times, `every_ns` apart."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)
        out.sendto(bytes(18), (config["to"], PORT))  # has the neighbours' addresses resolved
        due = time.time_ns() + config["after_ns"]
        for size in config["sizes"]:
            for number in range(config["count"]):
                payload = number.to_bytes(4) + bytes(size - 46)  # no two alike, so that each can be followed
                if (ahead := due - time.time_ns()) > 0:
                    time.sleep(ahead / 1e9)
                out.sendto(payload, (config["to"], PORT))
                due += config["every_ns"]


def sink(_config):
    """Receive nothing, so that nobody answers with ICMP; the socket buffer overflows unseen."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as into:
        into.bind(("0.0.0.0", PORT))
        while True:
            time.sleep(3600)
