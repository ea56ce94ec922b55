"""A guest keeps to one core of the processor, and no two guests of a machine to the same.

User-Mode Linux is a process that traces those of its guest, and only one of them runs at a time. On two cores
every system call of the guest wakes the other core up and waits for it, which costs more than the call.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept() -> Iterator[int | None]:
    """Keep a core that no other guest of this machine keeps; None if there is none, or one core only.

    Who keeps a core holds a socket of its name in the abstract namespace (unix(7)), which is gone with its
    process, however that ends. Without a core of its own a guest runs wherever the host puts it.
    """
    cores = sorted(os.sched_getaffinity(0))
    begin = os.getpid() % len(cores)  # guests that cannot see one another, in containers, begin elsewhere
    for core in cores[begin:] + cores[:begin] if len(cores) > 1 else ():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
            try:
                held.bind(f"\0testbed/core/{core}")
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            yield core
            return
    yield None
