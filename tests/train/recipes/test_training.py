"""The training stages on small pictures: resumed runs end where uninterrupted ones do; splits are kept."""

import csv
import json
import re
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from screen.cli import cli as screen_cli
from screen.decode import Decoded, decode
from screen.discover import discover
from screen.errors import UsageError
from screen.preprocess import Geometry, PreprocessSpec
from screen.readers import Limits
from screen.shortcuts import FULL
from train.cli.main import cli
from train.data.boxes import Box
from train.data.films import LabelledFilms, labelled_films, unlabelled_films
from train.data.folds import Split, cross_fold_of, label_rank, split_of
from train.data.table import Columns
from train.measure.predictions import PREDICTION_COLUMNS
from train.network.checkpoint import CheckpointError, load_checkpoint, save_checkpoint, under
from train.progress import progress_bar
from train.recipes import batches as batching
from train.recipes import calibrate as calibrating
from train.recipes import crossfit
from train.recipes import finetune as finetuning
from train.recipes.batches import Batch, Batches
from train.recipes.crossfit import CrossSettings, cross_validate, peak
from train.recipes.finetune import finetune
from train.recipes.settings import OF_HEAD, OF_LAYERS, FinetuneSettings, left_out

SPEC = PreprocessSpec(size=32)


def quiet(done: int, total: int) -> None:
    """No progress bar."""


def picture(seed: int, tumor: bool) -> NDArray[np.uint8]:
    generator = np.random.default_rng(seed)
    image = cv2.GaussianBlur(generator.integers(0, 160, (48, 40)).astype(np.uint8), (0, 0), 4)
    image = cv2.normalize(image, None, 20, 150, cv2.NORM_MINMAX).astype(np.uint8)
    if tumor:
        centre = (int(generator.integers(12, 28)), int(generator.integers(12, 36)))
        cv2.circle(image, centre, 6, 250, -1)
    return image


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 pictures of 60 patients from two collections, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("films")
    rows = []
    for index in range(120):
        tumor = index % 3 == 0
        name = f"{index:03d}.png"
        cv2.imwrite(str(folder / name), picture(index, tumor))
        findings = "Mass" if tumor else "No Finding"
        rows.append([name, f"P{index // 2}", "ab"[index % 2], int(tumor), int(tumor), findings])
    (folder / "broken.png").write_bytes((folder / "000.png").read_bytes()[:100])
    rows.append(["broken.png", "P0", "a", 1, 1, ""])
    with (folder / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "patient_id", "source", "tumor", "abnormal", "findings_raw"])
        writer.writerows(rows)
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def films(table: Path, tmp_path_factory: pytest.TempPathFactory) -> LabelledFilms:
    return labelled_films(table, Columns(), SPEC, tmp_path_factory.mktemp("cache"), 0, quiet)


def planted_start() -> dict[str, torch.Tensor]:
    """Weights of a network with a head that finds what is bright, as pre-training gives them."""
    torch.manual_seed(4)
    start = finetuning.ResNet18().state_dict()
    head = torch.ones(1, finetuning.EMBEDDING_SIZE, 1, 1)
    return start | {"cells.weight": head / 100, "cells.bias": torch.tensor([-2.0])}


def test_training_sees_the_bytes_that_screening_sees(films: LabelledFilms, table: Path) -> None:
    for source, values in zip(
        discover([table.parent / k for k in films.files], None), films.values, strict=True
    ):
        screened = decode(source, SPEC, Limits(), FULL).result  # what the workers of `screen run` call
        assert isinstance(screened, Decoded)
        assert np.array_equal(screened.square, values)


def test_what_cannot_be_read_is_dropped_and_counted(films: LabelledFilms) -> None:
    assert len(films.values) == 120
    assert films.dropped == {"corrupt_pixels": 1}


def test_squares_are_made_once(table: Path, tmp_path: Path) -> None:
    first = labelled_films(table, Columns(), SPEC, tmp_path, 0, quiet)

    def never(done: int, total: int) -> None:
        raise AssertionError("read again")

    again = labelled_films(table, Columns(), SPEC, tmp_path, 0, never)
    assert again.digest == first.digest
    assert np.array_equal(again.values, first.values)


