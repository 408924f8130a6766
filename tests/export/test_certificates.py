"""int8, other runtimes and shortcuts run only with a certificate, and certificates are measured."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from export import certify as certifying
from export import decodings
from export.certify import Labels, Request, Scores, agreement, certify
from export.decodings import Variant, variants_of
from export.modelwriter import with_card
from export.quantize import int8_from_model, sum_bits
from screen.cli import cli
from screen.errors import ModelError, UsageError
from screen.model import Bounds, Model, load_model, model_from_bytes
from screen.model.certificates import check_certified, flips_in_words
from screen.preprocess import square_from_pixels
from screen.shortcuts import FULL, DecodePolicy, Shortcut
from tests.micro_model import micro_bytes
from tests.tiny_model import phantom, tiny_model_bytes, tiny_model_file

ANYTHING = Bounds(1, 1, 1, 1)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small films and their labels, both kinds from one source."""
    folder = tmp_path_factory.mktemp("films")
    with (folder / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "patient_id", "tumor", "source"])
        for seed in range(8):
            cv2.imwrite(str(folder / f"{seed}.png"), phantom(seed).values)
            writer.writerow([f"{seed}.png", seed, seed % 2, "one"])
    return folder


def tiny() -> Model:
    return model_from_bytes(tiny_model_bytes(), Path("tiny.onnx"))


def int8() -> Model:
    model = tiny()
    squares = np.stack([square_from_pixels(phantom(seed), model.card.preprocess).values for seed in range(6)])
    return int8_from_model(model, squares, "digest", Path("int8.onnx"))


def quiet(done: int, total: int) -> None:
    pass


def test_a_card_changes_and_nothing_else() -> None:
    model = tiny()
    other = with_card(model.data, replace(model.card, name="other"))
    again = model_from_bytes(other, Path("m.onnx"))
    assert (again.card.name, again.card.weights_digest) == ("other", model.card.weights_digest)
    assert with_card(other, model.card) == model.data


def test_int8_keeps_decisions_and_is_an_int8_file() -> None:
    import onnx
    from onnx import TensorProto

    fp32, made = tiny(), int8()
    assert made.card.precision == "int8"
    assert made.card.decision_digest() == fp32.card.decision_digest()
    assert made.card.weights_digest != fp32.card.weights_digest
    assert made.card.training["derived_from"]["weights_digest"] == fp32.card.weights_digest
    types = {t.name: t.data_type for t in onnx.ModelProto.FromString(made.data).graph.initializer}
    assert TensorProto.INT8 in {kind for name, kind in types.items() if "layer4" in name}
    assert all(
        types[name] == TensorProto.FLOAT
        for name in ("distance.normal.mean", "distance.all.mean", "gate.convs.3.weight", "head.bias")
    )
    with pytest.raises(ModelError, match="int8 is made from fp32"):
        int8_from_model(made, np.zeros((1, 64, 64), np.uint8), "", Path("m.onnx"))


def test_int8_is_refused_until_it_is_certified(films: Path, tmp_path: Path) -> None:
    model = int8()
    path, reference, out = tmp_path / "int8.onnx", tmp_path / "fp32.onnx", tmp_path / "certified.onnx"
    path.write_bytes(model.data)
    tiny_model_file(reference)
    with pytest.raises(UsageError, match=r"screen export certify .*--against"):
        check_certified("int8", "cpu", model.card.certificates, str(path))
    run = CliRunner().invoke(cli, ["run", str(films), "--model", str(path), "--out", str(tmp_path / "r")])
    assert (run.exit_code, "screen export certify" in run.stderr) == (2, True), run.stderr
    verdicts = certify(path, Request(against=reference), films, films / "labels.csv", out, quiet)
    assert [v.found.films for v in verdicts] == [8]
    card = load_model(out).card
    assert card.weights_digest == model.card.weights_digest
    certified = not verdicts[0].complaints
    assert [c["kind"] for c in card.certificates] == (["precision_parity"] if certified else [])
    if certified:
        low, high = card.certificates[0]["auc_within_source_interval"]
        assert low <= verdicts[0].found.auc_within_source_change <= high
    tiny_model_file(reference, seed=1)
    with pytest.raises(UsageError, match="was not made from it"):
        certify(path, Request(against=reference), films, films / "labels.csv", out, quiet)


