"""Files made after public reports of what goes wrong in archives, in one night: each ends as it should."""

import csv
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from screen.cli import cli

ALIKE = 0.004
"""Difference of two probabilities of the same film."""

Rows = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def night(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """File name -> its row of results.csv, and its `rule`."""
    films, out = tmp_path_factory.mktemp("films"), tmp_path_factory.mktemp("night") / "out"
    with tarfile.open(shared / "reports" / "files.tar.xz") as archive:
        archive.extractall(films, filter="data")
    args = ["run", str(films), "--out", str(out), "--device", "cpu", "--heatmaps", "0"]
    done = CliRunner().invoke(cli, args)
    assert done.exit_code == 3, done.output
    with (out / "results.csv").open(newline="") as stream:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(stream)}
    with (shared / "reports" / "MANIFEST.csv").open(newline="") as stream:
        rules = {row["file"]: row["rule"] for row in csv.DictReader(stream)}
    assert rows.keys() == rules.keys()
    return {name: {**row, "rule": rules[name]} for name, row in rows.items()}


def is_kept(rule: str, row: dict[str, str], rows: Rows) -> bool:
    said, _, twin = rule.partition("=")
    alternatives = {
        "screened": row["status"] == "screened",
        "failed": row["status"] == "failed",
        "warned": bool(row["warnings"]) and row["status"] == "screened",
        "not_skipped": row["status"] != "skipped",
        "like": row["status"] == "screened"
        and bool(twin)
        and abs(float(row["probability"]) - float(rows[twin]["probability"])) <= ALIKE,
    }
    return any(alternatives[word] for word in said.split("_or_"))


def test_every_file_ends_as_its_rule_says(night: Rows) -> None:
    broken = {name: row for name, row in night.items() if not is_kept(row["rule"], row, night)}
    assert broken == {}
