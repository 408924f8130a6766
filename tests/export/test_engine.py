"""`export trt` for real: TensorRT-RTX builds the shipped model without a GPU; the engine is looked into."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from export import engine as builder
from export import engine as export_trt
from export.derived import run_graph
from export.engine import EngineRequest, build_engine, engine_from_model
from export.engine_plan import has_profile, layers_from_report, plan_from_rtx
from export.folding import without_matrix_products
from export.half import half_model
from screen.cli import cli
from screen.errors import EngineError, ModelError, UsageError
from screen.gpus import Gpu
from screen.model import Model, VerifiedEngine, load_model, model_from_bytes
from screen.model.engine_file import manifest_path, verified_engine
from tests.signing_keys import openssl_keys
from tests.tiny_model import phantom, tiny_model_bytes, tiny_model_file

TARGETS = ("sm75", "sm86", "sm89", "sm120")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(autouse=True)
def without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_trt, "gpus", list)


@pytest.fixture(scope="module")
def rtx() -> ModuleType:
    return pytest.importorskip("tensorrt_rtx", reason="needs the extra 'trt'")


@pytest.fixture(scope="module")
def shipped(rtx: ModuleType) -> VerifiedEngine:
    return built(load_model(None), rtx)


def built(
    model: Model, rtx: ModuleType, targets: tuple[str, ...] = TARGETS, **options: Any
) -> VerifiedEngine:
    return engine_from_model(
        model, EngineRequest(targets, (1, 8, 32), **options), rtx, lambda done, total: None
    )


def tiny() -> Model:
    return model_from_bytes(tiny_model_bytes(), Path("tiny.onnx"))


def test_the_built_engine_is_half_for_these_gpus_and_batches(shipped: VerifiedEngine) -> None:
    """As its own bytes say, not its manifest."""
    model = load_model(None)
    plan = plan_from_rtx(shipped.data)
    assert plan.targets == set(TARGETS)
    half = {name for name, kind in plan.layers.items() if name.endswith("conv") and kind == "half"}
    convolutions = {
        node.name for node in onnx.ModelProto.FromString(model.data).graph.node if node.op_type == "Conv"
    }
    # Head and gate decide, so they stay in float32.
    decide = {name for name in convolutions if name.startswith(("heatmap.", "gate."))}
    assert half == convolutions - decide
    assert len(half) == 20
    assert plan.layers["heatmap.cells"] == plan.layers["heatmap.film"] == "float"
    size = model.card.input_size
    assert has_profile(shipped.data, [(batch, 1, size, size) for batch in (1, 8, 32)])
    assert not has_profile(shipped.data, [(batch, 1, size, size) for batch in (1, 8, 64)])
    manifest = shipped.manifest
    assert manifest.weights_digest == model.card.weights_digest
    assert (manifest.precision, manifest.profile, manifest.targets) == ("fp16", (1, 8, 32), TARGETS)
    assert (manifest.library, manifest.layers) == ("tensorrt_rtx", {"float": 6, "half": 20})
    assert manifest.certificate is None


def test_an_engine_that_is_not_half_is_refused(rtx: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """What old code did: float32, silently. Seen in the network; were that not looked at, in the engine."""
    monkeypatch.setattr(builder, "half_model", lambda graph: graph)
    with pytest.raises(EngineError, match=r"in another precision: .*stem\.conv"):
        built(tiny(), rtx, ("sm89",))
    monkeypatch.setattr(builder, "_check_network", lambda *arguments: None)
    with pytest.raises(EngineError, match=r"layers of the engine compute in another precision: .*stem\.conv"):
        built(tiny(), rtx, ("sm89",))


@pytest.mark.parametrize("asked", [{"targets": ("sm86",)}, {"profile": (1, 2, 3)}])
def test_an_engine_for_others_is_refused(
    rtx: ModuleType, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
) -> None:
    inspected = builder._inspected

    def other(data: bytes, request: EngineRequest, *rest: Any) -> Any:
        return inspected(data, replace(request, **asked), *rest)

    monkeypatch.setattr(builder, "_inspected", other)
    with pytest.raises(EngineError, match="asked for"):
        built(tiny(), rtx, ("sm89",))


def test_what_cannot_be_read_is_no_plan() -> None:
    for data in (b"", b"vtrt" * 100, b"header {\n  version = 5\n  accelerators={sm89 }\n\0"):
        with pytest.raises(EngineError, match="does not show its layers"):
            plan_from_rtx(data)


def test_turing_has_no_products_and_the_same_scores(rtx: ModuleType) -> None:
    """TensorRT-RTX refuses a float32 product for sm75."""
    half = half_model(onnx.ModelProto.FromString(tiny_model_bytes()))
    sums = without_matrix_products(half)
    assert {"MatMul", "Gemm"}.isdisjoint(node.op_type for node in sums.graph.node)
    outputs = [value.name for value in half.graph.output]
    assert [value.name for value in sums.graph.output] == outputs
    squares = np.stack([phantom(seed, 64, 64).values for seed in range(3)])
    for name, one, other in zip(
        outputs,
        run_graph(half.SerializeToString(), outputs, squares),
        run_graph(sums.SerializeToString(), outputs, squares),
        strict=True,
    ):
        assert np.allclose(one, other, rtol=1e-5, atol=1e-5), name
    products = {"gate.hidden", "distance.normal.z", "distance.all.z"}
    assert products <= plan_from_rtx(built(tiny(), rtx, ("sm89",)).data).layers.keys()
    assert products.isdisjoint(plan_from_rtx(built(tiny(), rtx, ("sm75",)).data).layers)


def test_requests_that_cannot_be(rtx: ModuleType, tmp_path: Path) -> None:
    model = tiny()
    with pytest.raises(UsageError, match=r"--for sm90: .*sm89"):
        built(model, rtx, ("sm90",))
    with pytest.raises(UsageError, match="--timing-cache"):
        built(model, rtx, ("sm89",), timing_cache=tmp_path / "cache")
    for profile, said in (
        ((4, 2, 8), "not in order"),
        ((0, 1, 1), "not in order"),
        ((2, 4, 8), "has to be 1"),
    ):
        with pytest.raises(UsageError, match=said):
            engine_from_model(model, EngineRequest(("sm89",), profile), rtx, lambda done, total: None)
    with pytest.raises(EngineError, match="OutOfMemory"):
        built(load_model(None), rtx, ("sm89",), workspace=1)
    with pytest.raises(ModelError, match="computes in int8"):
        built(replace(model, card=replace(model.card, precision="int8")), rtx)
    with pytest.raises(UsageError, match="--for sm75"):
        build_engine(model, EngineRequest((), (1, 2, 3)), lambda done, total: None)


def test_progress_reaches_its_end(rtx: ModuleType) -> None:
    steps: list[tuple[int, int]] = []
    request = EngineRequest(("sm89",), (1, 2, 4))
    engine_from_model(tiny(), request, rtx, lambda done, total: steps.append((done, total)))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1][0] == steps[-1][1] > 1


def test_where_it_can_run_it_is_certified(rtx: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is none: whom the certificate is asked of, and that without it there is no engine."""
    asked: list[str] = []

    def certificate_on(model: Model, engine: VerifiedEngine, gpu: Gpu, place: Any) -> dict[str, Any]:
        asked.append(f"{gpu.name}, {place.driver}, {place.library}")
        return {"engine_digest": engine.manifest.engine_digest}

    monkeypatch.setattr(export_trt, "gpus", lambda: [Gpu(0, "A GPU", "GPU-1"), Gpu(1, "B", "GPU-2")])
    monkeypatch.setattr(export_trt, "capability", lambda index: "sm89")
    monkeypatch.setattr(export_trt, "driver_version", lambda: "580.1")
    monkeypatch.setattr(export_trt, "certificate_on", certificate_on)

    def build(*targets: str) -> VerifiedEngine:
        return build_engine(tiny(), EngineRequest(targets, (1, 2, 4)), lambda done, total: None)

    manifest = build("sm86", "sm89").manifest
    assert manifest.certificate == {"engine_digest": manifest.engine_digest}
    assert (manifest.gpu, manifest.driver) == ("", "")
    assert asked == [f"A GPU, 580.1, tensorrt_rtx {rtx.__version__}"]
    assert build("sm86").manifest.certificate is None
    # For the GPU that is here: its builder asks the driver, which is none.
    with pytest.raises(EngineError, match="CUDA driver"):
        build()

    def refuse(*arguments: Any) -> Any:
        raise EngineError("not used")

    monkeypatch.setattr(export_trt, "certificate_on", refuse)
    with pytest.raises(EngineError, match="not used"):
        build("sm89")


