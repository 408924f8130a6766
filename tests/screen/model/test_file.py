"""A model file is refused, with a reason, unless all of it is as the contract says."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from screen.errors import ModelError, UsageError
from screen.model import ModelCard, card_from_json, file, load_model, model_from_bytes
from screen.model.card import METADATA_KEY
from screen.model.onnx_file import fields_but_metadata
from screen.preprocess import square
from tests.micro_model import SIZE, micro_bytes, micro_card, micro_graph, micro_model, sha256

GOOD = micro_bytes()
HERE = Path("m.onnx")


def test_a_good_file_is_read_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(GOOD)
    model = load_model(path)
    assert model.data == GOOD
    assert model.file_digest == sha256(GOOD)
    assert model.path == path
    assert model.card.findings[0].operating_points[0].sensitivity_interval == (0.7, 0.9)


def test_a_card_comes_back_from_its_json() -> None:
    card = micro_model().card
    assert card_from_json(card.to_json()) == card


def test_a_code_is_read_and_decides_nothing() -> None:
    plain = micro_card() | {"weights_digest": "ab" * 32}
    card = card_from_json(json.dumps(plain))
    plain["findings"][0]["code"] = ["4147007", "SCT", "Mass"]
    coded = card_from_json(json.dumps(plain))
    assert (card.findings[0].code, coded.findings[0].code) == (None, ("4147007", "SCT", "Mass"))
    assert card.decision_digest() == coded.decision_digest()
    assert card_from_json(coded.to_json()) == coded


def test_every_field_of_a_card_is_needed() -> None:
    plain = json.loads(micro_model().card.to_json())
    assert set(plain) == {f.name for f in fields(ModelCard)}
    for name in set(plain) - {"gate_certain"}:  # models were without it before there was a second edge
        with pytest.raises(ModelError, match=f"'{name}' is missing"):
            card_from_json(json.dumps({key: value for key, value in plain.items() if key != name}))


@pytest.mark.parametrize("path", [Path("/does/not/exist.onnx"), Path("/dev/zero"), Path("/")])
def test_what_is_no_file_is_named(path: Path) -> None:
    with pytest.raises(UsageError, match="no such model file"):
        load_model(path)


def test_size_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MAX_MODEL_BYTES", len(GOOD) - 1)
    (tmp_path / "m.onnx").write_bytes(GOOD)
    with pytest.raises(ModelError, match="no model is so large"):
        load_model(tmp_path / "m.onnx")


def test_every_byte_outside_the_metadata_counts() -> None:
    """Whatever is changed in graph or weights, the file is refused."""
    at = 0
    for raw in fields_but_metadata(GOOD):
        at = GOOD.index(bytes(raw), at)
        for i in range(at, at + len(raw)):
            tampered = GOOD[:i] + bytes([GOOD[i] ^ 1]) + GOOD[i + 1 :]
            with pytest.raises(ModelError):
                model_from_bytes(tampered, HERE)
        at += len(raw)


def test_swapped_weights_are_refused_though_the_file_is_sound() -> None:
    other = onnx.ModelProto.FromString(GOOD)
    other.graph.initializer[0].raw_data = b"\0\0\0\0"
    with pytest.raises(ModelError, match="damaged or tampered"):
        model_from_bytes(other.SerializeToString(), HERE)


def test_another_implementation_of_preprocessing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(square, "_IMPLEMENTATION", square._IMPLEMENTATION + 1)
    with pytest.raises(ModelError, match="preprocessing"):
        model_from_bytes(GOOD, HERE)


def test_the_weights_digest_covers_preprocessing_and_no_certificate() -> None:
    def certified(card: dict[str, Any]) -> None:
        card["certificates"] = [{"kind": "another"}]

    model, other = micro_model(), model_from_bytes(micro_bytes(certified), HERE)
    assert other.card.weights_digest == model.card.weights_digest
    assert other.file_digest != model.file_digest
    assert file.weights_digest(GOOD, "0" * 64) != model.card.weights_digest


def test_a_newer_minor_schema_is_read() -> None:
    def newer(card: dict[str, Any]) -> None:
        card["schema"] = "1.7"
        card["invented_later"] = {"a": 1}

    assert model_from_bytes(micro_bytes(newer), HERE).card.schema == "1.7"


def set_to(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(card: dict[str, Any]) -> None:
        *way, last = path.split(".")
        target: Any = card
        for step in way:
            target = target[int(step)] if step.isdigit() else target[step]
        target[int(last) if last.isdigit() else last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_to("schema", "2.0"), "schema 2.0"),
        (set_to("schema", "1"), "MAJOR.MINOR"),
        (set_to("schema", "one"), "MAJOR.MINOR"),
        (set_to("name", ""), "'name'"),
        (set_to("name", "\x1b[2Jcleared"), "control characters"),
        (set_to("training", {"by\x1b": 1}), "control characters"),
        (set_to("intended_use", None), "'intended_use'"),
        (set_to("preprocess", []), "'preprocess' must be an object"),
        (set_to("preprocess.size", 64), "'input_size' must be 64"),
        (set_to("preprocess.clahe_clip", 3.0), "preprocessing"),
        (set_to("preprocess.low_percentile", 99.9), "percentiles"),
        (set_to("preprocess_digest", "0" * 64), "preprocessing"),
        (set_to("preprocess_digest", "0" * 63), "'preprocess_digest'"),
        (set_to("weights_digest", "0" * 64), "damaged or tampered"),
        (set_to("findings", []), "'findings'"),
        (set_to("findings.0.slope", -1.0), "slope"),
        (set_to("findings.0.slope", True), "'findings[0].slope'"),
        (set_to("findings.0.intercept", float("nan")), "NaN"),
        (set_to("findings.0.intercept", 10**400), "JSON|intercept"),
        (set_to("findings.0.prevalence", 1.5), "'findings[0].prevalence'"),
        (set_to("findings.0.default_operating_point", "best"), "default_operating_point"),
        (set_to("findings.0.operating_points", []), "operating_points"),
        (set_to("findings.0.operating_points.0.threshold", 1.01), "threshold"),
        (set_to("findings.0.operating_points.0.sensitivity_interval", [0.9, 0.7]), "sensitivity_interval"),
        (set_to("findings.0.operating_points.0.sensitivity_interval", [0.9]), "sensitivity_interval"),
        (set_to("findings.0.heatmap_scale", [1, 1]), "heatmap_scale"),
        (set_to("findings.0.code", "mass"), "code"),
        (set_to("findings.0.code", ["mass", "99X"]), "code"),
        (set_to("findings.0.code", ["mass", "", "Mass"]), "code"),
        (set_to("findings.0.code", ["mass", "99X\\99Y", "Mass"]), "code"),
        (set_to("findings.0.code", ["mass", "99" + "X" * 15, "Mass"]), "code"),
        (set_to("findings.0.code", ["mass", "99X", "M" * 65]), "code"),
        (set_to("findings", [micro_card()["findings"][0]] * 2), "same name"),
        (set_to("primary", "fracture"), "'primary'"),
        (set_to("heatmap_grid", [2, 3]), "'heatmap' is not float32 [N, 1, 2, 3]"),
        (set_to("heatmap_grid", [2, "2"]), "heatmap_grid"),
        (set_to("embedding_size", 2), "'embedding' is not"),
        (set_to("distance_quantiles", [1.0] * 100), "distance_quantiles"),
        (set_to("distance_quantiles.50", 48.0), "must not fall"),
        (set_to("probes", []), "'probes'"),
        (set_to("probes.0.height", 5000), "'probes[0].height'"),
        (set_to("probes.0.logits", [0.1, 0.2]), "one logit per finding"),
        (set_to("probe_logit_bound", -1), "'probe_logit_bound'"),
        (set_to("metrics", 3), "'metrics'"),
        (set_to("certificates", [1]), "'certificates[0]'"),
    ],
)
def test_a_wrong_card_is_refused_by_the_name_of_the_field(
    change: Callable[[dict[str, Any]], None], said: str
) -> None:
    with pytest.raises(ModelError) as refusal:
        model_from_bytes(micro_bytes(change), HERE)
    assert any(part in str(refusal.value) for part in said.split("|"))
    assert str(refusal.value).startswith("m.onnx: ")


def test_an_onnx_file_of_others_is_refused() -> None:
    with pytest.raises(ModelError, match="metadata are missing"):
        model_from_bytes(micro_graph().SerializeToString(), HERE)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 200_000, '{"schema": 1}', "null", '{"a": NaN}'])
def test_broken_json_is_refused(text: str) -> None:
    graph = micro_graph()
    helper.set_model_props(graph, {METADATA_KEY: text})
    with pytest.raises(ModelError, match="metadata"):
        model_from_bytes(graph.SerializeToString(), HERE)


def custom_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def imported_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 9


def no_opset(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


def future_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def renamed_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "scores"


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.UINT8, ["N"]))


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def pinned_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def other_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = SIZE + 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (custom_domain, "com.example"),
        (imported_domain, "com.microsoft"),
        (old_opset, "opset 9"),
        (no_opset, "opset 0"),
        (future_ir, "IR version 99"),
        (renamed_output, "inputs and outputs"),
        (second_input, "inputs and outputs"),
        (float_input, "'image' is not uint8"),
        (pinned_batch, "'image' is not uint8"),
        (other_size, "'image' is not uint8"),
    ],
)
def test_a_wrong_graph_is_refused(change: Callable[[onnx.ModelProto], None], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        model_from_bytes(micro_bytes(change_graph=change), HERE)


def test_truncated_files_are_refused() -> None:
    for length in range(0, len(GOOD), 7):
        with pytest.raises(ModelError):
            model_from_bytes(GOOD[:length], HERE)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_files_are_refused_or_the_same_network(data: st.DataObject) -> None:
    mutated = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        mutated[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    try:
        model = model_from_bytes(bytes(mutated), HERE)
    except ModelError:
        return
    assert b"".join(fields_but_metadata(bytes(mutated))) == b"".join(fields_but_metadata(GOOD))
    assert model.card.weights_digest == micro_model().card.weights_digest


def test_a_missing_shipped_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file.resources, "files", lambda package: tmp_path)
    with pytest.raises(ModelError, match="--model FILE"):
        load_model(None)


def test_show_escapes_nothing_and_names_everything(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from screen.cli.model import cli

    path = tmp_path / "m.onnx"
    path.write_bytes(micro_bytes(set_to("name", "[red]micro[/red]")))
    shown = CliRunner().invoke(cli, ["show", str(path)], catch_exceptions=False)
    assert shown.exit_code == 0
    for text in (
        "[red]micro[/red] 1",
        micro_model().card.weights_digest,
        "0.800 [0.700, 0.900]",
        "balanced *",
    ):
        assert text in shown.output
    verified = CliRunner().invoke(cli, ["verify", str(path)], catch_exceptions=False)
    assert verified.exit_code == 0
    assert "equal to the byte" in verified.output
