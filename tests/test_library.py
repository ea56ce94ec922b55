import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.kernel import boot
from testbed.venues import library


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that makes a package `colours` in a folder of that name and puts it on the path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def make(folder, text="RED = 1\n"):
        root = tmp_path / folder
        (root / "colours" / "shades").mkdir(parents=True)
        (root / "colours" / "__init__.py").write_text(text)
        (root / "colours" / "shades" / "dark.py").write_text("BLACK = 0\n")
        (root / "colours" / "notes.txt").write_text("not needed")
        (root / "colours.libs").mkdir()
        (root / "colours.libs" / "libpaint.so.1").write_text("binary")
        monkeypatch.setattr(sys, "path", [str(root), *sys.path])
        for name in [name for name in sys.modules if name.startswith("colours")]:
            del sys.modules[name]
        library.importlib.invalidate_caches()
        return root

    return make


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_copy_holds_what_runs_compiled_and_nothing_else(package):
    package("here")
    sealed = library.seal(["colours"], "/place")
    tag = sys.implementation.cache_tag
    assert names(sealed) == [
        "colours.libs/libpaint.so.1",
        "colours/__init__.py",
        f"colours/__pycache__/__init__.{tag}.pyc",
        f"colours/shades/__pycache__/dark.{tag}.pyc",
        "colours/shades/dark.py",
    ]


def test_a_copy_is_the_same_wherever_the_original_lies(package):
    package("here")
    first = library.seal(["colours"], "/place")
    compiled = {path.name: path.read_bytes() for path in first.rglob("*.pyc")}
    for path in first.rglob("*"):
        if path.is_file():
            path.unlink()
    first.rename(first.with_name("away"))
    package("elsewhere/and/deeper")
    again = library.seal(["colours"], "/place")
    assert again.name == first.name
    assert {path.name: path.read_bytes() for path in again.rglob("*.pyc")} == compiled
    assert all(b"/place/colours/" in content for content in compiled.values())


def test_other_contents_are_another_copy_and_old_ones_go(package, monkeypatch):
    monkeypatch.setattr(library, "_KEPT", 2)
    made = []
    for number in range(4):
        package(f"version-{number}", f"RED = {number}\n")
        made.append(library.seal(["colours"], "/place"))
    assert len(set(made)) == 4
    assert sorted(path for path in made if path.exists()) == sorted(made[-2:])


def test_what_was_used_last_and_what_a_guest_has_open_stays(package, monkeypatch):
    monkeypatch.setattr(library, "_KEPT", 2)
    made = []
    for number in range(3):
        root = package(f"version-{number}", f"RED = {number}\n")
        made.append(library.seal(["colours"], "/place"))
        os.utime(made[-1], (number, number))
        if number == 0:
            holding = open_in_a_guest(made[0])
    monkeypatch.setattr(sys, "path", [str(root.with_name("version-1")), *sys.path])
    library.importlib.invalidate_caches()
    assert library.seal(["colours"], "/place") == made[1]  # and is now the newest
    package("version-3", "RED = 3\n")
    made.append(library.seal(["colours"], "/place"))
    holding.kill()
    holding.wait()
    assert [path.exists() for path in made] == [True, True, False, True]


def open_in_a_guest(folder):
    """A process that has a folder open as a guest has."""
    holding = subprocess.Popen(
        [*boot._holding([folder]), "sh", "-c", "echo ready; exec sleep 60"], stdout=subprocess.PIPE
    )
    with holding.stdout as said:
        said.readline()
    return holding


def test_nothing_half_made_stays(package, monkeypatch):
    package("here")

    def fail(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(library.compileall, "compile_dir", fail)
    with pytest.raises(KeyboardInterrupt):
        library.seal(["colours"], "/place")
    assert list(Path(library._cache()).iterdir()) == []


def test_what_is_not_installed_is_named():
    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
        library.seal(["no_such_thing"], "/place")
