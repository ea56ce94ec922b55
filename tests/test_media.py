"""Real video as a title: what its files say of their segments, and what is refused."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from testbed import media, pipeline
from testbed.job import Title, revive

METRO = Path(__file__).parent.parent / "topologies" / "metro.yaml"
S = 10**9
NAMES = {"mpd": "urn:mpeg:dash:schema:mpd:2011"}


def box(kind, *contents):
    data = b"".join(contents)
    return struct.pack(">I4s", len(data) + 8, kind.encode()) + data


def moov(width=320, height=180, entry="avc1"):
    avcc = box("avcC", bytes([1, 0x4D, 0x40, 0x1E]), bytes(8))
    picture = bytes(24) + struct.pack(">HH", width, height) + bytes(50)
    stsd = box("stsd", bytes(4), struct.pack(">I", 1), box(entry, picture, avcc))
    track = box("trak", box("tkhd", bytes(84)), box("mdia", box("minf", box("stbl", stsd))))
    return box("moov", box("mvhd", bytes(100)), track)


def sidx(sizes, ticks, version=0, timescale=12800):
    times = bytes(16 if version else 8)
    entries = b"".join(struct.pack(">III", n, t, 0) for n, t in zip(sizes, ticks, strict=True))
    head = struct.pack(">B3xII", version, 1, timescale) + times + struct.pack(">HH", 0, len(sizes))
    return box("sidx", head, entries)


def video(sizes=(1000, 2000, 500), ticks=(25600, 25600, 12800), *, trailer=b"", version=0, **told):
    segments = b"".join(box("moof", bytes(92)) + box("mdat", bytes(size - 108)) for size in sizes)
    return box("ftyp", bytes(20)) + moov(**told) + sidx(sizes, ticks, version) + segments + trailer


@pytest.fixture
def clip(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()

    def write(**files):
        for kbps, data in files.items():
            (folder / f"{kbps.removeprefix('k')}.mp4").write_bytes(data)
        return folder

    return write


def test_a_title_has_the_segments_of_its_files_the_first_with_all_that_lies_before_it(clip):
    small, large = video(), video((3000, 4000, 900), version=1, width=640, height=360, trailer=b"mfra")
    title = media.read(clip(k750=large, k90=small), "film")
    assert (title.name, title.segment_ns, title.bitrates_kbps) == ("film", 2 * S, (90, 750))
    assert title.segment_bytes[1:] == ((2000, 4000), (500, 900))
    # a file is its segments, and behind them maybe what nobody needs
    assert [sum(sizes) for sizes in zip(*title.segment_bytes, strict=True)] == [len(small), len(large) - 4]


def test_the_manifest_tells_a_browser_where_header_and_index_are(clip):
    data = video()
    title = media.read(clip(k90=data, k750=video((3000, 4000, 900), width=640, height=360)), "film")
    mpd = ET.fromstring(title.media.manifest)
    assert mpd.get("mediaPresentationDuration") == "PT5S"
    first, second = mpd.findall(".//mpd:Representation", NAMES)
    told = [first.get(key) for key in ("bandwidth", "codecs", "width", "height")]
    assert told == ["90000", "avc1.4D401E", "320", "180"]
    assert (second.get("width"), second.find("mpd:BaseURL", NAMES).text) == ("640", "750.mp4")
    begin, end = map(int, first.find("mpd:SegmentBase", NAMES).get("indexRange").split("-"))
    assert data[begin + 4 : begin + 8] == b"sidx"
    assert data[end + 5 : end + 9] == b"moof"
    assert first.find(".//mpd:Initialization", NAMES).get("range") == f"0-{begin - 1}"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "clip has no video; write the files as <kbit/s>.mp4"),
        ({"k90": b""}, "90.mp4 is no MPEG-4 video with an index before its segments; encode H.264"),
        ({"k90": bytes(4000)}, "90.mp4 is no MPEG-4 video"),
        ({"k90": video(entry="hvc1")}, "90.mp4 is no MPEG-4 video"),
        ({"k90": box("ftyp") + moov() + box("mdat", bytes(9))}, "90.mp4 is no MPEG-4 video"),
        ({"k90": video((1000 + 2**31 - 1000, 200), (1, 1))[:900]}, "90.mp4"),
        ({"k90": video()[:-1]}, "90.mp4 has .* bytes of the .* in its index; encode it anew"),
        (
            {"k90": video(), "k750": video(ticks=(25600, 25600, 25600))},
            "750.mp4 has other segments than 90.mp4",
        ),
        ({"k90": video(ticks=(25600, 12800, 12800))}, "segments differ in length; encode with -g"),
        ({"k90": video(ticks=(12800, 12800, 25600))}, "segments differ in length"),
    ],
)
def test_what_no_browser_could_play_is_refused_with_what_to_do(clip, files, message):
    with pytest.raises(ValueError, match=message):
        media.read(clip(**files), "film")


def test_a_scenario_names_its_folder_and_the_job_has_it_in_full(clip, tmp_path):
    folder = clip(k90=video())
    (tmp_path / "scenario.yaml").write_text(
        f"name: small\ntopology: {METRO}\nduration: 9s\ntitles: {{film: {{media: clip}}}}\n"
    )
    job = pipeline.plan(tmp_path / "scenario.yaml")
    assert job.titles == (media.read(folder, "film"),)
    assert job.titles[0].media.folder == str(folder.resolve())
    assert revive(Title, dataclasses.asdict(job.titles[0])) == job.titles[0]
