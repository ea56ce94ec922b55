"""A process that talks to many at once may have many files open."""

from __future__ import annotations

import contextlib
import resource

_MOST = 2**17


def open_many() -> None:
    """Have as many files open as the system lets: its usual 1,024 are fewer than a service's clients.

    Who cannot accept a connection for want of a descriptor is told at once that it waits still, so in
    virtual time, where trying takes none, it would try forever.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (_MOST, most):  # outside of the guest nobody may raise what is the most
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return
