"""What is imported is read whole, as text, and refused with its file and line where it is no good."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.refusal import Problem, Refused

BYTES_MOST = 2**28  # unpacked; a month's as-rel has some 15 MB


def refused(path: Path, line: int, what: str, hint: str) -> Refused:
    """The refusal of one line of a file, or of all of it where the line is 0."""
    return Refused([Problem(str(path), line, 1 if line else 0, "", what, hint)])


def text(path: Path) -> str:
    """The text of a file, unpacked if it is a .bz2, .gz or .xz; Refused if there is none to be had."""
    unpacked: dict[str, Callable[..., Any]] = {".bz2": bz2.open, ".gz": gzip.open, ".xz": lzma.open}
    opened = unpacked.get(path.suffix, open)
    try:
        with opened(path, "rb") as file:
            raw: bytes = file.read(BYTES_MOST + 1)
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as problem:
        raise refused(path, 0, f"is no whole {path.suffix} file ({problem})", "fetch it again") from None
    except (OSError, ValueError) as problem:  # ValueError: a path with a null in it
        why = getattr(problem, "strerror", None) or str(problem)
        raise refused(path, 0, f"cannot be read ({why})", "write the path of a file") from None
    if len(raw) > BYTES_MOST:
        raise refused(path, 0, f"is larger than {BYTES_MOST >> 20} MiB", "import a part of it")
    if not raw.strip():
        raise refused(path, 0, "is empty", "fetch it again")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        byte = raw[problem.start]
        raise refused(path, line, f"the byte 0x{byte:02x} is not UTF-8", "save it as UTF-8") from None
