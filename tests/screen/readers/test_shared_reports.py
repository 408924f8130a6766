"""Files made after public reports of what goes wrong in archives: each ends as its rule says."""

import csv
import tarfile
from pathlib import Path

import pytest

from screen.codes import Status
from screen.discover import discover
from screen.film import Film, Unscreened
from screen.readers import read

MENDED = ("46-", "84-", "70-", "71-", "27-", "26-")
"""Of the files, those whose rule holds."""


@pytest.fixture(scope="module")
def results(
    shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[str, Film | Unscreened]]:
    folder = tmp_path_factory.mktemp("reports")
    with tarfile.open(shared / "reports/files.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    with (shared / "reports/MANIFEST.csv").open(newline="") as stream:
        rules = {row["file"]: row["rule"] for row in csv.DictReader(stream)}
    # Reading is the test: none of them may raise.
    found = {source.path.name: read(source) for source in discover([folder], None)}
    return {name: (rule, found[name]) for name, rule in rules.items()}


def test_words_and_contradictions_end_as_their_rules_say(
    results: dict[str, tuple[str, Film | Unscreened]],
) -> None:
    mended = {name: entry for name, entry in results.items() if name.startswith(MENDED)}
    assert len(mended) == 10
    for name, (rule, result) in mended.items():
        if rule.startswith("like=") or rule == "screened":
            assert isinstance(result, Film), (name, result)
        else:
            assert isinstance(result, Film) or result.status is Status.FAILED, (name, result)
