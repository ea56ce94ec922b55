"""The report: one HTML file that tells a run and needs nothing else.

Plots are SVG made here rather than by a plotting library: one whose script is in every report would
add 4.5 MB to each, draw nothing where scripts are off, and lay out for one width only.
"""

from __future__ import annotations

from pathlib import Path


def write(run: Path) -> Path:
    """Draw the report of a run that was tabulated and judged; gives the path of report.html."""
    from testbed.report import page, story

    path = run / "report.html"
    path.write_text(page.render(story.read(run)), encoding="utf-8")
    return path
