"""Which engines are loaded: those that are what they say, of whom they say, and score as their model does."""

import json
import os
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from screen import gpus
from screen.backends import Backend, Outputs, devices
from screen.backends.base import NullBackend
from screen.cli import cli
from screen.engines import Place, cache, engine_for_run, parity
from screen.engines.parity import engine_certificate, parity_squares, speaks_of
from screen.errors import BackendError, EngineError, ModelError, UsageError
from screen.gpus import Gpu
from screen.model import Manifest, Model, VerifiedEngine, load_model
from screen.model.engine_file import PROFILE, engine_digest, manifest_path, verified_engine, write_engine
from screen.model.seals import PrivateKey, ThisMachine
from screen.runs import RunSettings, Wiring, run
from screen.runs.progress import Progress
from tests.micro_model import micro_model
from tests.signing_keys import openssl_keys

GPU = Gpu(0, "A GPU", "GPU-1")
PLACE = Place("A GPU", "580.1", "tensorrt_rtx 1.7")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def engine_of(model: Model, data: bytes = b"engine", **facts: Any) -> VerifiedEngine:
    manifest = Manifest(
        weights_digest=model.card.weights_digest,
        library="tensorrt_rtx",
        version="1.7",
        precision="fp16",
        profile=PROFILE,
        targets=("sm89",),
        engine_digest=engine_digest(data),
        layers={"half": 20, "float": 1},
    )
    return VerifiedEngine(data, replace(manifest, **facts))


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """An engine of this machine."""
    path = tmp_path / "e.engine"
    write_engine(path, engine_of(micro_model()), ThisMachine())
    return path


def test_what_was_written_is_read(built: Path) -> None:
    assert verified_engine(built, None) == engine_of(micro_model())