def test_openvino_is_certified_by_measuring_it(films: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path, out = tiny_model_file(tmp_path / "m.onnx"), tmp_path / "out.onnx"
    with pytest.raises(UsageError, match="--devices openvino"):
        check_certified("fp32", "openvino", tiny().card.certificates, str(path))
    for _ in range(2):
        (verdict,) = certify(path, Request(devices=("openvino",)), films, films / "labels.csv", out, quiet)
        assert verdict.complaints == []
        path = out
    card = load_model(out).card
    assert [c["kind"] for c in card.certificates] == ["export_parity", "runtime_parity"]
    check_certified("fp32", "openvino", card.certificates, str(out))


def test_a_shortcut_that_was_not_taken_is_not_listed(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32-pixel detail in 96-pixel films: none of the shortcuts leaves the network's 64 pixels."""
    path, out = tiny_model_file(tmp_path / "m.onnx"), tmp_path / "out.onnx"
    request = Request(shortcuts=(Shortcut.REDUCED_RESOLUTION,), decode_bounds=ANYTHING)
    (verdict,) = certify(path, request, films, films / "labels.csv", out, quiet, longer_side=96)
    assert verdict.complaints == ["not taken on 8 of 8 films"]
    assert load_model(out).card.decode_policies == ()


def test_a_twin_is_measured_on_the_squares_that_its_model_was(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(shortcuts=(Shortcut.SCALED_JPEG,), decode_bounds=ANYTHING)
    path, out, cache = tiny_model_file(tmp_path / "m.onnx"), tmp_path / "out.onnx", tmp_path / "cache"

    def measured() -> tuple[Any, Any]:
        (verdict,) = certify(path, request, films, None, out, quiet, longer_side=512, cache=cache)
        return verdict.found, load_model(out).card.decode_policies

    found = measured()
    monkeypatch.setattr(decodings, "decodings", lambda *all_of_them: pytest.fail("decoded again"))
    assert measured() == found
    assert {path.stat().st_mode & 0o077 for path in cache.rglob("*")} == {0}


def test_shortcuts_are_tried_alone_and_together() -> None:
    variants = variants_of(list(Shortcut))
    assert [str(v.policy) for v in variants] == [
        "reduced_resolution.1", "scaled_jpeg.1", "stepwise_resize.1",
        "reduced_resolution.1+stepwise_resize.1", "scaled_jpeg.1+stepwise_resize.1",
    ]  # fmt: skip
    assert variants[0].reference == Variant("explicit", FULL)
    assert variants[1].reference == Variant("jpeg", FULL)
    assert len(variants_of([Shortcut.SCALED_JPEG])) == 1


def test_agreement_counts_what_flips() -> None:
    card = tiny().card
    logits = np.array([[-3.0], [-0.01], [0.01], [3.0]], np.float32)
    gate = np.ones(4, np.float32)
    moved = logits + np.float32(0.02)
    labels = Labels(np.array([0, 1, 0, 1], np.float32), np.array(["a"] * 4), np.array(list("1234")))
    found = agreement(card, Scores(logits, gate), Scores(moved, -gate), labels)
    assert found.flips == {"tumor.sensitive": 0, "tumor.balanced": 1, "tumor.specific": 0}
    assert (found.gate_changes, found.labelled, found.films) == (4, 4, 4)
    assert found.max_logit_difference == pytest.approx(0.02, rel=1e-2)
    assert found.farthest_flip == pytest.approx(0.0025, rel=1e-2)
    assert Bounds(1, 0.2, 1, 1).complaints(found) == ["1 of 4 verdicts flip at tumor.balanced (> 20.00%)"]
    assert Bounds(1, 0.25, 1, 1).complaints(found) == []
    assert Bounds(1, 1, 0.002, 1).complaints(found) == ["a verdict flips 0.0025 from its threshold"]
    assert Bounds(1, 1, 1, 1).complaints(replace(found, auc_pooled_change=float("nan")))


def test_flips_name_the_finding_where_there_are_several() -> None:
    assert flips_in_words({"tumor.balanced": 1, "tumor.specific": 0}) == "balanced 1, specific 0"
    several = {"tumor.balanced": 1, "abnormal.balanced": 2}
    assert flips_in_words(several) == "tumor.balanced 1, abnormal.balanced 2"


def test_labels_must_tell_an_auc(films: Path, tmp_path: Path) -> None:
    table = films / "one-kind.csv"
    table.write_text("file,patient_id,tumor,source\n0.png,0,1,one\n1.png,1,0,two\n")
    path = tiny_model_file(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="with and without 'tumor' from one source"):
        certify(path, Request(devices=("openvino",)), films, table, tmp_path / "out.onnx", quiet)


AGREEMENT = {
    "films": 10, "mean_probability_difference": 0.1, "max_probability_difference": 0.2,
    "mean_logit_difference": 0.1, "max_logit_difference": 0.2, "flips": {"tumor.balanced": 1},
    "farthest_flip": 0.1, "gate_changes": 0, "labelled": 4, "auc_within_source_change": 0.0,
    "auc_pooled_change": 0.0,
}  # fmt: skip


def certified(change: Any) -> bytes:
    def change_card(card: dict[str, Any]) -> None:
        entry = {
            "kind": "runtime_parity", "device": "openvino", "weights_digest": card["weights_digest"],
            "agreement": json.loads(json.dumps(AGREEMENT)),
        }  # fmt: skip
        change(entry)
        card["certificates"] = [entry]

    return micro_bytes(change_card)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e.update(weights_digest="0" * 64), "other weights"),
        (lambda e: e.pop("weights_digest"), "weights_digest"),
        (lambda e: e.pop("device"), "device"),
        (lambda e: e.pop("agreement"), "agreement"),
        (lambda e: e["agreement"].update(films=0), "films"),
        (lambda e: e["agreement"]["flips"].update({"tumor.balanced": 11}), "tumor.balanced"),
        (lambda e: e["agreement"].update(mean_probability_difference=2), "mean_probability_difference"),
    ],
)
def test_broken_certificates_are_refused(change: Any, said: str) -> None:
    model_from_bytes(certified(lambda entry: None), Path("m.onnx"))
    with pytest.raises(ModelError, match=said):
        model_from_bytes(certified(change), Path("m.onnx"))


