"""What earlier runs and builds left that nobody needs any more: found here, removed by `testbed clean`."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.kernel import build

HOUR_S, DAY_S = 3600, 86_400


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can go, and why."""

    path: Path
    why: str

    @property
    def size(self) -> int:
        """Its bytes."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())

    def remove(self) -> None:
        """Remove it; one that is gone already is as good."""
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)


def found(runs: Path, older_s: float | None = None) -> list[Leftover]:
    """Everything that can go: of the runs, of the user's cache, and of the temporary folder.

    A run goes if it never finished, and with `older_s` also one in which nothing has changed, and a kernel
    that nobody has started, for so long. What changed within the last hour stays: it may be at work.
    """
    now = time.time()
    return [*_runs(runs, older_s, now), *_cache(older_s, now), *_temporary(now)]


def _runs(runs: Path, older_s: float | None, now: float) -> Iterator[Leftover]:
    for job in sorted(runs.glob("*/*/job.json")):
        run = job.parent
        if run.is_symlink():
            continue
        idle_s = now - max(path.lstat().st_mtime for path in (run, *run.iterdir()))
        if idle_s < HOUR_S:
            continue
        if not _finished(run):
            yield Leftover(run, "never finished")
        elif older_s is not None and idle_s > older_s:
            yield Leftover(run, f"{idle_s / DAY_S:.0f} days old")
        else:
            yield from (Leftover(scratch, "a guest's scratch") for scratch in sorted(run.glob("guest-*")))


def _finished(run: Path) -> bool:
    try:
        return not json.loads((run / "run.json").read_text())["reason"]
    except (OSError, ValueError, KeyError):
        return False


def _cache(older_s: float | None, now: float) -> Iterator[Leftover]:
    kernels = build.cache()
    for path in sorted(kernels.glob("*/")) if kernels.is_dir() else ():
        if path.name.startswith("building-"):
            if now - path.stat().st_mtime > DAY_S:
                yield Leftover(path, "a build that was broken off")
        elif older_s is not None and now - _used(path) > older_s:
            yield Leftover(path, "a kernel that nobody starts")
    for path in sorted(kernels.with_name("library").glob("making-*")):
        if now - path.stat().st_mtime > DAY_S:
            yield Leftover(path, "a library that was never whole")


def _used(kernel: Path) -> float:
    """When one of a kernel's files was last read or written, to a day (relatime)."""
    return max((max(file.stat().st_atime, file.stat().st_mtime) for file in kernel.iterdir()), default=0.0)


def _temporary(now: float) -> Iterator[Leftover]:
    for path in sorted(Path(tempfile.gettempdir()).glob("testbed-*.traceback")):
        if now - path.stat().st_mtime > DAY_S:
            yield Leftover(path, "the traceback of an error long ago")


def mend_links(runs: Path) -> None:
    """Let each `latest` that leads nowhere lead to the newest run that is left, or remove it."""
    if not runs.is_dir():
        return
    folders = [runs, *(path for path in runs.iterdir() if path.is_dir() and not path.is_symlink())]
    for link in (folder / "latest" for folder in folders):
        if link.is_symlink() and not link.exists():
            link.unlink()
            below = "*/*/job.json" if link.parent == runs else "*/job.json"
            left = [job.parent for job in link.parent.glob(below) if not job.parent.is_symlink()]
            if left:
                newest = max(left, key=lambda run: run.name)
                link.symlink_to(newest.relative_to(link.parent))
