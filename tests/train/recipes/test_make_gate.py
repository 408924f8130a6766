"""`screen train gate`: from tables and folders to a checkpoint with figures, resumed round by round."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from screen.errors import UsageError
from train.cli.main import cli
from train.data.table import Columns, read_table
from train.network.checkpoint import load_checkpoint
from train.network.gate import Gate
from train.recipes.make_gate import NIH, hospital_of


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 films, half of them NIH's, and two kinds of other pictures."""
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "patient_id", "source", "tumor", "nih_image_index"])
        for index in range(60):
            film = cv2.GaussianBlur(rng.integers(0, 256, (48, 40), dtype=np.uint8), (0, 0), 3)
            cv2.imwrite(str(folder / f"{index}.png"), film)
            of_nih = index % 2
            source, name = ("nih_a", f"{index}.png") if of_nih else ("shenzhen_b", "")
            writer.writerow([f"{index}.png", f"P{index}", source, 0, name])
    for kind in ("maps", "pages"):
        (folder / "others" / kind).mkdir(parents=True)
        for index in range(3):
            picture = rng.integers(0, 256, (40, 40), dtype=np.uint8)
            cv2.imwrite(str(folder / "others" / kind / f"{index}.png"), picture)
    return folder


def test_a_gate_is_made_measured_and_gone_on_with(films: Path, tmp_path: Path) -> None:
    table = films / "labels.csv"

    def made(*more: str) -> str:
        arguments = ["gate", table, "--others", films / "others", "--size", "64", "--steps", "2", *more]
        result = CliRunner().invoke(
            cli, [*map(str, arguments), "--out", str(tmp_path / "gate")], catch_exceptions=False
        )
        assert result.exit_code == 0, result.output
        return result.output.splitlines()[-1]

    said = json.loads(made())
    tensors, about = load_checkpoint(tmp_path / "gate")
    Gate().load_state_dict({name.removeprefix("gate."): value for name, value in tensors.items()})
    assert (about["kind"], about["size"]) == ("gate", 64)
    assert set(about["figures"]["films_by_hospital"]) == {NIH, "shenzhen"}
    assert said["films"]["judged"] == about["figures"]["films"]["judged"] >= 30 * 5
    kept = sorted((tmp_path / "gate.cache" / "gate-rounds").glob("*.npy"))
    assert len(kept) == 5
    times = [path.stat().st_mtime_ns for path in kept]
    assert json.loads(made()) == said
    assert [path.stat().st_mtime_ns for path in kept] == times
    with pytest.raises(UsageError, match="rounds of other settings"):
        made("--seed", "1")


def test_hospitals_are_nihs_or_the_sources_first_word(films: Path, tmp_path: Path) -> None:
    rows = read_table(films / "labels.csv", Columns())
    assert {hospital_of(row) for row in rows} == {NIH, "shenzhen"}
    plain = tmp_path / "plain.csv"
    plain.write_text("file,patient_id,tumor,source\na.png,A,0,ours_ward\n")
    assert [hospital_of(row) for row in read_table(plain, Columns())] == ["ours"]
