"""A node is a network namespace held open by a file descriptor: no process, no bind mount.

Python 3.11's os module has neither setns nor unshare, so they are called through libc. Both act on
the calling thread alone.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_OWN = "/proc/thread-self/ns/net"


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def enter(namespace: int) -> None:
    """Move this thread into the network namespace behind a file descriptor."""
    _call("setns", namespace, CLONE_NEWNET)


def current() -> int:
    """A file descriptor for this thread's network namespace."""
    return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)


def create() -> int:
    """A file descriptor for a new network namespace; this thread stays where it is."""
    here = current()
    try:
        _call("unshare", CLONE_NEWNET)
        return current()
    finally:
        enter(here)
        os.close(here)


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Be in a network namespace for a while."""
    here = current()
    enter(namespace)
    try:
        yield
    finally:
        enter(here)
        os.close(here)
