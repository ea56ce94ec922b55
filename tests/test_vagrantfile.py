import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(shutil.which("vagrant") is None, reason="vagrant is not installed")
def test_vagrant_takes_the_vagrantfile(tmp_path):
    shutil.copy(ROOT / "Vagrantfile", tmp_path)
    done = subprocess.run(
        ["vagrant", "validate", "--ignore-provider"],
        cwd=tmp_path,
        env={**os.environ, "VAGRANT_CHECKPOINT_DISABLE": "1", "VAGRANT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "validated successfully" in done.stdout


def test_the_vm_is_set_up_by_the_same_script_as_the_demo():
    makefile, vagrantfile = ((ROOT / name).read_text() for name in ("Makefile", "Vagrantfile"))
    assert "./setup.sh" in makefile
    assert "./setup.sh" in vagrantfile
    assert "driver" not in vagrantfile.partition("Vagrant.configure")[2]
