"""What links do to packets, measured in the guest against what was configured."""

import proving
import pytest
from rows import run

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    followed = proving.job_traces()
    rows, lasts_ns = proving.placed("virtual", trace=bool(followed))
    return run("links", rows, tmp_path_factory.mktemp("links"), lasts_ns=lasts_ns, traces=followed)


@pytest.mark.parametrize("name", proving.FINDINGS)
def test_a_link_keeps_its(measured, name):
    finding = proving.FINDINGS[name](measured)
    if finding is None:
        pytest.skip(f"there is no {proving.TRACE}")
    assert finding.holds, finding


def test_the_kernel_drops_where_it_was_told_to(measured):
    """Nothing was dropped on links without loss or overflow."""
    dropped = {link for (link,) in measured.sql("select link from links group by link having max(drops) > 0")}
    lossy = {"queue-packets", "queue-bytes", "loss", "gilbert-elliott", "four-states"}
    lossy |= {f"{aqm.replace('_', '-')}-drops" for aqm in proving.AQMS}
    lossy.add("pie-marks")  # PIE drops where it would have to mark more than a tenth (RFC 8033, 5.1)
    assert dropped == {proving.TRIALS[name].row.link(1) for name in lossy}
