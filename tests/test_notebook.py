"""`examples/quickstart.ipynb`: its cells run in order; `.ci/run package` runs it as Jupyter does."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.places import ROOT

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def test_the_cells_run(tmp_path: Path) -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    # What is kept is what people read first: no picture of a film, no path of whoever ran it last.
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    (tmp_path / "films").symlink_to(ROOT / "examples" / "films")
    (tmp_path / "notebook.py").write_text("\n".join("".join(cell["source"]) + "\n" for cell in cells))
    aside = {"MPLCONFIGDIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:FigureCanvasAgg", "notebook.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", **aside},
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "films/nodule.jpg" in said
    assert "array 1 " in said
    assert "threshold 0.5: exit code 3, 1 of " in said
    assert "no score: study-4/film-cut-short.dcm failed: corrupt_pixels" in said
    assert "auc: too few: 3 with, 2 without" in said
    assert "as flagged     found 1 of 3" in said
