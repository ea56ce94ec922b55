"""The guest's Python library is a sealed copy, the same wherever the original lies.

A process's memory is laid out by all that it did before, down to the length of a folder's listing, and
OpenSSL seeds its generator with addresses in it. So the guest does not import from a checkout and a
virtual environment that differ from machine to machine: it gets our package and the libraries it
needs, already compiled, at fixed paths. A copy is named by its contents and kept in the user's cache.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from py_compile import PycInvalidationMode

from testbed.kernel import build

THEIRS = ("dns", "pycurl", "pyroute2")
_KEPT = 8  # copies of each kind, those used last; more are kept only while guests run that have them open
_SUFFIXES = (".py", ".so")


def seal(names: Sequence[str], place: str) -> Path:
    """The folder that holds these packages, to be mounted at `place` in the guest.

    ModuleNotFoundError if one is not installed.
    """
    files = sorted(pair for name in names for pair in _files(name))
    digest = hashlib.sha256(importlib.util.MAGIC_NUMBER + place.encode())
    for relative, path in files:
        content = path.read_bytes()
        digest.update(f"{relative} {len(content)}\n".encode() + content)
    sealed = _cache() / f"{names[0]}-{digest.hexdigest()[:16]}"
    if sealed.exists():
        os.utime(sealed)
    else:
        _make(sealed, files, place)
        _prune(names[0])
    return sealed


def _cache() -> Path:
    return build.cache().with_name("library")


def _files(name: str) -> Iterator[tuple[str, Path]]:
    """Every file of a package that is needed to run it, by its path in the library."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no Python library {name}", name=name)
    origin = Path(spec.origin)
    if not spec.submodule_search_locations:
        yield origin.name, origin
        return
    root = origin.parent.parent
    for folder in (origin.parent, root / f"{name}.libs"):  # wheels keep their shared libraries beside them
        for path in folder.rglob("*"):
            if path.is_file() and (path.suffix in _SUFFIXES or ".so." in path.name):
                yield str(path.relative_to(root)), path


def _make(sealed: Path, files: list[tuple[str, Path]], place: str) -> None:
    """Copy and compile beside the place, and rename: a copy is whole or not there."""
    sealed.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=sealed.parent, prefix="making-") as name:
        made = Path(name) / "library"
        for relative, path in files:
            target = made / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        compileall.compile_dir(
            made,
            maxlevels=100,
            quiet=2,
            stripdir=str(made),
            prependdir=place,
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,  # the times of the files do not count
        )
        try:
            made.rename(sealed)
        except OSError:
            if not sealed.exists():  # else another run was faster, with the same
                raise


def _prune(kind: str) -> None:
    copies = sorted(_cache().glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in copies[_KEPT:]:
        if not _open_in_a_guest(old):
            shutil.rmtree(old, ignore_errors=True)


def _open_in_a_guest(copy: Path) -> bool:
    """Whether somebody holds a lock on the folder, as `testbed.kernel.boot` does for a guest."""
    folder = os.open(copy, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(folder)
    return False