def test_a_listed_shortcut_needs_its_certificate() -> None:
    def change(card: dict[str, Any]) -> None:
        card["decode_policies"] = [{"name": "scaled_jpeg", "version": 1}]

    with pytest.raises(ModelError, match="certificate"):
        model_from_bytes(micro_bytes(change), Path("m.onnx"))


def test_the_command_line(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.quantize.MIN_FILMS", 4)
    source, out = tiny_model_file(tmp_path / "m.onnx"), tmp_path / "int8.onnx"
    runner = CliRunner()
    make = ["export", "onnx", str(source), "--precision", "int8", "--out", str(out)]
    none = runner.invoke(cli, make)
    assert (none.exit_code, "needs --films" in none.stderr) == (2, True)
    beyond = runner.invoke(cli, [*make, "--films", str(films), "--bounds", "0", "0", "0", "0", "0"])
    assert (beyond.exit_code, "not written" in beyond.stderr, out.exists()) == (1, True, False)
    anything = ["--films", str(films), "--bounds", "1", "1", "1", "1", "1"]
    done = runner.invoke(cli, [*make, *anything])
    assert (done.exit_code, "compared on 4 films" in done.stderr) == (0, True), done.stderr
    made = load_model(out).card
    assert made.training["derived_from"]["films"] == 4  # the others
    assert made.certificates[0]["sum_bits"] == sum_bits()
    run = runner.invoke(cli, ["run", str(films), "--model", str(out), "--out", str(tmp_path / "r")])
    assert run.exit_code == 0, run.stderr
    page = tmp_path / "card.md"
    written = runner.invoke(cli, ["export", "card", str(out), "--against", str(source), "--out", str(page)])
    assert written.exit_code == 0, written.stderr
    assert made.weights_digest in page.read_text()
    assert made.training["derived_from"]["weights_digest"] in page.read_text()
    assert f"{sum_bits()}-bit sums" in page.read_text()
    other = runner.invoke(cli, ["export", "card", str(source), "--against", str(out), "--out", str(page)])
    assert (other.exit_code, "not a certified model" in other.stderr) == (2, True)
    asked = ["export", "certify", str(source), "--films", str(films), "--labels", str(films / "labels.csv")]
    nothing = runner.invoke(cli, [*asked, "--out", str(tmp_path / "c.onnx")])
    assert (nothing.exit_code, "say what to certify" in nothing.stderr) == (2, True)
    monkeypatch.setattr(certifying, "PARITY_BOUNDS", Bounds(-1, 0, 0, 0))
    refused = runner.invoke(cli, [*asked, "--devices", "openvino", "--out", str(tmp_path / "c.onnx")])
    assert (refused.exit_code, "mean |Δp|" in refused.stdout) == (1, True), refused.output
    assert [c["kind"] for c in load_model(tmp_path / "c.onnx").card.certificates] == ["export_parity"]


def test_policies_read_what_certify_writes() -> None:
    assert str(DecodePolicy(frozenset({Shortcut.SCALED_JPEG}))) == "scaled_jpeg.1"
