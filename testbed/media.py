"""A title's real video: MPEG-4 files that a DASH player plays, a file a bitrate, read for their segments.

The files are of the on-demand profile of DASH (ISO/IEC 23009-1, 8.3): one index (`sidx`, ISO/IEC 14496-12,
8.16.3) that says where each segment lies, before all segments, as `ffmpeg -movflags
+frag_keyframe+empty_moov+default_base_moof+global_sidx` writes them; H.264 video and no other track. They
are called `<kbit/s>.mp4`, as on every server of the testbed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from testbed.job import Media, Title

_HEADERS_MOST = 2**24  # the first bytes of a file, in which all but the segments is
_VISUAL = 78  # bytes of a VisualSampleEntry before the boxes in it
_S = 10**9


@dataclass(frozen=True)
class Rung:
    """A file: its picture, where its header and index lie, and its segments with their lengths in ns."""

    kbps: int
    codecs: str  # as RFC 6381 has them
    width: int
    height: int
    header: int  # bytes before the index
    index: tuple[int, int]  # the first byte and the last
    sizes: tuple[int, ...]
    lengths_ns: tuple[int, ...]


def read(folder: Path, name: str) -> Title:
    """The title in a folder; ValueError says what is wrong with which file, OSError that one cannot be read.

    What lies before the first segment counts as a part of it.
    """
    paths = {int(path.stem): path for path in folder.glob("*.mp4") if path.stem.isdecimal()}
    if not paths:
        raise ValueError(f"{folder} has no video; write the files as <kbit/s>.mp4, for example 750.mp4")
    rungs = [_rung(path, kbps) for kbps, path in sorted(paths.items())]
    first = rungs[0]
    for rung in rungs:
        if rung.lengths_ns != first.lengths_ns:
            what = f"{folder}: {rung.kbps}.mp4 has other segments than {first.kbps}.mp4"
            raise ValueError(f"{what}; encode all with the same -g and -sc_threshold 0")
    segment_ns, *others = first.lengths_ns
    if any(length != segment_ns for length in others[:-1]) or (others and others[-1] > segment_ns):
        raise ValueError(f"{folder}: segments differ in length; encode with -g and -sc_threshold 0")
    sizes = [(rung.index[1] + 1 + rung.sizes[0], *rung.sizes[1:]) for rung in rungs]
    return Title(
        name=name,
        segment_ns=segment_ns,
        bitrates_kbps=tuple(rung.kbps for rung in rungs),
        segment_bytes=tuple(zip(*sizes, strict=True)),
        media=Media(folder=str(folder.resolve()), manifest=_manifest(rungs)),
    )


def _manifest(rungs: list[Rung]) -> str:
    """The MPD: every file in full, by its index."""
    length_s = sum(rungs[0].lengths_ns) / _S
    mpd = ET.Element(
        "MPD", xmlns="urn:mpeg:dash:schema:mpd:2011", type="static",
        profiles="urn:mpeg:dash:profile:isoff-on-demand:2011",
        mediaPresentationDuration=f"PT{length_s:g}S", minBufferTime=f"PT{rungs[0].lengths_ns[0] / _S:g}S",
    )  # fmt: skip
    period = ET.SubElement(mpd, "Period")
    video = ET.SubElement(
        period, "AdaptationSet", contentType="video", mimeType="video/mp4", segmentAlignment="true",
        subsegmentAlignment="true", subsegmentStartsWithSAP="1",
    )  # fmt: skip
    for rung in rungs:
        told = ET.SubElement(
            video, "Representation", id=str(rung.kbps), bandwidth=str(rung.kbps * 1000), codecs=rung.codecs,
            width=str(rung.width), height=str(rung.height),
        )  # fmt: skip
        ET.SubElement(told, "BaseURL").text = f"{rung.kbps}.mp4"
        base = ET.SubElement(told, "SegmentBase", indexRange="{}-{}".format(*rung.index))
        ET.SubElement(base, "Initialization", range=f"0-{rung.header - 1}")
    ET.indent(mpd)
    return ET.tostring(mpd, encoding="unicode", xml_declaration=True) + "\n"


def _rung(path: Path, kbps: int) -> Rung:
    size = path.stat().st_size
    with path.open("rb") as file:
        data = file.read(_HEADERS_MOST)
    try:
        found: dict[str, tuple[int, int]] = {}
        for kind, at, end in _boxes(data, 0, size):
            if kind == "moof":
                break
            found[kind] = (at, end)
        entry = _video(data, *found["moov"])
        at, end = found["sidx"]
        sizes, lengths_ns = _index(data[at:end])
        avcc = next(
            data[start:stop] for kind, start, stop in _boxes(data, entry + _VISUAL, end) if kind == "avcC"
        )
        width, height = struct.unpack_from(">HH", data, entry + 24)
    except (KeyError, StopIteration, struct.error):
        hint = "encode H.264 with -an -movflags +frag_keyframe+empty_moov+default_base_moof+global_sidx"
        raise ValueError(f"{path} is no MPEG-4 video with an index before its segments; {hint}") from None
    if end + sum(sizes) > size:  # behind the segments there may be what nobody needs
        raise ValueError(f"{path} has {size} bytes of the {end + sum(sizes)} in its index; encode it anew")
    codecs = f"avc1.{avcc[1]:02X}{avcc[2]:02X}{avcc[3]:02X}"
    return Rung(kbps, codecs, width, height, at - 8, (at - 8, end - 1), sizes, lengths_ns)


def _video(data: bytes, at: int, end: int) -> int:
    """Where the contents of the avc1 sample entry of the only track begin."""
    for kind in ("trak", "mdia", "minf", "stbl", "stsd"):
        at, end = next((start, stop) for name, start, stop in _boxes(data, at, end) if name == kind)
    return next(start for name, start, _ in _boxes(data, at + 8, end) if name == "avc1")


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Each box between two places: its kind, and where its contents begin and end."""
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:  # 64 bits of length, or up to the end: neither in what is read here
            return
        yield kind.decode("latin-1"), at + 8, at + size
        at += size


def _index(sidx: bytes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes of the segments, and their lengths in ns."""
    version = sidx[0]
    (timescale,) = struct.unpack_from(">I", sidx, 8)
    at = 12 + (16 if version else 8)
    (count,) = struct.unpack_from(">H", sidx, at + 2)
    entries = [struct.unpack_from(">III", sidx, at + 4 + 12 * number) for number in range(count)]
    if not entries or any(size >> 31 for size, _, _ in entries):  # of further indexes
        raise KeyError("sidx")
    sizes = tuple(size for size, _, _ in entries)
    return sizes, tuple(length * _S // timescale for _, length, _ in entries)