def test_a_squeezed_film_gets_its_aspect_back(tmp_path: Path) -> None:
    film = cv2.resize(picture(5, tumor=True), (100, 75), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "film.png"), film)
    cv2.imwrite(str(tmp_path / "squeezed.png"), cv2.resize(film, (100, 100), interpolation=cv2.INTER_CUBIC))
    (tmp_path / "labels.csv").write_text("file,patient_id,tumor\nfilm.png,P1,1\nsqueezed.png,P1,1\n")
    (tmp_path / "sizes.csv").write_text(
        "Image Index,OriginalImage[Width,Height]\nfilm.png,2500,2000\nsqueezed.png,2000,1500\n"
    )

    def squares(true_sizes: Path | None) -> LabelledFilms:
        columns = Columns(true_sizes=true_sizes)
        return labelled_films(tmp_path / "labels.csv", columns, SPEC, tmp_path / "cache", 0, quiet)

    film_square, squeezed = squares(None).values.astype(int)
    own, restored = (found := squares(tmp_path / "sizes.csv")).values.astype(int)
    assert np.array_equal(own, film_square)  # no square picture
    assert np.abs(restored - film_square).mean() < np.abs(squeezed - film_square).mean() / 5
    assert (found.geometry[1].content_height, found.geometry[1].content_width) == (24, 32)


def test_tables_for_training_only_bring_training_patients_only(table: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra.csv"
    patients = [f"Q{n}" for n in range(40)]
    names = [table.parent / f"{n:03d}.png" for n in range(40)]
    with extra.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "patient_id", "tumor"])
        writer.writerows([path, patient, 0] for path, patient in zip(names, patients, strict=True))
    small = tmp_path / "small.csv"
    small.write_text(f"file,patient_id,tumor\n{table.parent / '100.png'},P50,1\n")
    films = labelled_films(small, Columns(), SPEC, tmp_path, 0, quiet, training_only=[extra])
    trained_on = {patient for patient in patients if split_of(patient, 0) == Split.TRAIN}
    assert set(films.patients[films.training_only]) == set(patients)
    assert set(films.patients[films.of(Split.TRAIN) & films.training_only]) == trained_on
    assert not (films.of(Split.VALIDATION) | films.of(Split.TEST))[films.training_only].any()


def test_a_resumed_fine_tuning_ends_with_the_same_weights(films: LabelledFilms, tmp_path: Path) -> None:
    settings = FinetuneSettings(stages=((1, 32, 2), (1, 32, 5)), samples=32, batch_size=16)
    lines: list[str] = []
    finetune(films, settings, None, tmp_path / "whole", {}, lines.append)

    def stop(line: str) -> None:
        if line.startswith("epoch 1/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(films, settings, None, tmp_path / "halves", {}, stop)
    finetune(films, settings, None, tmp_path / "halves", {}, lines.append)
    whole, _ = load_checkpoint(tmp_path / "whole")
    halves, _ = load_checkpoint(tmp_path / "halves")
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    stored = under(whole, "network.")
    assert torch.equal(stored["layer1.0.conv1.weight"], stored["layer1.0.conv1.weight"].half().float())


def test_frozen_parts_keep_weights_and_statistics(films: LabelledFilms, tmp_path: Path) -> None:
    settings = FinetuneSettings(stages=((1, 32, 2),), samples=32, batch_size=16, few=0)
    torch.manual_seed(settings.seed)
    start = finetuning.ResNet18().state_dict()
    start["fc.weight"].zero_()
    finetune(films, settings, start, tmp_path / "frozen", {}, lambda line: None)
    trained = under(load_checkpoint(tmp_path / "frozen")[0], "training.")
    same = {name for name in trained if torch.equal(trained[name], start[name])}
    assert {"conv1.weight", "bn1.running_mean", "layer3.0.bn1.running_var"} <= same
    assert not {"layer4.0.conv1.weight", "layer4.0.bn1.running_mean", "fc.weight"} & same


def test_who_holds_no_film_back_is_told_so(films: LabelledFilms, tmp_path: Path) -> None:
    everything = replace(films, splits=np.full_like(films.splits, Split.TRAIN))
    lines: list[str] = []
    settings = FinetuneSettings(head_alone=True).at(32)
    finetune(everything, settings, planted_start(), tmp_path / "head", {}, lines.append)
    assert lines == ["head fitted on 120 films, the network left as it is: no films held back to validate on"]


def test_the_head_alone_learns_if_that_is_asked_for(films: LabelledFilms, tmp_path: Path) -> None:
    start = planted_start()
    lines: list[str] = []
    finetune(films, FinetuneSettings(head_alone=True).at(32), start, tmp_path / "head", {}, lines.append)
    kept = under(load_checkpoint(tmp_path / "head")[0], "network.")
    network = finetuning.ResNet18()
    finetuning.begin_with(network, start)
    finetuning.round_to_storage(network)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(kept[name], value)}
    assert changed == {"film.weight", "fc.bias"}
    assert lines[0].startswith("head fitted on 68 films")
    with pytest.raises(UsageError, match="other settings"):
        finetune(
            films,
            FinetuneSettings(head_alone=True, shrinkage=1).at(32),
            start,
            tmp_path / "head",
            {},
            lines.append,
        )


