"""Every command of `screen bench` runs and measures what it says, at tiny size."""

import gzip
import json
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from benchmarks.cli import cli
from benchmarks.material import make_films, make_small
from benchmarks.rates import Turns
from benchmarks.speed.plain_loop import read_plainly, square_from_grey
from benchmarks.speed.stages import rate_allowed
from export.realistic import SYNTAXES
from screen.discover import discover
from screen.film import Film
from screen.preprocess import PreprocessSpec, square_from_pixels
from screen.readers import read
from tests.places import EXAMPLES
from tests.tiny_model import tiny_model_file


def invoke(*args: str | Path) -> Result:
    result = CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def films_in(*folders: Path) -> list[Film]:
    found = [read(source) for source in discover(folders, None)]
    assert all(isinstance(film, Film) for film in found), found
    return [film for film in found if isinstance(film, Film)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films under every syntax, 320 pixels."""
    out = tmp_path_factory.mktemp("films")
    result = invoke("films", out, "--count", "2", "--size", "320", "--json", out / "films.json")
    assert "jpeg-ls" in result.output
    return out


def test_films_hold_the_same_pixels_under_every_lossless_syntax(made: Path) -> None:
    assert json.loads((made / "films.json").read_text())["films"] == 2
    first, second = films_in(made / "explicit")
    # The examples are square, squeezed by their collection; a common detector has 3056 × 2544.
    assert first.pixels.values.shape == (320, 266)
    assert not np.array_equal(first.pixels.values, second.pixels.values)
    for name in set(SYNTAXES) - {"jpeg"}:
        assert np.array_equal(films_in(made / name)[1].pixels.values, second.pixels.values), name
    everything = films_in(*(made / name for name in SYNTAXES))
    assert len({film.identity.sop_instance_uid for film in everything}) == 2 * len(SYNTAXES)
    assert [film.pixels.values.shape for film in films_in(made / "png")] == [(1024, 1024)] * 2


def test_films_come_from_all_over_the_folder() -> None:
    few, more = make_films.small_films(EXAMPLES, 2), make_films.small_films(EXAMPLES, 4)
    assert len(more) == 4
    assert all(np.array_equal(a, b) for a, b in zip(few, more, strict=False))


def test_an_unknown_syntax_is_wrong_usage(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["films", str(tmp_path), "--syntax", "jpeg-xl"])
    assert result.exit_code == 2
    assert "jpeg-lossless" in result.output


def test_no_two_small_films_are_alike(tmp_path: Path) -> None:
    invoke("small", tmp_path, "--count", "3")
    bases = np.full((1, make_small.SIDE, make_small.SIDE), 2000, np.int16)
    for number, data in make_small.film_bytes(bases, [*range(3, 100), 999_999]):
        (tmp_path / f"{number}.dcm").write_bytes(data)
    found = films_in(tmp_path)
    assert len(found) == 101
    assert len({film.pixels.values.tobytes() for film in found}) == 101
    for uid in ("sop_instance_uid", "study_instance_uid", "series_instance_uid"):
        assert len({getattr(film.identity, uid) for film in found}) == 101
    assert all(film.declared_chest for film in found)


def test_small_films_lie_a_thousand_to_a_folder() -> None:
    places = [str(path) for path in make_small.paths(Path("out"), 2002)]
    assert places == ["out/0000", "out/0001", "out/0002/0002000.dcm", "out/0002/0002001.dcm"]


def test_a_small_film_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    invoke("small", tmp_path, "--count", "3")
    path = tmp_path / "0000" / "0000001.dcm"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    invoke("small", tmp_path, "--count", "3")
    assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["explicit", "jpeg-lossless", "png"])
def test_the_plain_loop_makes_our_squares(made: Path, name: str) -> None:
    spec = PreprocessSpec()
    for source in discover([made / name], None):
        film = read(source)
        assert isinstance(film, Film)
        try:
            plain = square_from_grey(read_plainly(source), spec)
        except RuntimeError:
            pytest.skip("pydicom has no decoder for it here")
        ours = square_from_pixels(film.pixels, spec).values
        # Rounding may move a pixel by one grey level, of which CLAHE makes a few.
        assert np.abs(plain.astype(int) - ours).mean() < 0.5


def test_decode_and_preprocess_time_every_film(made: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    invoke("decode", made / "explicit", made / "png", "--repeats", "2", "--json", figures)
    for folder in json.loads(figures.read_text())["folders"]:
        assert folder["films"] == 2
        for column, ms in folder["ms"].items():
            assert len(ms["turns"]) == 4, column
            assert min(ms["turns"]) > 0
    invoke("preprocess", made / "explicit", "--repeats", "2", "--json", figures)
    (folder,) = json.loads(figures.read_text())["folders"]
    assert folder["shape"] == "320 × 266"
    parts = {name: np.array(ms["turns"]) for name, ms in folder["ms"].items()}
    whole = parts.pop("whole")
    assert whole.shape == (4,)
    assert np.allclose(sum(parts.values()), whole)
    assert all((turns > 0).all() for turns in parts.values())


def test_model_covers_every_runtime_and_batch_size(tmp_path: Path) -> None:
    tiny, figures = tiny_model_file(tmp_path / "tiny.onnx", size=32), tmp_path / "figures.json"
    # In a process of its own: three runtimes with their thread pools are no neighbours for other tests.
    command = [sys.executable, "-m", "benchmarks", "model", "--model", tiny, "--json", figures]
    quick = ["--seconds", "0.1", "--batch-size", "3", "--repeats", "1"]
    done = subprocess.run([*command, *quick], cwd=EXAMPLES.parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(figures.read_text())["rows"]
    assert {"ONNX Runtime", "eager torch", "screen run, cpu"} <= {row["runtime"] for row in rows}
    assert all(row["batch_size"] == 3 and row["rate"]["turns"][0] > 0 for row in rows)


def test_latency_covers_every_batch_size(tmp_path: Path) -> None:
    tiny, figures = tiny_model_file(tmp_path / "tiny.onnx", size=32), tmp_path / "figures.json"
    sizes = ["--batch-size", "1", "--batch-size", "2"]
    invoke("latency", "--alone", "--seconds", "0.1", "--model", tiny, "--json", figures, *sizes)
    rows = json.loads(figures.read_text())["rows"]
    assert [row["batch_size"] for row in rows] == [1, 2]
    assert all(0 < row["ms"][0] <= row["ms"][1] <= row["ms"][2] for row in rows)


def test_train_measures_parts_and_whole(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    tiny = ["--size", "32", "--batch-size", "4", "--seconds", "0.1", "--repeats", "2", "--device", "cpu"]
    invoke("train", *tiny, "--method", "planted", "--json", figures)
    rates = json.loads(figures.read_text())["images_per_second"]
    assert list(rates) == ["loader", "augmentation", "network", "all"]
    assert all(len(turns) == 2 and min(turns) > 0 for turns in rates.values())
    assert max(rates["network"]) < min(rates["loader"])


def test_the_stages_together_are_slower_than_either() -> None:
    assert rate_allowed(10, 40) == pytest.approx(8)


def test_compare_sets_the_command_against_peers_and_stages(made: Path, tmp_path: Path) -> None:
    tiny, figures, plot = tiny_model_file(tmp_path / "tiny.onnx"), tmp_path / "c.json", tmp_path / "c.png"
    result = invoke(
        "compare", made / "explicit", "--model", tiny, "--seconds", "0.1", "--repeats", "1",
        "--json", figures, "--plot", plot,
    )  # fmt: skip
    found = json.loads(figures.read_text())
    (folder,) = found["folders"]
    way = folder["ways"]["tiny, ONNX Runtime"]
    assert folder["films"] == 2
    assert {"plain loop", "DataLoader + ONNX Runtime"} <= set(folder["peers"])
    assert set(folder["unread"].values()) == {0}
    for name, rate in folder["peers"].items():
        assert way["ratios"][name]["turns"][0] == pytest.approx(way["run"]["turns"][0] / rate["turns"][0])
    decoding, network = folder["decode"]["turns"][0], way["network"]["turns"][0]
    assert way["allowed"]["turns"][0] == pytest.approx(1 / (1 / decoding + 1 / network))
    assert way["one_film"]["turns"][0] > 0
    assert "the sum of stages allows" in result.output
    assert cv2.imread(str(plot)) is not None


def test_models_of_different_shortcuts_are_not_compared(made: Path, tmp_path: Path) -> None:
    none = tiny_model_file(tmp_path / "tiny.onnx")
    models = ["--model", "default", "--model", str(none)]
    given = ["compare", str(made / "explicit"), *models, "--seconds", "0.1", "--repeats", "1"]
    result = CliRunner().invoke(cli, given)  # the shipped one accepts some
    assert result.exit_code == 1
    assert "different decode shortcuts" in result.output


def test_scale_runs_over_each_count(tmp_path: Path) -> None:
    figures, plot = tmp_path / "s.json", tmp_path / "s.png"
    invoke("scale", tmp_path / "small", "--count", "5", "--count", "2", "--json", figures, "--plot", plot)
    runs = json.loads(figures.read_text())["runs"]
    assert [run["files"] for run in runs] == [2, 5]
    for run in runs:
        assert run["ms_per_file"] == pytest.approx(1000 * run["seconds"] / run["files"])
        assert run["peak_pss"] >= run["peak_rss"] / 2 > 10e6
    assert cv2.imread(str(plot)) is not None


def test_turns_show_their_median_and_extremes() -> None:
    assert Turns([3.0, 1.0, 200.4]).shown == "3 [1, 200]"


def test_pictures_come_out_of_packages_grey_and_of_some_size(tmp_path: Path) -> None:
    packages, out = tmp_path / "packages", tmp_path / "out"
    drawings, volumes = packages / "openclipart-png" / "deep", packages / "mricron-data"
    drawings.mkdir(parents=True)
    volumes.mkdir()
    rng = np.random.default_rng(0)
    cv2.imwrite(str(drawings / "icon.png"), rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    cv2.imwrite(str(drawings / "empty.png"), np.full((100, 100), 7, np.uint8))
    cv2.imwrite(str(drawings / "large.png"), rng.integers(0, 256, (600, 2048, 4), dtype=np.uint8))
    (drawings / "broken.png").write_bytes(b"PNG")
    header = bytearray(352)
    header[40:48] = struct.pack("<4h", 3, 70, 80, 90)
    header[70:72] = struct.pack("<h", 2)
    header[108:112] = struct.pack("<f", 352)
    values = rng.integers(0, 256, 70 * 80 * 90, dtype=np.uint8)
    (volumes / "head.nii.gz").write_bytes(gzip.compress(bytes(header) + values.tobytes()))
    printed = invoke("pictures", out, "--from", packages).output
    assert printed.splitlines() == ["clip-art: 1", "brain-mr: 15"]
    large = cv2.imread(str(next((out / "clip-art").iterdir())), cv2.IMREAD_UNCHANGED)
    assert large.shape == (300, 1024)
    plane = cv2.imread(str(out / "brain-mr" / "head-0-0.5.png"), cv2.IMREAD_UNCHANGED)
    expected = np.rot90(values.reshape((70, 80, 90), order="F")[35])
    assert np.corrcoef(plane.ravel(), expected.ravel())[0, 1] > 0.99
