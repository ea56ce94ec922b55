"""A node is a network namespace held open by a file descriptor: no process, no bind mount.

Python 3.11's os module has neither setns nor unshare, so they are called through libc. Both act on
the calling thread alone.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET, CLONE_NEWNS = 0x40000000, 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)
_OWN = "/proc/thread-self/ns/net"
# What a new namespace takes its per-interface settings from (the kernel's ip-sysctl.rst); 3: where it is made
_INHERIT = Path("/proc/sys/net/core/devconf_inherit_init_net")
_FROM_WHERE_IT_IS_MADE = "3"


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


def create(like: int) -> int:
    """Move this thread into a new network namespace and return a file descriptor for it.

    It has the settings of the namespace `like`, if made while `inheriting`.
    """
    enter(like)
    _call("unshare", CLONE_NEWNET)
    return current()


@contextmanager
def inheriting() -> Iterator[None]:
    """Have new namespaces take the settings of the one that they are made in."""
    before = _INHERIT.read_text()
    _INHERIT.write_text(_FROM_WHERE_IT_IS_MADE)
    try:
        yield
    finally:
        _INHERIT.write_text(before)


@contextmanager
def returning() -> Iterator[int]:
    """Be back at the end in the network namespace of now, which is what the block gets."""
    here = current()
    try:
        yield here
    finally:
        enter(here)
        os.close(here)


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Be in a network namespace for a while."""
    with returning():
        enter(namespace)
        yield


def own_mounts() -> None:
    """Have this process's mounts to itself, and at /sys the network namespace that it is in."""
    _call("unshare", CLONE_NEWNS)
    for where, kind, flags in ((b"/", None, _MS_REC | _MS_PRIVATE), (b"/sys", b"sysfs", 0)):
        if _libc.mount(b"none", where, kind, flags, None) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"mount on {where.decode()}: {os.strerror(number)}")


def enter_mounts(pid: int) -> None:
    """Have the mounts of another process."""
    here, there = Path.cwd(), os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    _call("setns", there, CLONE_NEWNS)
    os.close(there)
    os.chdir(here)  # it was left at the root