def test_a_classifier_can_be_begun_with(films: LabelledFilms, tmp_path: Path) -> None:
    """Its cells stay; what its whole film added is learned anew."""
    settings = FinetuneSettings(head_alone=True).at(32)
    finetune(films, settings, planted_start(), tmp_path / "first", {}, lambda line: None)
    first, _ = load_checkpoint(tmp_path / "first")
    again = finetuning.encoder_in(first)
    finetune(films, settings, again, tmp_path / "second", {}, lambda line: None)
    second, _ = load_checkpoint(tmp_path / "second")
    assert torch.equal(first["network.fc.weight"], second["network.fc.weight"])
    assert torch.allclose(first["network.film.weight"], second["network.film.weight"], atol=1e-3)


def test_a_head_alone_needs_a_pretrained_network(films: LabelledFilms, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--weights"):
        finetune(films, FinetuneSettings(head_alone=True), None, tmp_path / "none", {}, lambda line: None)


def test_a_head_learns_from_training_films_and_no_disputed_ones(films: LabelledFilms, tmp_path: Path) -> None:
    """Whatever the others' labels are, it is the same."""
    disputed = np.arange(len(films.labels)) % 5 == 0
    heads = []
    for others in (0.0, 1.0):
        labels = np.where(disputed | ~films.of(Split.TRAIN), np.float32(others), films.labels)
        known, out = replace(films, labels=labels, disputed=disputed), tmp_path / str(others)
        finetune(known, FinetuneSettings(head_alone=True).at(32), planted_start(), out, {}, lambda line: None)
        heads.append(under(load_checkpoint(out)[0], "network."))
    assert torch.equal(heads[0]["film.weight"], heads[1]["film.weight"])
    assert heads[0]["film.weight"].any()


def test_heads_of_folds_are_those_that_each_fold_would_get_alone(
    films: LabelledFilms, tmp_path: Path
) -> None:
    """What the network makes of films is asked for once for all folds."""
    settings, start = FinetuneSettings(head_alone=True, shrinkage=100.0).at(32), planted_start()
    cross = CrossSettings(folds=(0, 3), seeds=(0, 1))
    out = cross_validate(films, settings, cross, start, tmp_path / "cv", {}, lambda line: None)
    with out.open(newline="") as stream:
        judged = list(csv.DictReader(stream))
    for seed, fold in product(cross.seeds, cross.folds):
        of_it = [row for row in judged if (int(row["seed"]), int(row["fold"])) == (seed, fold)]
        # Nothing but the division is random in it, so each seed has its own.
        held_out = {patient for patient in films.patients if cross_fold_of(patient, seed) == fold}
        assert {row["patient_id"] for row in of_it} == held_out
        rest = films.divided(lambda patient, out=held_out: Split.TEST if patient in out else Split.TRAIN)
        alone = tmp_path / f"{fold}-{seed}"
        finetune(rest, replace(settings, seed=seed), start, alone, {}, lambda line: None)
        network = finetuning.ResNet18()
        network.load_state_dict(under(load_checkpoint(alone)[0], "network."))
        logits = finetuning.predict(network, films.values, 32, settings.mean, settings.std)[:, 0]
        expected = dict(zip(films.files, logits, strict=True))
        found = {row["file"]: float(row["logit"]) for row in of_it}
        assert found == pytest.approx({file: expected[file] for file in found}, abs=1e-5)


@pytest.mark.parametrize("pretrained", [True, False])
def test_few_labels_leave_what_pretraining_found(
    films: LabelledFilms, tmp_path: Path, pretrained: bool
) -> None:
    settings = FinetuneSettings(stages=((1, 32, 2), (1, 32, 5)), samples=32, batch_size=16, few=40)
    torch.manual_seed(settings.seed)
    start = finetuning.ResNet18().state_dict()
    network = finetuning.ResNet18()
    network.load_state_dict(start)
    finetuning.round_to_storage(network)
    encoder = start | {"cells.weight": start["fc.weight"][:, :, None, None], "cells.bias": start["fc.bias"]}
    finetune(films, settings, encoder if pretrained else None, tmp_path / "few", {}, lambda line: None)
    kept = under(load_checkpoint(tmp_path / "few")[0], "network.")
    changed = {
        name.split(".")[0]
        for name, value in network.state_dict().items()
        if not torch.equal(kept[name], value)
    }
    assert changed == ({"fc", "film"} if pretrained else {name.split(".")[0] for name in start})
    if pretrained:  # with more labels under the same name its layers learn
        more = replace(films, labels=(np.arange(len(films.labels)) % 9 > 0).astype(np.float32))
        finetune(more, settings, encoder, tmp_path / "few", {}, lambda line: None)
        kept = under(load_checkpoint(tmp_path / "few")[0], "network.")
        assert not torch.equal(kept["layer4.0.conv1.weight"], network.layer4[0].conv1.weight)


def test_folds_with_few_labels_and_with_more_are_judged_each_by_its_network(
    films: LabelledFilms, tmp_path: Path
) -> None:
    start, cross = planted_start(), CrossSettings(folds=(0, 3))
    positives = {
        fold: int(films.labels[[cross_fold_of(patient, 0) != fold for patient in films.patients]].sum())
        for fold in cross.folds
    }
    few = max(positives.values())
    assert min(positives.values()) < few
    settings = FinetuneSettings(stages=((1, 32, 2),), samples=32, batch_size=16, few=few)
    out = cross_validate(films, settings, cross, start, tmp_path / "cv", {}, lambda line: None)
    with out.open(newline="") as stream:
        judged = list(csv.DictReader(stream))
    for fold in cross.folds:
        tensors, _ = load_checkpoint(tmp_path / "cv" / f"fold{fold}-seed0")
        assert ("training.fc.weight" in tensors) == (positives[fold] >= few)
        network = finetuning.ResNet18()
        network.load_state_dict(under(tensors, "network."))
        logits = finetuning.predict(network, films.values, 32, settings.mean, settings.std)[:, 0]
        expected = dict(zip(films.files, logits, strict=True))
        found = {row["file"]: float(row["logit"]) for row in judged if int(row["fold"]) == fold}
        assert found == pytest.approx({file: expected[file] for file in found}, abs=1e-5)


def test_only_training_patients_are_trained_on(
    films: LabelledFilms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    reequalise = batching.reequalise

    def spy(squares: torch.Tensor, probability: float, generator: np.random.Generator) -> torch.Tensor:
        seen.append(squares)
        return reequalise(squares, probability, generator)

    monkeypatch.setattr(batching, "reequalise", spy)
    settings = FinetuneSettings(stages=((1, 32, 1),), samples=256, batch_size=32)
    finetune(films, settings, None, tmp_path / "split", {}, lambda line: None)
    drawn = {square.tobytes() for batch in seen for square in batch.numpy()}
    sides = {
        split for square, split in zip(films.values, films.splits, strict=True) if square.tobytes() in drawn
    }
    assert sides == {Split.TRAIN.value}


def out_of_fold(table: Path) -> Path:
    """Made predictions of a table's films: higher with the finding, two folds by patient."""
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with Path("predictions.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(PREDICTION_COLUMNS)
        for at, row in enumerate(rows):
            logit = at % 7 + 2 * int(row["tumor"])
            writer.writerow([row["file"], row["patient_id"], len(row["patient_id"]) % 2, 0, logit, "", ""])
    return Path("predictions.csv")


def plain_table(table: Path) -> Path:
    """The same films with nothing but file, patient and label; one of them twice."""
    rows = list(csv.DictReader(table.read_text().splitlines()))
    plain = table.with_name("plain.csv")
    with plain.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "patient_id", "tumor"])
        writer.writerows([row["file"], row["patient_id"], row["tumor"]] for row in [*rows, rows[0]])
    return plain


def rows_of_two_hospitals(table: Path) -> Path:
    """The same films, those of every other patient as another hospital's."""
    made = table.with_name("hospitals.csv")
    with table.open(newline="") as stream, made.open("w", newline="") as out:
        reader = csv.DictReader(stream)
        names = [*(name for name in reader.fieldnames or () if name != "source"), "source", "nih_image_index"]
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        for at, row in enumerate(reader):
            elsewhere = at // 2 % 2
            writer.writerow(
                {
                    **row,
                    "source": "other_one" if elsewhere else "a",
                    "nih_image_index": "" if elsewhere else f"{at}.png",
                }
            )
    return made


def test_the_whole_chain_on_the_command_line(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("screen.preprocess.PreprocessSpec", partial(PreprocessSpec, size=SPEC.size))
    settings = FinetuneSettings(  # learns what shows on these films, however the processor rounds
        stages=((4, 24, 5),), samples=96, batch_size=16, learning_rate=3e-3, few=0, cells=0.0, planted=0
    )
    monkeypatch.setattr(
        finetuning,
        "FinetuneSettings",
        lambda head_alone, seed: replace(settings, head_alone=head_alone, seed=seed),
    )
    monkeypatch.setattr("train.data.films._MIN_SIDE_FILMS", 5)  # so that there is a side finding
    others = tmp_path / "others"
    others.mkdir()
    for index in range(4):
        noise = np.random.default_rng(index).integers(0, 256, (40, 40), dtype=np.uint8)
        cv2.imwrite(str(others / f"{index}.png"), noise)

    def run(*arguments: str | Path) -> str:
        result = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    run("pretrain", table, "--out", "simclr", "--epochs", "1", "--batch-size", "16", "--size", "32")
    with Path("simclr.csv").open() as stream:
        assert 0 <= float(next(csv.DictReader(stream))["knn_auc"]) <= 1
    run("finetune", table, "--weights", "simclr", "--size", "32", "--out", "classifier")
    hospitals = rows_of_two_hospitals(table)
    gate = ["gate", hospitals, "--others", others, "--size", "32", "--steps", "3", "--out", "gate"]
    assert run(*gate).splitlines()[-1] == run(*gate).splitlines()[-1]
    run("calibrate", "classifier", table, "--gate", "gate", "--out", "model")
    before = json.loads(Path("model.json").read_text())
    assert before["preprocess"]["size"] == 32
    assert before["training"]["normal_films"] == "as the table calls them"
    said = run("calibrate", "classifier", plain_table(table), "--gate", "gate", "--out", "plain")
    assert "122 rows: 120 films, 2 dropped (1 corrupt_pixels, 1 listed_twice)" in said
    assert "network over films: 120/120" in said
    plain = json.loads(Path("plain.json").read_text())
    assert plain["training"]["normal_films"] == "without the finding"
    assert before["findings"][0]["operating_points"][0]["measured_on"].startswith("validation split")
    printed = run("evaluate", "model", table, "--out", "evaluation")
    assert "auc_within_source" in printed
    after = json.loads(Path("model.json").read_text())
    assert after["findings"][0]["operating_points"][0]["measured_on"].startswith("test split")
    assert after["training"]["pretraining"]["kind"] == "simclr"
    pictures = {path.name for path in Path("evaluation").iterdir()}
    assert pictures == {
        "metrics.csv", "metrics.json", "model-card.md", "results.png", "roc.png", "precision-recall.png",
        "reliability.png",
    }  # fmt: skip
    with Path("evaluation/metrics.csv").open() as stream:
        figures = {row["figure"]: row for row in csv.DictReader(stream) if not row["group"]}
    run(
        "calibrate",
        "classifier",
        table,
        "--gate",
        "gate",
        "--out",
        "crossed",
        "--predictions",
        out_of_fold(table),
    )
    crossed = json.loads(Path("crossed.json").read_text())
    assert "out of fold" in crossed["findings"][0]["operating_points"][0]["measured_on"]
    assert crossed["metrics"]["auc_within_source"]["films"] == 121
    on_test = [split_of(f"P{n // 2}", 0) == Split.TEST for n in range(120)]
    assert int(figures["auc_within_source"]["films"]) == sum(on_test)


def test_leaving_the_test_split_out_needs_patients(table: Path, tmp_path: Path) -> None:
    pictures = unlabelled_films([table.parent], Columns(), SPEC, tmp_path, quiet)
    assert set(pictures.patients) == {""}
    result = CliRunner().invoke(
        screen_cli,
        [
            "train",
            "pretrain",
            str(table.parent),
            "--out",
            str(tmp_path / "x"),
            "--leave-out-test",
            "--cache",
            str(tmp_path),
        ],
    )
    assert result.exit_code == 2
    assert "patient" in result.output


def test_a_checkpoint_that_was_half_replaced_falls_back_to_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    save_checkpoint(path, {"x": torch.zeros(3)}, {"epoch": 1})
    save_checkpoint(path, {"x": torch.ones(3)}, {"epoch": 2})
    tensors, about = load_checkpoint(path)
    assert about["epoch"] == 2
    (tmp_path / "weights.safetensors").write_bytes(b"cut short")
    tensors, about = load_checkpoint(path)
    assert about["epoch"] == 1
    assert not tensors["x"].any()
    (tmp_path / "weights.previous.json").unlink()
    with pytest.raises(CheckpointError, match="weights"):
        load_checkpoint(path)


@pytest.mark.parametrize("stop", range(4))
def test_a_stop_at_any_moment_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    path, replace, done = tmp_path / "weights", Path.replace, 0

    def until_stopped(draft: Path, target: Path) -> Path:
        nonlocal done
        if done == stop:
            raise KeyboardInterrupt
        done += 1
        return replace(draft, target)

    for epoch in (1, 2):
        save_checkpoint(path, {"x": torch.tensor([epoch])}, {"epoch": epoch})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", until_stopped)
        save_checkpoint(path, {"x": torch.tensor([3])}, {"epoch": 3})
    tensors, about = load_checkpoint(path)
    assert about["epoch"] == 2
    assert tensors["x"].tolist() == [2]
    # The stopped one must not take the place of the whole one either.
    save_checkpoint(path, {"x": torch.tensor([4])}, {"epoch": 4})
    (tmp_path / "weights.json").unlink()
    assert load_checkpoint(path)[1]["epoch"] == 2


@pytest.mark.parametrize("said", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_damaged_description_is_no_whole_checkpoint(tmp_path: Path, said: bytes) -> None:
    path = tmp_path / "weights"
    for epoch in (1, 2):
        save_checkpoint(path, {"x": torch.tensor([epoch])}, {"epoch": epoch})
    (tmp_path / "weights.json").write_bytes(said)
    assert load_checkpoint(path)[1]["epoch"] == 1
    save_checkpoint(path, {"x": torch.tensor([3])}, {"epoch": 3})
    assert load_checkpoint(path)[1]["epoch"] == 3


def test_every_film_is_judged_by_a_network_that_never_saw_its_patient(table: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra.csv"  # films of the same patients that are fit for training only
    with table.open(newline="") as stream:
        readable = [row for row in csv.DictReader(stream) if row["file"] != "broken.png"]
    (tmp_path / "copy.png").write_bytes((table.parent / "001.png").read_bytes())
    extra.write_text("file,patient_id,source,tumor\ncopy.png,P0,b,0\n")
    films = labelled_films(table, Columns(), SPEC, tmp_path / "cache", 0, quiet, training_only=[extra])
    seen: dict[int, set[str]] = {}

    def spied(divided: LabelledFilms, *arguments: object) -> None:
        seen[len(seen)] = set(divided.patients[divided.of(Split.TRAIN)])
        finetune(divided, *arguments)  # type: ignore[arg-type]

    settings = FinetuneSettings(stages=((1, 32, 5),), samples=16, batch_size=8)
    cross = CrossSettings(folds=(0, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossfit, "finetune", spied)
        out = cross_validate(films, settings, cross, None, tmp_path / "cv", {}, lambda line: None)
    with out.open(newline="") as stream:
        judged = list(csv.DictReader(stream))
    held_out = {row["file"] for row in readable if cross_fold_of(row["patient_id"], 0) in cross.folds}
    assert sorted(row["file"] for row in judged) == sorted(held_out)
    for row in judged:
        assert int(row["fold"]) == cross_fold_of(row["patient_id"], 0)
        assert row["patient_id"] not in seen[cross.folds.index(int(row["fold"]))]
        assert 0 <= float(row["peak_x"]) <= 1
    before = out.read_bytes()
    again = cross_validate(films, settings, cross, None, tmp_path / "cv", {}, lambda line: None)
    assert again.read_bytes() == before


def test_without_labels_the_head_of_pretraining_judges(films: LabelledFilms, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = finetuning.ResNet18().state_dict()
    head = torch.randn(1, 512, 1, 1)
    cells = {"cells.weight": head, "cells.bias": torch.tensor([-2.0])}
    settings, none = FinetuneSettings(), CrossSettings(label_share=0)
    out = cross_validate(films, settings, none, encoder | cells, tmp_path / "0", {}, lambda line: None)
    network = finetuning.ResNet18()
    head_of = {"fc.weight": head.flatten(1), "fc.bias": cells["cells.bias"]}
    network.load_state_dict(encoder | head_of | {"film.weight": torch.zeros(1, 512)})
    logits = finetuning.predict(network, films.values, 32, settings.mean, settings.std)[:, 0]
    expected = dict(zip(films.files, logits, strict=True))
    with out.open(newline="") as stream:
        judged = {row["file"]: float(row["logit"]) for row in csv.DictReader(stream)}
    assert judged == pytest.approx(expected, abs=1e-4)
    with pytest.raises(UsageError, match="planted"):
        cross_validate(films, settings, none, encoder, tmp_path / "1", {}, lambda line: None)


def test_boxes_teach_places_where_the_source_would_tell_the_label(films: LabelledFilms) -> None:
    """A collection of positives alone gives no labels; those of its films that have boxes give places."""
    sources = films.sources.copy()
    lone = np.flatnonzero((films.labels == 1) & films.of(Split.TRAIN))[:6]
    sources[lone] = "positives only"
    boxes = [(Box(0.3, 0.3, 0.7, 0.7),) if film in lone[:3] else () for film in range(len(sources))]
    disputed = np.zeros(len(sources), np.bool_)
    disputed[np.flatnonzero(films.of(Split.TRAIN) & (films.labels == 0))[:5]] = True
    known = replace(films, sources=sources, boxes=tuple(boxes), disputed=disputed)
    settings = FinetuneSettings(samples=400, batch_size=20, planted=4)
    batches = list(Batches(known, settings).of_epoch(0, 20, 32, torch.device("cpu")))
    assert all(len(batch.x) == len(batch.cells) == 24 for batch in batches)
    places_only = torch.cat([batch.targets[:, 0].isnan() & (batch.cells[:20, 0] == 1) for batch in batches])
    labelled = torch.cat([batch.targets[:, 0] for batch in batches])
    assert 0 < places_only.sum() == labelled.isnan().sum()
    assert 0.3 < labelled.nanmean() < 0.7
    # Without the finding no cell has it; with it, but without a box, nobody knows where.
    for batch in batches:
        assert (batch.cells[:20][batch.targets[:, 0] == 0] == 0).all()
        assert batch.cells[:20][batch.targets[:, 0] == 1].isnan().all()


def test_disputed_films_are_not_trained_on(films: LabelledFilms) -> None:
    disputed = films.labels == np.where(np.arange(len(films.labels)) % 2, 1, -1)  # every other positive
    drawing = Batches(replace(films, disputed=disputed), FinetuneSettings())
    drawn = drawing._weights > 0
    assert not (drawn & disputed).any()
    assert (drawn & (films.labels == 1)).any()


@pytest.mark.parametrize("whole", [True, False])
def test_the_whole_film_is_judged_by_its_own_part_too(whole: bool) -> None:
    """Cells that are sure, and rightly so, leave the film's part something to learn."""
    torch.manual_seed(0)
    network, heads = finetuning.ResNet18(), finetuning.Heads(0, whole)
    maps = torch.zeros(2, 512, 1, 1)
    maps[0, 0], maps[1, 1] = 100, 100
    with torch.no_grad():
        network.fc.weight[0, :2] = torch.tensor([1.0, -1.0])
        network.film.weight.zero_()
    batch = Batch(maps, torch.tensor([[1.0], [0.0]]), torch.full((2, 1), torch.nan))
    loss = heads.loss(network, maps, batch, FinetuneSettings(cells=0.0))
    torch.autograd.backward(loss)
    assert network.fc.weight.grad is not None
    if whole:
        assert network.film.weight.grad is not None
        assert network.film.weight.grad[0, 0] < 0 < network.film.weight.grad[0, 1]
    else:
        assert network.film.weight.grad is None


def test_the_whole_films_part_begins_at_random(films: LabelledFilms, tmp_path: Path) -> None:
    """From zero it asked nothing of the layers below, and stayed there (docs/decisions/whole-film.md)."""
    settings = FinetuneSettings(stages=((1, 32, 2),), samples=16, batch_size=16, few=0)
    finetune(films, settings, finetuning.ResNet18().state_dict(), tmp_path / "f", {}, lambda line: None)
    film = under(load_checkpoint(tmp_path / "f")[0], "training.")["film.weight"]
    assert film.norm() > 0.3


@pytest.mark.parametrize("pretrained", [True, False])
def test_what_is_kept_lies_on_the_way_from_pretraining(
    films: LabelledFilms, tmp_path: Path, pretrained: bool
) -> None:
    settings = FinetuneSettings(stages=((1, 32, 2),), samples=32, batch_size=16, few=0, way=0.25)
    gone = 0.25 if pretrained else 1.0
    torch.manual_seed(5)
    start = finetuning.ResNet18().state_dict()
    finetune(films, settings, start if pretrained else None, tmp_path / "f", {}, lambda line: None)
    tensors, _ = load_checkpoint(tmp_path / "f")
    averaged, kept = under(tensors, "averaged."), under(tensors, "network.")
    for name in ("layer4.1.conv2.weight", "layer4.1.bn2.bias", "layer4.1.bn2.running_var"):
        assert not torch.allclose(averaged[name], start[name], atol=1e-4)
        assert torch.allclose(kept[name], start[name].lerp(averaged[name], gone), atol=1e-4)
    # The start's film part says nothing.
    assert torch.allclose(kept["film.weight"], gone * averaged["film.weight"], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "head_alone"), [*((name, False) for name in OF_LAYERS), *((name, True) for name in OF_HEAD)]
)
def test_fine_tuning_goes_without_each_ingredient(
    films: LabelledFilms, tmp_path: Path, name: str, head_alone: bool
) -> None:
    whole = FinetuneSettings(head_alone=head_alone, stages=((2, 32, 2),), samples=32, batch_size=16, few=0)
    disputed = films.labels == np.where(np.arange(len(films.labels)) % 2, 1, -1)
    side = {"side_findings": ("Mass",), "side_labels": films.labels[:, None]}
    films = replace(films, disputed=disputed, **side)
    start = finetuning.ResNet18().state_dict()
    weights = []
    for settings in (whole, left_out(whole, [name])):
        out = tmp_path / str(len(weights))
        finetune(films, settings, start, out, {}, lambda line: None)
        weights.append(under(load_checkpoint(out)[0], "network."))
    assert any(not torch.equal(weights[0][part], weights[1][part]) for part in weights[0])


def test_as_they_come_films_are_drawn_alike_and_seen_as_they_are(films: LabelledFilms) -> None:
    settings = left_out(FinetuneSettings(samples=200, batch_size=20), ["balance", "augmentation", "places"])
    batches = list(Batches(films, settings).of_epoch(0, 10, 32, torch.device("cpu")))
    assert torch.cat([batch.targets[:, 0] for batch in batches]).mean() < 0.45  # a third of them
    training = films.values[films.of(Split.TRAIN)]
    for x in batches[0].x[:, 0].mul(255).numpy():
        assert np.abs(training - x).max((1, 2)).min() < 0.1


def test_few_labels_are_part_of_more_labels() -> None:
    patients = [f"P{n}" for n in range(2000)]
    few, more = ({p for p in patients if label_rank(p, 0) < share} for share in (0.1, 0.25))
    assert few < more
    assert 150 < len(few) < 250
    held_out = [p for p in patients if cross_fold_of(p, 0) == 0]
    assert 0.06 < len(few.intersection(held_out)) / len(held_out) < 0.14


def test_a_peak_is_a_place_on_the_film_not_in_the_padding() -> None:
    heatmap = np.zeros((7, 7), np.float32)
    heatmap[0, 3] = 9  # padding of a film that is twice as wide as high
    heatmap[3, 1] = 5
    assert peak(heatmap, Geometry.fit(100, 200, 224)) == pytest.approx((1.5 / 7, 0.5))


@pytest.mark.parametrize("command", ["finetune", "crossvalidate"])
@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["000.png,P0,0", "002.png,P1,0", "001.png,P0,"], "none of its 2 labelled films is with the finding"),
        (["000.png,P0,1"], "none of its 1 labelled films is without the finding"),
        (
            ["000.png,P0,1", "gone.png,P0,0", "lost.png,P1,1"],
            "2 of 3 films are not there: .*gone.png, .*lost.png;",
        ),
        (
            ["000.png,P0,1", "001.png,P0,0", "000.png,P0,0"],
            "'000.png' is listed twice, with labels that differ",
        ),
    ],
)
def test_what_a_table_lacks_is_said_before_a_film_is_read(
    table: Path, tmp_path: Path, command: str, lines: list[str], complaint: str
) -> None:
    given = table.with_name(f"{tmp_path.name}.csv")
    given.write_text("\n".join(["file,patient_id,tumor", *lines]))
    with pytest.raises(UsageError, match=complaint):
        CliRunner().invoke(cli, [command, str(given), "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", [None, "notes.txt"])
def test_pretraining_on_nothing_says_so_and_leaves_nothing(tmp_path: Path, file: str | None) -> None:
    (tmp_path / "films").mkdir()
    if file:
        (tmp_path / "films" / file).write_text("no film")
    given = ["pretrain", str(tmp_path / "films"), "--out", str(tmp_path / "out" / "simclr")]
    complaint = "none of 1 files is a film that can be read .1 not_an_image." if file else "no file was found"
    with pytest.raises(UsageError, match=complaint):
        CliRunner().invoke(cli, given, catch_exceptions=False)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [file] * bool(file)


def test_too_few_films_for_a_batch_leave_no_log(table: Path, tmp_path: Path) -> None:
    given = ["pretrain", str(table), "--out", str(tmp_path / "simclr"), "--batch-size", "512", "--size", "32"]
    with pytest.raises(UsageError, match="120 films do not fill a batch of 512"):
        CliRunner().invoke(cli, [*given, "--cache", str(tmp_path / "cache")], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_splits_that_cannot_calibrate_are_said_before_anything_is_computed(
    films: LabelledFilms, tmp_path: Path
) -> None:
    settings = {"stages": [[1, 32, 1]], "mean": 0.5, "std": 0.25, "seed": 0}
    save_checkpoint(tmp_path / "c", {"x": torch.zeros(1)}, {"kind": "classifier", "settings": settings})
    sick = replace(films, abnormal=np.ones_like(films.abnormal))
    with pytest.raises(UsageError, match="the train split has 0 normal films"):
        calibrating.calibrate(tmp_path / "c", sick, None, SPEC, "tumor", "n", "1", tmp_path / "m")  # type: ignore[arg-type]


def test_every_row_is_accounted_for(films: LabelledFilms) -> None:
    said = replace(films, dropped={"listed_twice": 3, "not_an_image": 1}).account()
    count = len(films.values)
    assert said.startswith(f"{count + 4} rows: {count} films, 4 dropped (3 listed_twice, 1 not_an_image)")
    sides = [int(number) for number in re.findall(r"(\d+) (?:train|validation|test)", said)]
    assert sum(sides) == count


def test_lines_of_progress_come_by_time_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    advance = progress_bar("reading films")
    for done in range(1, 31):
        now += 1
        advance(done, 30)
    assert capsys.readouterr().err.splitlines() == [
        "reading films: 10/30", "reading films: 20/30", "reading films: 30/30"
    ]  # fmt: skip


def test_what_is_no_classifier_is_not_calibrated(table: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "simclr", {"x": torch.zeros(1)}, {"kind": "simclr", "settings": {"size": 32}})
    given = ["calibrate", str(tmp_path / "simclr"), str(table), "--gate", "gate", "--out", "model"]
    with pytest.raises(UsageError, match="not a classifier"):
        CliRunner().invoke(cli, given, catch_exceptions=False)
