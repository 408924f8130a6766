"""`docs/python.md`: its code runs, from the first block to the last, and does what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.places import ROOT

PAGE = ROOT / "docs" / "python.md"


def test_the_pages_code_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert len(blocks) == 4
    assert len([line for line in blocks[0].splitlines() if line]) == 10
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "page.py").write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-W", "error", "page.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "MPLCONFIGDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert "examples/films/study-4/film-cut-short.dcm failed corrupt_pixels None" in said
    assert any(line.startswith("examples/films/nodule.jpg screened None 0.3236") for line in said)
    assert any(line.startswith("array 0 skipped None False") for line in said)
    assert any(line.startswith("3 night ") for line in said)
    assert said[-1] == "7 films"
    assert (tmp_path / "heatmap.png").read_bytes().startswith(b"\x89PNG")
