"""`--model fast`: the int8 twin of the default model, by name, as every other model is used."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import screen
from export.certify import Request, certify
from export.derived import DERIVED_FROM
from export.quantize import int8_from_model
from screen.backends import Device, check_probes, open_backend
from screen.cli import checkup, cli
from screen.cli.checkup import State
from screen.engines import parity, twin_agreement
from screen.errors import ModelError, UsageError
from screen.model import Agreement, Bounds, load_model, model_path
from screen.model import file as model_files
from screen.preprocess import square_from_pixels
from screen.runs.network import open_network
from tests.tiny_model import phantom, tiny_model_bytes

ANYTHING = Bounds(1, 1, 1, 1)
SHIPPED = Path(screen.__file__).parent / "models"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for seed in range(4):
        cv2.imwrite(str(folder / f"{seed}.png"), phantom(seed).values)
    return folder


@pytest.fixture(scope="module")
def models(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny default.onnx and its twin, certified on the films."""
    folder = tmp_path_factory.mktemp("models")
    default, fast = folder / "default.onnx", folder / "fast.onnx"
    default.write_bytes(tiny_model_bytes())
    model = load_model(default)
    squares = np.stack([square_from_pixels(phantom(s), model.card.preprocess).values for s in range(6)])
    fast.write_bytes(int8_from_model(model, squares, "digest", fast).data)
    (verdict,) = certify(
        fast, Request(against=default, precision_bounds=ANYTHING), films, None, fast, lambda done, total: None
    )
    assert verdict.complaints == []
    return folder


