"""Files of a node that faults change: layers that may end in any order, and leave what was there."""

import made
import pytest

from testbed.emulate.servers import Servers
from testbed.faults import Cut


@pytest.fixture
def servers(tmp_path):
    home = tmp_path / "oca-n1"
    (home / "content").mkdir(parents=True)
    (tmp_path / "store").mkdir()
    (home / "content" / "film").symlink_to(tmp_path / "store")
    (home / "key.pem").write_text("own")
    return Servers(made.job(), lambda name: -1, tmp_path / "logs", tmp_path)


def test_a_text_is_another_while_inside(servers, tmp_path):
    path = tmp_path / "oca-n1" / "key.pem"
    with servers.files("oca-n1", {"key.pem": "other"}):
        assert path.read_text() == "other"
    assert path.read_text() == "own"
    assert sorted(each.name for each in path.parent.iterdir()) == ["content", "key.pem"]


def test_a_link_to_a_title_is_gone_while_inside_even_if_something_is_raised(servers, tmp_path):
    film = tmp_path / "oca-n1" / "content" / "film"

    def strike():
        with servers.files("oca-n1", {"content/film": None}):
            assert not film.exists()
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        strike()
    assert film.is_symlink()
    assert film.resolve() == tmp_path / "store"


def test_a_title_is_cut_off_while_inside_and_nobody_elses(servers, tmp_path):
    film, store = tmp_path / "oca-n1" / "content" / "film", tmp_path / "store"
    (store / "400.mp4").write_bytes(bytes(range(200)))
    with (store / "800.mp4").open("wb") as empty:
        empty.truncate(10**9)
    cut = servers.files("oca-n1", {"content/film": Cut(0.3)})
    cut.__enter__()
    assert (film / "400.mp4").read_bytes() == bytes(range(60))
    assert (film / "800.mp4").stat().st_size == 3 * 10**8
    assert (film / "800.mp4").stat().st_blocks == 0
    assert (store / "400.mp4").stat().st_size == 200
    with servers.files("oca-n1", {"content/film": None}):
        assert not film.exists()
        cut.__exit__(None, None, None)
        assert not film.exists()
    assert film.is_symlink()
    assert film.resolve() == store


def test_overlapping_changes_end_in_any_order(servers, tmp_path):
    path = tmp_path / "oca-n1" / "key.pem"
    first, second, third = (servers.files("oca-n1", {"key.pem": text}) for text in ("one", None, "one"))
    first.__enter__()
    second.__enter__()
    assert not path.exists()
    third.__enter__()
    assert path.read_text() == "one"
    first.__exit__(None, None, None)
    third.__exit__(None, None, None)
    assert not path.exists()
    second.__exit__(None, None, None)
    assert path.read_text() == "own"


def test_a_file_that_was_not_there_is_gone_again(servers, tmp_path):
    path = tmp_path / "oca-n1" / "new.pem"
    with servers.files("oca-n1", {"new.pem": "text"}), servers.files("oca-n1", {"new.pem": "more"}):
        assert path.read_text() == "more"
    assert not path.exists()
