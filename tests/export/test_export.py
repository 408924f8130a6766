"""The exported file is the trained network, or there is no file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from export import network as network_module
from export import onnx as exporting
from export.check_exported import BATCH_SIZES, check_parity, outputs_from_network
from export.classifier import checkpoint_from_model
from export.graph import IR_VERSION, OPSET, graph_from_network
from export.network import NetworkOutputs, network_from_checkpoint, network_from_tensors
from export.onnx import export_onnx
from screen.backends import open_backend
from screen.engines.parity import parity_squares
from screen.errors import ModelError
from screen.model import load_model, model_from_bytes
from screen.preprocess import PreprocessSpec, square_from_pixels
from tests.tiny_model import about, phantom, random_tensors, tiny_model_bytes, tiny_network
from train.network.checkpoint import load_checkpoint, save_checkpoint, under
from train.network.features import features_of
from train.network.resnet import ResNet18

OUTPUTS = ("logits", "heatmap", "embedding", "distance", "gate")
FINDINGS = ("tumor", "effusion")
FILMS = [phantom(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "net"
    save_checkpoint(path, random_tensors(), about(64, ("tumor",)))
    return path


def squares(n: int) -> NDArray[np.uint8]:
    spec = PreprocessSpec(size=64)
    return np.stack([square_from_pixels(phantom(seed), spec).values for seed in range(n)])


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_the_file_is_the_network(batch_size: int) -> None:
    network = tiny_network(findings=2)
    films = squares(batch_size)
    expected = outputs_from_network(network, films)
    model = model_from_bytes(tiny_model_bytes(findings=FINDINGS), Path("m.onnx"))
    with open_backend(model, "cpu", batch_size, 2) as backend:
        found = backend.infer(films[:, None])
    for name in OUTPUTS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-4)
    bias = network.resnet.fc.bias.numpy()
    pooled = np.log(np.exp(found.heatmap).mean((2, 3))) + bias
    np.testing.assert_allclose(pooled, found.logits, rtol=1e-5, atol=1e-5)


def test_distance_is_what_its_formula_says() -> None:
    """In float64, by numpy, from the network's own features."""
    made = random_tensors(findings=2)
    tensors = {name: value.double().numpy() for name, value in made.items()}
    network = network_from_tensors(made, mean=0.5, std=0.25)
    film = torch.from_numpy(squares(1)[:, None])
    with torch.inference_mode():
        first = network.resnet.features((film.float() / 255 - 0.5) / 0.25)[0].double().numpy()
        outputs = network(film)
    assert first.shape[2:] == (16, 16)
    thirds = [slice(0, 6), slice(5, 11), slice(10, 16)]
    means = np.stack([[first[:, :, y, x].mean((2, 3)) for x in thirds] for y in thirds])
    fields = means.transpose(2, 3, 0, 1).reshape(len(first), -1)

    def score(name: str) -> NDArray[np.float64]:
        z = (fields - tensors[f"{name}.mean"]) @ tensors[f"{name}.whiten"]
        return np.asarray(np.sqrt((z**2).mean(1)))

    distance = score("distance.normal") / score("distance.all")
    np.testing.assert_allclose(outputs.distance.numpy(), distance, rtol=1e-4)


@pytest.mark.parametrize("size", [32, 64, 224, 320])
def test_the_files_gate_is_the_one_that_was_trained(size: int) -> None:
    network = network_from_tensors(random_tensors(), mean=0.5, std=0.25)
    image = np.random.default_rng(0).integers(0, 256, (3, 1, size, size), dtype=np.uint8)
    session = onnxruntime.InferenceSession(
        graph_from_network(network, size).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(["gate"], {"image": image})
    with torch.inference_mode():
        np.testing.assert_allclose(found, network.gate(torch.from_numpy(image)).numpy(), atol=1e-4)


def test_convolutions_are_stored_as_fp16_and_nothing_else_is() -> None:
    graph = onnx.ModelProto.FromString(tiny_model_bytes()).graph
    halves = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT16}
    assert len(halves) == 22
    assert all(name.endswith(".weight.half") for name in halves)
    shapes = [t.name for t in graph.initializer if t.data_type == TensorProto.INT64]
    assert shapes == ["logits.shape", "gate.shape"]
    rest = {t.data_type for t in graph.initializer if t.name not in shapes}
    assert rest == {TensorProto.FLOAT16, TensorProto.FLOAT}
    assert all(t.HasField("raw_data") for t in graph.initializer)
    for name in ("distance.all.whiten", "gate.convs.0.weight", "stem.bn.var", "layer4.1.2.bn.mean"):
        assert next(t for t in graph.initializer if t.name == name).data_type == TensorProto.FLOAT


