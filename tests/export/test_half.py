"""An fp16 file says fp16 where it computes in it, keeps decisions in fp32, and exists only if it agrees."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper, shape_inference

from export import certify
from export.graph import IR_VERSION, OPSET
from export.half import half_from_model, half_model
from screen.backends import Backend, Outputs
from screen.backends.agreement import batch_sweep
from screen.backends.base import NullBackend
from screen.cli import cli
from screen.errors import BackendError, ModelError
from screen.model import Model, load_model, model_from_bytes
from tests.micro_model import micro_graph, micro_model
from tests.tiny_model import phantom, tiny_model_bytes, tiny_model_file

HALVES = ("stem", "layer1", "layer2", "layer3", "layer4")


def tiny() -> Model:
    return model_from_bytes(tiny_model_bytes(), Path("tiny.onnx"))


def half_of_tiny() -> onnx.ModelProto:
    return half_model(onnx.ModelProto.FromString(tiny_model_bytes()))


def test_the_residual_network_is_half_and_nothing_else_is() -> None:
    """Every value's type, as a strongly typed builder takes it."""
    made = half_of_tiny()
    graph = shape_inference.infer_shapes(made, strict_mode=True, data_prop=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in [*graph.input, *graph.value_info, *graph.output]}
    types |= {t.name: t.data_type for t in graph.initializer}
    inside = [node for node in graph.node if node.name.split(".")[0] in HALVES and node.op_type != "Cast"]
    outside = [node for node in graph.node if node not in inside and node.op_type != "Cast"]
    assert {types[n] for node in inside for n in [*node.input, *node.output]} == {TensorProto.FLOAT16}
    values = {n for node in outside for n in [*node.input, *node.output]} - {"logits.shape", "gate.shape"}
    assert {types[n] for n in values} == {TensorProto.FLOAT}
    assert sum(node.op_type == "Conv" for node in inside) == 20
    assert {node.name for node in outside} >= {"heatmap", "logits", "embedding", "distance", "gate.convs.0"}
    assert [(v.name, types[v.name]) for v in graph.input] == [("image", TensorProto.UINT8)]
    assert {types[v.name] for v in graph.output} == {TensorProto.FLOAT}


def test_no_batch_norm_is_left_and_older_runtimes_read_it() -> None:
    made = half_of_tiny()
    assert {node.op_type for node in made.graph.node}.isdisjoint({"BatchNormalization", "FusedConv"})
    assert (made.ir_version, [(o.domain, o.version) for o in made.opset_import]) == (
        IR_VERSION,
        [("", OPSET)],
    )
    assert sum(node.op_type == "Cast" for node in made.graph.node) == 4
    assert made.SerializeToString(deterministic=True) == half_of_tiny().SerializeToString(deterministic=True)


def test_half_keeps_decisions_and_names_its_source() -> None:
    fp32 = tiny()
    made = half_from_model(fp32, Path("half.onnx"))
    assert made.card.precision == "fp16"
    assert made.card.decision_digest() == fp32.card.decision_digest()
    assert made.card.training["derived_from"]["weights_digest"] == fp32.card.weights_digest
    assert made.card.certificates == ()
    with pytest.raises(ModelError, match="made from fp32"):
        half_from_model(made, Path("again.onnx"))


def test_other_graphs_are_refused() -> None:
    with pytest.raises(ValueError, match="not a graph that this version"):
        half_model(micro_graph())
    with pytest.raises(ModelError, match="not a graph that this version"):
        half_from_model(micro_model(), Path("m.onnx"))


def test_weights_that_half_cannot_hold_are_refused() -> None:
    model = onnx.ModelProto.FromString(tiny_model_bytes())
    bias = next(t for t in model.graph.initializer if t.name == "layer1.0.1.bn.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(1e5), bias.name))
    with pytest.raises(ValueError, match="does not fit into fp16"):
        half_model(model)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for seed in range(4):
        cv2.imwrite(str(folder / f"{seed}.png"), phantom(seed).values)
    return folder


def export(*arguments: str | Path) -> Any:
    return CliRunner().invoke(cli, ["export", "onnx", "--precision", "fp16", *map(str, arguments)])


def test_the_command_line(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certify, "BATCH_SIZES", (1, 3))
    source, out = tiny_model_file(tmp_path / "m.onnx"), tmp_path / "half.onnx"
    done = export(source, "--films", films, "--out", out)
    assert (done.exit_code, "compared on 4 films" in done.stderr) == (0, True), done.output
    (entry,) = load_model(out).card.certificates
    assert (entry["kind"], entry["batch_sizes"]) == ("precision_parity", [1, 3])
    assert entry["agreement"]["labelled"] == 0
    run = CliRunner().invoke(cli, ["run", str(films), "--model", str(out), "--out", str(tmp_path / "r")])
    assert run.exit_code == 0, run.output


def test_beyond_the_bounds_there_is_no_file(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certify, "BATCH_SIZES", (1,))
    source, out = tiny_model_file(tmp_path / "m.onnx"), tmp_path / "half.onnx"
    done = export(source, "--films", films, "--out", out, "--bounds", "1", "1", "1", "1", "0")
    assert (done.exit_code, "not written: fp16 against fp32: max" in done.stderr) == (1, True), done.output
    assert not out.exists()
    nothing = export(source, "--out", out)
    assert (nothing.exit_code, "needs --films" in nothing.stderr) == (2, True)


def swept(make: Any, sizes: tuple[int, ...] = (1, 4, 8)) -> tuple[float, list[str]]:
    card = micro_model().card
    squares = np.stack([np.full((32, 32), grey, np.uint8) for grey in (10, 100, 200)])
    logits = NullBackend(card, 3).infer(squares[:, None]).logits
    return batch_sweep(card, make, squares, logits, sizes)


def test_a_sweep_finds_nothing_where_nothing_is() -> None:
    assert swept(lambda size: NullBackend(micro_model().card, size)) == (0.0, [])


class Uneven(NullBackend):
    """From batch 8 on the last row is a little off, and its distance too."""

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        outputs = super()._infer(images)
        if len(images) >= 8:
            outputs.logits[-1] += 0.5
            outputs.distance[-1] += 1e-6
        return outputs


def test_a_sweep_finds_the_batch_size_at_which_rows_differ() -> None:
    largest, complaints = swept(lambda size: Uneven(micro_model().card, size))
    assert largest > 0.1
    assert complaints == [
        "batch 8: 'logits' of one film depends on its place",
        "batch 8: 'distance' of one film depends on its place",
    ]


def test_a_sweep_stops_at_nan() -> None:
    class Broken(NullBackend):
        def _infer(self, images: NDArray[np.uint8]) -> Outputs:
            outputs = super()._infer(images)
            outputs.gate[-1] = np.nan
            return outputs

    def broken(size: int) -> Backend:
        return Broken(micro_model().card, size)

    with pytest.raises(BackendError, match="NaN or infinity in 'gate'"):
        swept(broken)
