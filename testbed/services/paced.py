"""A server whose connections are paced by the kernel, though it does not know how to ask for that.

What a listening socket says in SO_MAX_PACING_RATE (socket(7)) holds for every connection accepted on it. So
the sockets are made here and handed to nginx, which takes open sockets over by the environment variable
NGINX as it does when its program is exchanged (nginx.org, "Controlling nginx"). `run(config)`, with

    addresses, port   where to listen
    pacing_bps        of each connection
    argv              nginx and its arguments, which name the same addresses
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

SO_MAX_PACING_RATE = 47  # asm-generic/socket.h; bytes a second, 64 bits wide since Linux 4.20
_BACKLOG = 511  # nginx's own


def run(config: dict[str, Any]) -> None:
    """Become nginx."""
    handed = []
    for address in config["addresses"]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        rate = struct.pack("=Q", config["pacing_bps"] // 8)
        listening.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, rate)
        listening.bind((address, config["port"]))
        listening.listen(_BACKLOG)
        listening.set_inheritable(True)
        handed.append(listening.detach())
    environment = {**os.environ, "NGINX": "".join(f"{number};" for number in handed)}
    os.execvpe(config["argv"][0], config["argv"], environment)  # noqa: S606 - no shell is wanted
