"""What `.ci/run package` does with an installed wheel, away from the checkout.

    VENV/bin/python tests/outside.py FOLDER

FOLDER holds the unpacked source distribution and nothing of the checkout. No tests: pytest is not there.
"""

import csv
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

BIN = Path(sys.executable).parent


def main() -> None:
    """Fails with what is wrong."""
    folder = Path(sys.argv[1]).resolve()
    os.chdir(folder)
    (unpacked,) = folder.glob("cxr_screen-*/")
    check_links(unpacked)
    check_description()
    check_commands(unpacked / "examples" / "films")
    run_notebook(unpacked / "examples" / "quickstart.ipynb")
    print("the wheel and the source distribution work away from the checkout")


def check_links(unpacked: Path) -> None:
    """Every link of every page leads to a file of the source distribution."""
    pages = [page for page in unpacked.rglob("*.md") if "tests" not in page.relative_to(unpacked).parts]
    assert len(pages) > 10, pages
    for page in pages:
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page} leads to {target}, which is not there"


def check_description() -> None:
    """What a package index shows has no link that needs a file beside it."""
    description = metadata.metadata("cxr-screen").get_payload()
    assert "screen run ./dicom_dir" in description
    assert not re.findall(r"\]\((?!https?:)", description), description


def check_commands(films: Path) -> None:
    """The console scripts and the door of Python, from the wheel and from nowhere else."""
    version = metadata.version("cxr-screen")
    assert version in said("cxr-screen", "--version")
    where = said("python", "-P", "-c", "import screen; print(screen.__file__)")
    assert str(BIN.parent) in where, where
    said("screen", "doctor")
    said("screen", "run", str(films), "--out", "night", expect=3)
    lines = list(csv.DictReader(Path("night/results.csv").read_text("utf-8").splitlines()))
    assert len(lines) == 11
    assert sum(line["status"] == "screened" for line in lines) == 8
    assert json.loads(Path("night/summary.json").read_text("utf-8"))["versions"]["cxr-screen"] == version
    Path("labels.csv").write_text("file,tumor\nnormal.png,0\nnodule.jpg,1\n")
    said("screen", "evaluate", "night", "--labels", "labels.csv", "--out", "evaluation")
    assert Path("evaluation/evaluation.html").is_file()
    assert "needs a checkout" in said("screen", "bench", "compare", expect=2)


def run_notebook(notebook: Path) -> None:
    """As Jupyter runs it, in its own folder."""
    import nbclient
    import nbformat

    client = nbclient.NotebookClient(
        nbformat.read(notebook, 4), resources={"metadata": {"path": notebook.parent}}
    )
    cells = client.execute()["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("films/nodule.jpg" in output.get("text", "") for output in outputs)


def said(program: str, *arguments: str, expect: int = 0) -> str:
    """Standard output and error of a command that ends with the code that is expected."""
    done = subprocess.run([BIN / program, *arguments], capture_output=True, text=True)
    assert done.returncode == expect, f"{program} {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


if __name__ == "__main__":
    main()
