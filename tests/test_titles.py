from __future__ import annotations

import json
import math
import statistics
from itertools import pairwise
from pathlib import Path

import pytest

from testbed.titles import generate, read

SECOND = 10**9
LADDER = [235_000, 375_000, 560_000, 750_000, 1_050_000, 1_750_000, 2_350_000]
BIG_BUCK_BUNNY = Path(__file__).parents[2] / "shared" / "data" / "bbb-segments.json"


def columns(title):
    return list(zip(*title.segment_bytes, strict=True))


def test_the_mean_of_each_rung_is_its_bitrate():
    title = generate("film", 150 * SECOND, 4 * SECOND, LADDER, 1)
    assert len(title.segment_bytes) == 38  # 150 s, rounded up
    assert [sum(sizes) for sizes in columns(title)] == [rate * 38 * 4 // 8 for rate in LADDER]


def test_sizes_vary_as_in_big_buck_bunny():
    title = generate("film", 2000 * SECOND, 2 * SECOND, LADDER, 1)
    for sizes in columns(title):
        assert 0.16 < statistics.pstdev(sizes) / statistics.mean(sizes) < 0.20
        logs = [math.log(size) for size in sizes]
        assert -0.48 < statistics.correlation(logs[:-1], logs[1:]) < -0.27
    assert min(statistics.correlation(low, high) for low, high in pairwise(columns(title))) > 0.88


def test_the_same_seed_makes_the_same_title_and_another_another():
    one, same, other = (generate("film", 40 * SECOND, 4 * SECOND, LADDER, seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert one.segment_bytes != generate("show", 40 * SECOND, 4 * SECOND, LADDER, 1).segment_bytes


@pytest.mark.parametrize(
    ("length_ns", "ladder", "wrong"),
    [
        (0, [1000], "longer than nothing"),
        (SECOND, [1500], "whole number of kbit/s, not 1500"),
        (SECOND, [2000, 1000], "1 kbit/s follows 2 kbit/s"),
        (SECOND, [1000, 1000], "1 kbit/s follows 1 kbit/s"),
        (SECOND, [], "no bitrates"),
    ],
)
def test_impossible_titles_are_refused(length_ns, ladder, wrong):
    with pytest.raises(ValueError, match=wrong):
        generate("film", length_ns, SECOND, ladder, 1)


GOOD = {
    "segment_duration_ms": 3000,
    "bitrates_kbps": [230, 331],
    "segment_sizes_bits": [[800, 801], [1600, 1608]],
}


def written(folder, document):
    path = folder / "film.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_a_segment_list_is_read_in_whole_bytes(tmp_path):
    title = read(written(tmp_path, GOOD), "film")
    assert (title.name, title.segment_ns, title.bitrates_kbps) == ("film", 3 * SECOND, (230, 331))
    assert title.segment_bytes == ((100, 101), (200, 201))


@pytest.mark.parametrize(("length_s", "segments"), [(1, 1), (3, 1), (4, 2), (12, 4)])
def test_a_segment_list_is_cut_or_repeated_to_a_length(tmp_path, length_s, segments):
    title = read(written(tmp_path, GOOD), "film", length_s * SECOND)
    assert title.segment_bytes == tuple([(100, 101), (200, 201)] * 2)[:segments]


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ("{", "not JSON"),
        ([1], "not a segment list"),
        ({"bitrates_kbps": [1]}, "has no segment_duration_ms"),
        (GOOD | {"segment_duration_ms": 2.5}, "segment_duration_ms is 2.5"),
        (GOOD | {"bitrates_kbps": [331, 230]}, "must rise, but 230 kbit/s follows 331 kbit/s"),
        (GOOD | {"bitrates_kbps": []}, "no bitrates"),
        (GOOD | {"bitrates_kbps": "230"}, "not a list of positive"),
        (GOOD | {"segment_sizes_bits": []}, "has no segment$"),
        (GOOD | {"segment_sizes_bits": [[1, 2], [3]]}, "segment 1 has not one size for each of 2"),
        (GOOD | {"segment_sizes_bits": [[1, 0]]}, "segment 0 has a size that is not"),
        (GOOD | {"segment_sizes_bits": [[1, True]]}, "segment 0 has a size that is not"),
    ],
)
def test_a_wrong_segment_list_is_refused_with_its_name(tmp_path, document, wrong):
    path = written(tmp_path, document)
    with pytest.raises(ValueError, match=wrong) as raised:
        read(path, "film")
    assert str(raised.value).startswith(str(path))


@pytest.mark.skipif(not BIG_BUCK_BUNNY.exists(), reason="the segment list of Big Buck Bunny is not here")
def test_big_buck_bunny_is_as_the_generator_says():
    title = read(BIG_BUCK_BUNNY, "bunny")
    spreads = [statistics.pstdev(sizes) / statistics.mean(sizes) for sizes in columns(title)]
    assert len(title.segment_bytes) == 199
    assert (round(min(spreads), 3), round(max(spreads), 3)) == (0.165, 0.202)
    assert round(statistics.mean(spreads), 2) == 0.18