def test_older_runtimes_read_it() -> None:
    model = onnx.ModelProto.FromString(tiny_model_bytes())
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (8, [("", 17)])
    assert (IR_VERSION, OPSET) == (8, 17)
    onnx.checker.check_model(model, full_check=True)


def test_a_runtime_computes_plain_fp32_convolutions(tmp_path: Path) -> None:
    """Casts and BatchNorm cost nothing: both are folded when the file is loaded."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    onnxruntime.InferenceSession(tiny_model_bytes(), options, providers=["CPUExecutionProvider"])
    nodes = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert nodes.count("BatchNormalization") == 0
    assert nodes.count("Cast") == 1
    assert nodes.count("Conv") + nodes.count("FusedConv") == 22 + 4  # and the gate


def test_equal_checkpoints_give_equal_files(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        export_onnx(checkpoint, FILMS, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]
    model = load_model(tmp_path / "a.onnx")
    assert model.card.name == "tiny"
    assert model.card.heatmap_grid == (2, 2)
    assert [c["kind"] for c in model.card.certificates] == ["export_parity"]
    assert len(model.card.probes) == 3


def tampering_with(monkeypatch: pytest.MonkeyPatch, initializer: str) -> None:
    real = graph_from_network

    def other(*arguments: Any) -> onnx.ModelProto:
        model = real(*arguments)
        tensor = next(t for t in model.graph.initializer if t.name == initializer)
        values = np.frombuffer(tensor.raw_data, np.float32).copy()
        values.flat[0] += 0.1
        tensor.raw_data = values.tobytes()
        return model

    monkeypatch.setattr(exporting, "graph_from_network", other)


@pytest.mark.parametrize(
    ("initializer", "output"),
    [
        ("head.bias", "logits"),
        ("gate.head.bias", "gate"),
        ("distance.normal.mean", "distance"),
        ("stem.bn.bias", ""),
    ],
)
def test_a_file_that_differs_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, initializer: str, output: str
) -> None:
    tampering_with(monkeypatch, initializer)
    with pytest.raises(ModelError, match=f"not written: '{output}"):
        export_onnx(checkpoint, FILMS, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_films_score_alike_anywhere_in_a_batch() -> None:
    model = load_model(None)
    films = parity_squares(model)[:13]  # so that each begins at other addresses
    place = np.arange(65) % len(films)
    with open_backend(model, "cpu", len(place), threads=2) as backend:
        found = backend.infer(np.ascontiguousarray(films[place, None]))
    for name in NetworkOutputs._fields:
        values = getattr(found, name)
        np.testing.assert_array_equal(values, values[place], err_msg=name)


def test_a_row_that_depends_on_its_place_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from screen.backends.onnx import OnnxBackend

    infer = OnnxBackend._infer

    def uneven(self: OnnxBackend, images: NDArray[np.uint8]) -> Any:
        outputs = infer(self, images)
        outputs.distance[-1] += 1e-6
        return outputs

    model = model_from_bytes(tiny_model_bytes(), Path("m.onnx"))
    monkeypatch.setattr(OnnxBackend, "_infer", uneven)
    with pytest.raises(ModelError, match="'distance' of one film depends on its place"):
        check_parity(model, tiny_network(), squares(3))


def test_weights_that_are_not_rounded_are_refused() -> None:
    tensors = random_tensors()
    tensors["layer1.0.conv1.weight"] = tensors["layer1.0.conv1.weight"] + 1e-6
    with pytest.raises(ValueError, match="not rounded to fp16"):
        network_from_tensors(tensors, mean=0.5, std=0.25)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t, a: t.pop("gate.head.weight"), "'gate.head.weight' is missing"),
        (lambda t, a: t.pop("fc.weight"), "'fc.weight' is missing"),
        (lambda t, a: t.pop("bn1.running_var"), "bn1.running_var"),
        (lambda t, a: t.update({"gate.linear": torch.zeros(896)}), "gate.linear"),
        (lambda t, a: t.update({"distance.all.mean": torch.zeros(575)}), "distance.all.mean"),
        (lambda t, a: t.update({"gate.head.bias": torch.tensor([float("nan")])}), "gate.head.bias"),
        (lambda t, a: a.pop("input_mean"), "'input_mean' is missing"),
        (lambda t, a: a.update(input_std=0), "input_std"),
        (lambda t, a: a.update(kind="classifier"), "screen train calibrate"),
        (lambda t, a: a.pop("metrics"), "metrics"),
        (lambda t, a: a.update(primary="fracture"), "'primary'"),
        (lambda t, a: a.update(findings=a["findings"] * 2), "same name"),
        (lambda t, a: a["preprocess"].update(size=16), "size 16"),
        (lambda t, a: a["preprocess"].update(window=1), "window"),
    ],
)
def test_a_checkpoint_that_is_not_fit_is_refused(
    change: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors, plain = random_tensors(), json.loads(json.dumps(about(64, ("tumor",))))
    change(tensors, plain)
    monkeypatch.setattr(network_module, "load_checkpoint", lambda path: (tensors, plain))
    with pytest.raises(ModelError, match=said):
        export_onnx(tmp_path / "net", FILMS, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_the_checkpoint_is_read_as_it_was_written(checkpoint: Path) -> None:
    network, plain = network_from_checkpoint(checkpoint)
    expected = tiny_network().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
    assert plain["name"] == "tiny"


def test_the_command_line(checkpoint: Path, tmp_path: Path) -> None:
    import cv2
    from click.testing import CliRunner

    from screen.cli import cli

    films = tmp_path / "films"
    films.mkdir()
    for seed in range(2):
        cv2.imwrite(str(films / f"{seed}.png"), phantom(seed).values)
    (films / "notes.txt").write_text("no film")
    out = tmp_path / "m.onnx"
    runner = CliRunner()
    done = runner.invoke(cli, ["export", "onnx", str(checkpoint), "--out", str(out), "--probes", str(films)])
    assert (done.exit_code, "compared on 4 squares" in done.stderr) == (0, True), done.stderr
    assert len(load_model(out).card.probes) == 2
    (films / "0.png").unlink()
    (films / "1.png").unlink()
    none = runner.invoke(cli, ["export", "onnx", str(checkpoint), "--out", str(out), "--probes", str(films)])
    assert (none.exit_code, "no film in there" in none.stderr) == (2, True)


def test_a_model_file_becomes_a_checkpoint_and_the_same_network_again(tmp_path: Path) -> None:
    model = load_model(None)
    checkpoint_from_model(model, tmp_path / "classifier")
    tensors, said = load_checkpoint(tmp_path / "classifier")
    settings = said["settings"]
    assert said["kind"] == "classifier"
    assert settings == model.card.training["settings"]
    assert said["provenance"]["from_model"] == model.card.weights_digest
    network = ResNet18()
    network.load_state_dict(under(tensors, "network."))
    shown = parity_squares(model)[:8]
    learned = features_of(network, shown, settings["mean"], settings["std"])
    with open_backend(model, "cpu", 8, 2) as backend:
        found = backend.infer(shown[:, None])
    # The primary finding alone: others are fitted anew by `train calibrate`.
    np.testing.assert_allclose(learned.logits[:, 0], found.logits[:, 0], atol=1e-4)
    np.testing.assert_allclose(learned.embedding, found.embedding, atol=1e-3)


def test_a_file_in_another_precision_holds_no_checkpoint(tmp_path: Path) -> None:
    model = load_model(None)
    half = replace(model, card=replace(model.card, precision="fp16"))
    with pytest.raises(ModelError, match="fp32"):
        checkpoint_from_model(half, tmp_path / "classifier")
    assert not list(tmp_path.iterdir())