def flipped(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def edited(path: Path, **facts: Any) -> None:
    document = json.loads(path.read_text())
    document["content"] |= facts
    path.write_text(json.dumps(document))


TAMPERINGS: dict[str, Callable[[Path], None]] = {
    "the engine": lambda path: flipped(path, 3),
    "the engine, longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "engine and digest": lambda path: (
        path.write_bytes(b"evil"),
        edited(manifest_path(path), engine_digest=engine_digest(b"evil")),
    )[-1],
    "the manifest": lambda path: edited(manifest_path(path), weights_digest="0" * 64),
    "the precision": lambda path: edited(manifest_path(path), precision="fp32"),
    "the seal": lambda path: flipped(manifest_path(path), len(manifest_path(path).read_bytes()) - 10),
    "no manifest": lambda path: manifest_path(path).unlink(),
    "no engine": lambda path: path.unlink(),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_what_was_tampered_with_is_refused(built: Path, what: str) -> None:
    TAMPERINGS[what](built)
    with pytest.raises(EngineError, match=r"e\.engine"):
        verified_engine(built, None)


def test_a_signed_engine_is_its_signers(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="needs the extra 'trt'")
    private, public = openssl_keys(tmp_path)
    path = tmp_path / "e.engine"
    write_engine(path, engine_of(micro_model()), PrivateKey(private))
    assert verified_engine(path, public).data == b"engine"
    with pytest.raises(EngineError, match="name its signer with --engine-key"):
        verified_engine(path, None)
    for what in ("the engine", "engine and digest", "the manifest", "the seal"):
        write_engine(path, engine_of(micro_model()), PrivateKey(private))
        TAMPERINGS[what](path)
        with pytest.raises(EngineError):
            verified_engine(path, public)
    write_engine(path, engine_of(micro_model()), ThisMachine())
    with pytest.raises(EngineError, match="not what the owner of"):
        verified_engine(path, public)


def test_a_manifest_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "e.engine"
    monkeypatch.setattr("screen.model.engine_file.SCHEMA", 2)
    write_engine(path, engine_of(micro_model()), ThisMachine())
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with pytest.raises(EngineError, match="another version"):
        verified_engine(path, None)


def test_show_and_verify(built: Path) -> None:
    shown = CliRunner().invoke(cli, ["model", "show", str(built)])
    assert (shown.exit_code, "hmac-sha256, not checked" in shown.output) == (0, True), shown.output
    verified = CliRunner().invoke(cli, ["model", "verify", str(built)])
    assert (verified.exit_code, "of this machine" in verified.output) == (0, True), verified.output
    flipped(built, 0)
    assert CliRunner().invoke(cli, ["model", "verify", str(built)]).exit_code == 1
    key = CliRunner().invoke(cli, ["model", "verify", "--engine-key", str(built)])
    assert key.exit_code == 2


# ---- Parity, on a stand-in for the runtime.


def squares() -> NDArray[np.uint8]:
    return np.stack([np.full((32, 32), grey, np.uint8) for grey in range(0, 250, 10)])


def certificate(make: Callable[[int], Backend]) -> dict[str, Any]:
    model = micro_model()
    reference = NullBackend(model.card, 4)
    return engine_certificate(
        model.card, engine_of(model, profile=(1, 4, 9)).manifest, PLACE, squares(), reference, make
    )


def null(size: int) -> Backend:
    return NullBackend(micro_model().card, size)


def test_an_engine_that_scores_alike_is_certified_where_it_ran() -> None:
    found = certificate(null)
    manifest = engine_of(micro_model()).manifest
    assert found["batch_sizes"] == [1, 2, 4, 8]
    assert (found["agreement"]["films"], found["agreement"]["max_probability_difference"]) == (25, 0.0)
    assert speaks_of(found, manifest, PLACE)
    assert not speaks_of(found, replace(manifest, engine_digest="1" * 64), PLACE)
    for other in (replace(PLACE, gpu="B"), replace(PLACE, driver="1"), replace(PLACE, library="x")):
        assert not speaks_of(found, manifest, other)
    assert not speaks_of(None, manifest, PLACE)
    json.dumps(found, allow_nan=False)


class Off(NullBackend):
    """Scores too high."""

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        outputs = super()._infer(images)
        outputs.logits[:] += 0.2
        return outputs


class Uneven(NullBackend):
    """A film's distance depends on its place, from batch 8 on."""

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        outputs = super()._infer(images)
        outputs.distance[7:] += 1e-6
        return outputs


class Infinite(NullBackend):
    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        outputs = super()._infer(images)
        outputs.logits[-1] = np.inf
        return outputs


def test_an_engine_that_does_not_is_not() -> None:
    card = micro_model().card
    with pytest.raises(EngineError, match=r"A GPU: max \|Δp\| .* > 0.005"):
        certificate(lambda size: Off(card, size))
    with pytest.raises(EngineError, match="batch 8: 'distance' of one film depends on its place"):
        certificate(lambda size: Uneven(card, size))
    with pytest.raises(BackendError, match="NaN or infinity"):
        certificate(lambda size: Infinite(card, size))


def test_the_parity_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's for its own preprocessing, the probes for any other; a broken one is said."""
    model, path = micro_model(), tmp_path / "parity.npz"
    monkeypatch.setattr(parity, "_shipped_set", lambda: path)
    probes = parity_squares(model)
    assert (probes.shape, probes.dtype) == ((len(model.card.probes), 32, 32), np.uint8)
    digest = model.card.preprocess_digest
    np.savez(path, squares=squares(), preprocess_digest=digest)
    assert (parity_squares(model) == squares()).all()
    np.savez(path, squares=squares(), preprocess_digest="another")
    assert (parity_squares(model) == probes).all()
    np.savez(path, squares=squares().astype(np.float32), preprocess_digest=digest)
    with pytest.raises(ModelError, match="no parity set of this model"):
        parity_squares(model)
    path.write_bytes(b"PK no archive")
    with pytest.raises(ModelError, match="install the package again"):
        parity_squares(model)


def test_the_shipped_model_has_squares() -> None:
    model = load_model(None)
    assert parity_squares(model).shape[1:] == (model.card.input_size,) * 2


# ---- The engine of a run, with a GPU, a builder and a runtime that are none.


class Said(Progress):
    """Keeps what the operator would see."""

    def __init__(self) -> None:
        super().__init__(1e9)
        self.events: list[str] = []

    def _show(self, counts: Any, seconds: float) -> None: ...

    def event(self, name: str, **facts: Any) -> None:
        self.events.append(name)


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A machine with a GPU; commands that built an engine on it."""
    commands: list[list[str]] = []

    def build(command: list[str], **options: Any) -> Any:
        commands.append(command)
        assert options["env"]["CUDA_VISIBLE_DEVICES"] == "0"
        assert options["env"]["ORT_DISABLE_TELEMETRY"] == "1"
        assert "CXR_SCREEN_KEY" not in options["env"]
        facts = {"gpu": "A GPU", "driver": "580.1", "targets": ()}
        path = Path(command[command.index("--out") + 1])
        profile = tuple(map(int, command[command.index("--batch") + 1].split(",")))
        # No two builds of one engine are equal.
        data = f"engine {len(commands)}".encode()
        write_engine(path, engine_of(micro_model(), data, profile=profile, **facts), ThisMachine())
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setenv("CXR_SCREEN_KEY", "a key for tests only")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "gpus", lambda: [GPU])
    monkeypatch.setattr(cache, "capability", lambda index: "sm89")
    monkeypatch.setattr(cache, "driver_version", lambda: "580.1")
    monkeypatch.setattr(cache, "library_for", lambda sm: "tensorrt_rtx")
    monkeypatch.setattr(
        cache, "library_module", lambda name, what: type("Library", (), {"__version__": "1.7"})
    )
    monkeypatch.setattr(cache.subprocess, "run", build)
    monkeypatch.setattr(parity, "open_backend", opened)
    return commands


def opened(
    model: Model, device: str, size: int, threads: int, engine: VerifiedEngine | None = None
) -> Backend:
    """Instead of a runtime."""
    assert (engine is not None) == device.startswith("tensorrt")
    return NullBackend(model.card, size)


def own(said: Said, batch_size: int = 0) -> VerifiedEngine:
    return engine_for_run(micro_model(), [GPU], batch_size, None, said.event)


def kept(tmp_path: Path, ending: str) -> Path:
    (path,) = (tmp_path / "cache" / "cxr-screen" / "engines").glob(f"*{ending}")
    return path


def test_an_engine_is_built_once_and_certified_once(builds: list[list[str]], tmp_path: Path) -> None:
    said = Said()
    first, again = own(said), own(said)
    assert (len(builds), first) == (1, again)
    assert said.events == ["engine_build", "engine_parity"]
    folder = tmp_path / "cache" / "cxr-screen" / "engines"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(kept(tmp_path, ".certificate.json").stat().st_mode) == 0o600
    assert own(said, 300).manifest.profile == (1, 300, 300)
    assert len(builds) == 2


@pytest.mark.parametrize("what", TAMPERINGS)
def test_a_changed_engine_is_refused_and_built_anew(
    builds: list[list[str]], tmp_path: Path, what: str
) -> None:
    own(Said())
    TAMPERINGS[what](kept(tmp_path, ".engine"))
    said = Said()
    engine = own(said)
    assert (engine.data, len(builds)) == (b"engine 2", 2)
    assert said.events == ["engine_refused", "engine_build", "engine_parity"]


def test_a_foreign_engine_is_refused_and_built_anew(builds: list[list[str]], tmp_path: Path) -> None:
    """From another machine, so sealed with another key; or of this machine, for another driver."""
    own(Said())
    (tmp_path / "config" / "cxr-screen" / "engine-key").unlink()
    said = Said()
    assert own(said).data == b"engine 2"
    assert said.events[0] == "engine_refused"
    older = engine_of(micro_model(), gpu="A GPU", driver="570.0", targets=())
    write_engine(kept(tmp_path, ".engine"), older, ThisMachine())
    said = Said()
    assert own(said).data == b"engine 3"
    assert said.events[0] == "engine_refused"


def test_a_changed_certificate_is_measured_again(builds: list[list[str]], tmp_path: Path) -> None:
    own(Said())
    flipped(kept(tmp_path, ".certificate.json"), 60)
    said = Said()
    own(said)
    assert said.events == ["certificate_refused", "engine_parity"]


def test_an_engine_beyond_the_bounds_is_deleted(
    builds: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(model: Model, device: str, size: int, threads: int, engine: Any = None) -> Backend:
        return (Off if engine else NullBackend)(model.card, size)

    monkeypatch.setattr(parity, "open_backend", off)
    with pytest.raises(EngineError, match="does not score as its model does"):
        own(Said())
    assert list((tmp_path / "cache" / "cxr-screen" / "engines").iterdir()) == []


def test_a_build_that_fails_says_where_to_look(
    builds: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for code, error in ((2, UsageError), (1, EngineError), (-11, EngineError)):
        monkeypatch.setattr(
            cache.subprocess, "run", lambda *a, code=code, **o: subprocess.CompletedProcess([], code)
        )
        with pytest.raises(error, match="no engine was built for A GPU"):
            own(Said())


def test_others_may_not_write_where_engines_lie(builds: list[list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "cxr-screen" / "engines"
    folder.mkdir(parents=True)
    folder.chmod(0o770)
    with pytest.raises(UsageError, match="chmod 700"):
        own(Said())


def test_gpus_of_two_kinds_take_no_one_engine(builds: list[list[str]]) -> None:
    with pytest.raises(UsageError, match="GPUs of one kind"):
        engine_for_run(micro_model(), [GPU, Gpu(1, "Another", "GPU-2")], 0, None, Said().event)


def test_a_named_engine_is_certified_here_and_leaves_the_digest(
    builds: list[list[str]], built: Path, tmp_path: Path
) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(micro_model().data)
    films = tmp_path / "films"
    films.mkdir()
    digests = []

    def digest(*arguments: Any, engine: VerifiedEngine) -> Backend:
        backend = opened(*arguments, engine=engine)
        backend.device = replace(backend.device, engine=engine.manifest.engine_digest)
        digests.append(backend.device.engine)
        return backend

    settings = RunSettings((films,), tmp_path / "out", model=model, engine=built, allow_empty=True)
    for expected in (["batch_size", "engine_parity", "finished", "start"], ["finished", "start"]):
        said = Said()
        assert run(settings, said, Wiring(open_backend=digest)) == 0
        assert sorted(said.events) == expected
    assert builds == []
    assert set(digests) == {engine_digest(b"engine")}
    assert engine_digest(b"engine") in (tmp_path / "out" / "summary.json").read_text()
    write_engine(built, engine_of(micro_model(), b"another"), ThisMachine())
    with pytest.raises(UsageError, match="differs in engine"):
        run(settings, Said(), Wiring(open_backend=digest))
    flipped(built, 0)
    with pytest.raises(EngineError, match="Not loaded"):
        run(settings, Said(), Wiring(open_backend=digest))


def test_options_that_do_not_go_together(builds: list[list[str]], built: Path, tmp_path: Path) -> None:
    for settings in (
        RunSettings((tmp_path,), tmp_path / "out", engine_key=built),
        RunSettings((tmp_path,), tmp_path / "out", engine=built, device="cpu"),
    ):
        with pytest.raises(UsageError, match="--engine"):
            run(settings, Said())


def test_without_a_gpu_a_run_ends_at_once(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "_LIBRARY", "libcuda-that-is-not-there.so.1")
    for options in (["--device", "tensorrt"], ["--engine", str(built)]):
        done = CliRunner().invoke(cli, ["run", str(tmp_path), "--out", str(tmp_path / "out"), *options])
        assert done.exit_code == 2
        assert "NVIDIA's driver" in done.stderr
        assert "--device cpu" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_driver_is_asked_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LIBRARY", "_MANAGEMENT"):
        monkeypatch.setattr(gpus, name, "lib-that-is-not-there.so.1")
    with pytest.raises(BackendError, match="no NVIDIA driver"):
        gpus.capability(0)
    with pytest.raises(BackendError, match="no NVIDIA driver"):
        gpus.driver_version()


def test_only_one_gpu_is_shown_to_the_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Gpu(1, "A GPU", "GPU-2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert cache._only(second) == {"CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "3,MIG-7")
    assert cache._only(second) == {"CUDA_VISIBLE_DEVICES": "MIG-7"}