def test_the_command_line(rtx: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="needs the extra 'trt'")
    private, public = openssl_keys(tmp_path)
    model, out = tiny_model_file(tmp_path / "m.onnx"), tmp_path / "e.engine"
    command = ["export", "trt", str(model), "--out", str(out)]
    done = CliRunner().invoke(
        cli, [*command, "--for", "SM86, sm89,sm86", "--batch", "1,2,4", "--sign-key", str(private)]
    )
    assert done.exit_code == 0, done.output
    assert "for sm86, sm89, fp16 (convolutions: 6 float, 20 half), batches 1, 2, 4" in done.stderr
    assert verified_engine(out, public).manifest.targets == ("sm86", "sm89")
    assert json.loads(manifest_path(out).read_text())["seal"]["method"] == "ed25519"
    done = CliRunner().invoke(cli, [*command, "--for", "sm89"])
    assert done.exit_code == 0, done.output
    assert verified_engine(out, None).manifest.profile == (1, 64, 256)
    out.unlink()
    for wrong in (["--batch", "1,2"], ["--batch", "1,x,2"], ["--for", "sm1"], [], ["--sign-key", "missing"]):
        done = CliRunner().invoke(cli, [*command, *wrong])
        assert done.exit_code == 2, wrong
        assert not out.exists()


def test_the_command_in_a_process_of_its_own(rtx: ModuleType, tmp_path: Path) -> None:
    """As `screen run` starts it; the console script `export` is the same function."""
    out = tmp_path / "e.engine"
    model = tiny_model_file(tmp_path / "m.onnx")
    command = [sys.executable, "-P", "-m", "export", "trt", str(model), "--for", "sm89", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert verified_engine(out, None).manifest.targets == ("sm89",)


def test_what_tensorrt_says_of_its_layers() -> None:
    """In the words of its inspector; made up, no engine of TensorRT was at hand."""

    def layer(node: str, *formats: str) -> dict[str, Any]:
        return {
            "Name": node,
            "Outputs": [{"Name": "x", "Format/Datatype": text} for text in formats],
            "Metadata": f"[ONNX Layer: {node}]\x1e[ONNX Layer: {node}.relu]",
        }

    report = {
        "Layers": [
            layer("a", "Half NHWC8"),
            layer("b", "Channel major FP16 format where C % 8 == 0"),
            layer("c", "Row major linear FP32"),
            layer("d", "Half", "Float"),
            {"Name": "no outputs"},
            "a name alone",
        ]
    }
    found = layers_from_report(json.dumps(report))
    assert {name: found[name] for name in "abcd"} == {"a": "half", "b": "half", "c": "float", "d": "mixed"}
    assert found["a.relu"] == "half"