@pytest.fixture
def installed(models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if the package shipped these two."""

    def shipped(name: str) -> Path:
        return models / f"{name}.onnx"

    monkeypatch.setattr(model_files, "shipped_model", shipped)
    monkeypatch.setattr(checkup, "shipped_model", shipped)
    return models


@pytest.fixture
def without_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installation whose package has no such file."""

    def shipped(name: str) -> Path:
        return tmp_path / f"no-{name}.onnx"

    monkeypatch.setattr(model_files, "shipped_model", shipped)
    monkeypatch.setattr(checkup, "shipped_model", shipped)


def test_a_name_is_a_shipped_model_and_anything_else_a_file(installed: Path) -> None:
    assert model_path("fast") == installed / "fast.onnx"
    assert model_path("default") == installed / "default.onnx"
    assert model_path("./fast") == Path("fast")
    assert model_path("mine.onnx") == Path("mine.onnx")


def test_it_runs_by_its_name_and_says_what_it_is(installed: Path, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["run", str(films), "--model", "fast", "--device", "cpu", "--out", str(out), "--threshold", "0"]
    done = CliRunner().invoke(cli, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    again = screen.run(films, out=out, model="fast", device="cpu", threshold=0)
    assert again.summary["device"]["precision"] == "int8"
    assert again.summary["model"] == {"name": "tiny-int8", "version": "0", "file": "fast.onnx"}
    assert (again.summary["images_inferred"], again.summary["images_reused"]) == (0, 4)
    assert "tiny-int8 0" in (out / "flagged.csv").read_text()
    with screen.Screener(model="fast", device="cpu") as screener:
        assert screener.model.card.precision == "int8"
        assert [verdict.status for verdict in screener.predict(films)] == ["screened"] * 4


def test_its_rows_are_its_own(installed: Path, films: Path, tmp_path: Path) -> None:
    """What one model has scored is no result of the other's, in the same folder or a later night."""
    fast, default = tmp_path / "fast", tmp_path / "default"
    assert screen.run(films, out=fast, model="fast", device="cpu").exit_code == 0
    with pytest.raises(UsageError, match="weights_digest"):
        screen.run(films, out=fast, model="default", device="cpu")
    known = screen.run(films, out=default, device="cpu", known=[fast / "ledger.sqlite"])
    assert (known.summary["images_inferred"], known.summary["images_reused"]) == (4, 0)


def test_a_gpu_takes_the_default_model(models: Path) -> None:
    fast = load_model(models / "fast.onnx")
    with pytest.raises(UsageError, match="on a GPU take the default model"):
        open_network(fast, Device("cuda", (0,)), 0, 1 << 30, lambda *said, **facts: None)


def test_commands_take_the_name(installed: Path, films: Path) -> None:
    def said(*arguments: object) -> str:
        done = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "tiny-int8 0" in said("model", "show", "fast")
    assert "int8 instead of fp32" in said("model", "show", "fast")
    assert "tiny 0" in said("model", "show", "default")
    assert "status" in said("inspect", films / "0.png", "--model", "fast")
    checks = {check.name: check for check in checkup._fast_model(runs=True)}
    assert checks["--model fast"].state is State.OK
    assert "int8" in checks["--model fast --device cpu"].detail


def test_verify_holds_it_against_the_default_model_here(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = CliRunner().invoke(cli, ["model", "verify", "fast"])
    assert done.exit_code == 0, done.output
    assert "twin     of the default model" in done.stdout
    monkeypatch.setattr(parity, "_certified_bounds", lambda twin: Bounds(-1, 0, 0, 0))
    refused = CliRunner().invoke(cli, ["model", "verify", "fast"])
    assert (refused.exit_code, "do not use it on this machine" in refused.stderr) == (1, True)
    alone = CliRunner().invoke(cli, ["model", "verify", "default"])
    assert (alone.exit_code, "twin" in alone.stdout) == (0, False)


def test_a_machine_that_computes_otherwise_is_refused_by_the_probes(models: Path) -> None:
    """As one whose sums overflow: its logits are not those that the file was made with."""
    model = load_model(models / "fast.onnx")

    class Overflowing:
        def __init__(self, backend: Any) -> None:
            self._backend = backend

        def __getattr__(self, name: str) -> Any:
            return getattr(self._backend, name)

        def infer(self, images: Any) -> Any:
            found = self._backend.infer(images)
            return replace(found, logits=found.logits + np.float32(2 * model.card.probe_logit_bound))

    with open_backend(model, "cpu", 2, 1) as backend:
        assert not check_probes(model, backend)
        with pytest.raises(ModelError, match="use another --device"):
            check_probes(model, Overflowing(backend))  # type: ignore[arg-type]


@pytest.mark.usefixtures("without_fast")
def test_without_it_the_error_says_what_to_do(films: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave --model out"):
        screen.Screener(model="fast")
    run = CliRunner().invoke(cli, ["run", str(films), "--model", "fast", "--out", str(tmp_path / "out")])
    assert (run.exit_code, "--precision int8" in run.stderr) == (2, True)
    assert not (tmp_path / "out").exists()
    (check,) = checkup._fast_model(runs=True)
    assert check.state is State.NOTE


def test_the_shipped_one_is_the_certified_twin_of_the_shipped_default() -> None:
    if not (SHIPPED / "fast.onnx").is_file():
        pytest.skip("this checkout ships no fast model yet")
    default, fast = load_model(None), load_model(model_path("fast"))
    source: Any = fast.card.training[DERIVED_FROM]
    assert fast.card.precision == "int8"
    assert source["weights_digest"] == default.card.weights_digest
    assert fast.card.decision_digest() == default.card.decision_digest()
    assert fast.card.preprocess_digest == default.card.preprocess_digest
    # Or the network would be fast and the night slow.
    names = [[policy["name"] for policy in model.card.decode_policies] for model in (default, fast)]
    assert names[0] == names[1]
    proofs = {entry["sum_bits"]: entry for entry in fast.card.certificates if "sum_bits" in entry}
    assert proofs.keys() == {16, 32}
    for entry in proofs.values():
        assert entry["agreement"]["films"] >= 1188
        assert Bounds(**entry["bounds"]).complaints(Agreement(**entry["agreement"])) == []
    assert twin_agreement(fast, default).films >= 100


def test_what_ships_is_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.onnx")) <= 40e6
