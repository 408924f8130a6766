"""Pre-training: resumed, collapsed, in half precision, watched, and by several processes."""

import csv
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from tensorboardX.proto.event_pb2 import Event
from torch import Tensor

from screen.errors import UsageError
from tests.places import ROOT
from train.cli.main import cli
from train.data.films import Films
from train.data.filmstore import read_ahead
from train.data.folds import Split, split_of
from train.data.planting import Planting
from train.network.checkpoint import load_checkpoint
from train.network.compute import Compute
from train.network.knn import KnnProbe, knn_scores
from train.network.losses import alignment
from train.network.methods import METHODS, Planted, SimCLR, method_named
from train.network.resnet import ResNet18
from train.recipes.pretrain import Learner, PretrainSettings, pretrain

SETTINGS = PretrainSettings(epochs=2, batch_size=16, size=32)
NARROW = {"width": 32}
TERMS = {
    "simclr": [],
    "planted": ["cell_auc"],
}


def picture(seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 256, (40, 40)).astype(np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.asarray(cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX), np.uint8)


@pytest.fixture(scope="module")
def films() -> Films:
    """40 films of 20 patients from two sources; a third of them, brighter, with the finding."""
    labels = (np.arange(40) % 3 == 0).astype(np.float32)
    values = np.stack([picture(index) // 2 for index in range(40)])
    values[labels == 1] += 100
    patients = np.array([f"P{index // 2}" for index in range(40)])
    return Films(values, patients, np.array(["a", "b"])[np.arange(40) % 2], labels, "", {})


def silent(line: str) -> None:
    """No report."""


def rows(log: Path) -> list[dict[str, str]]:
    with log.open(newline="") as stream:
        return list(csv.DictReader(stream))


def events(folder: Path) -> Iterator[Event]:
    """What TensorBoard would show: records of length, its checksum, data, its checksum."""
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_ends_with_the_same_weights_and_log(films: Films, tmp_path: Path, method: str) -> None:
    settings = replace(SETTINGS, method=method, method_options=NARROW if method != "planted" else {})
    lines: list[str] = []
    pretrain(films, settings, tmp_path / "whole", {}, lines.append)

    def stop(line: str) -> None:
        if line.startswith("epoch 1/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(films, settings, tmp_path / "halves", {}, stop)
    pretrain(films, settings, tmp_path / "halves", {}, lines.append)
    assert "resumed after epoch 1" in lines
    whole, _ = load_checkpoint(tmp_path / "whole")
    halves, _ = load_checkpoint(tmp_path / "halves")
    assert whole.keys() == halves.keys()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    with pytest.raises(UsageError, match="other settings"):
        pretrain(films, replace(settings, seed=1), tmp_path / "whole", {}, lines.append)

    names = ["loss", "alignment", "uniformity", *TERMS[method], "knn_auc", "films_per_second"]
    logged, whole_log = rows(tmp_path / "halves.csv"), rows(tmp_path / "whole.csv")
    assert [row["epoch"] for row in logged] == ["1", "2"]
    assert list(logged[0]) == ["epoch", *names]
    shown = {
        (value.tag, event.step): value.simple_value
        for event in events(tmp_path / "halves.tensorboard")
        for value in event.summary.value
    }
    for row, other in zip(logged, whole_log, strict=True):
        for name in names[:-1]:
            assert row[name] == other[name]
            assert shown[f"pretrain/{name}", int(row["epoch"])] == pytest.approx(float(row[name]), abs=1e-4)


def trained(settings: PretrainSettings, steps: int, compute: Compute | None = None) -> list[dict[str, float]]:
    """What each of some steps on one batch logs."""
    learner = Learner(settings, compute or Compute())
    learner.network.train()
    batch = torch.from_numpy(np.stack([picture(index) for index in range(settings.batch_size)]))
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(settings.batch_size)
    logged = []
    for _ in range(steps):
        shown = learner.step(learner.views(batch, batch, generator), groups, settings.learning_rate)
        logged.append({name: value.item() for name, value in shown.items()})
    assert all(parameter.dtype == torch.float32 for parameter in learner.parameters)
    return logged


def test_a_collapse_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    class Attraction(SimCLR):
        """Views attract each other, and nothing repels."""

        def loss(
            self, first: Tensor, second: Tensor, groups: Tensor, targets: Tensor
        ) -> tuple[Tensor, dict[str, Tensor]]:
            return alignment(first, second), {}

    monkeypatch.setitem(METHODS, "attraction", Attraction)
    healthy = replace(SETTINGS, learning_rate=0.01, method_options=NARROW)
    assert trained(replace(healthy, method="attraction"), 25)[-1]["uniformity"] > -0.1
    assert trained(healthy, 25)[-1]["uniformity"] < -0.5


def test_bf16_differs_by_rounding_alone() -> None:
    ((exact,), (rounded,)) = (trained(SETTINGS, 1, Compute(bf16=bf16)) for bf16 in (False, True))
    assert rounded != exact
    assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.02)


def test_compiling_is_asked_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def spy(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", spy)
    trained(SETTINGS, 1, Compute.choose("cpu", compiled=True))
    assert [function.__name__ for function in compiled] == ["last_map"]
    with pytest.raises(UsageError, match="one process"):
        Compute.choose("cpu", compiled=True, world=2)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Compute.choose(precision="fp32") == Compute()
    with pytest.raises(UsageError, match="--device cpu"):
        Compute.choose("cuda")


def test_on_cuda_fast_ways_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert Compute.choose() == Compute(torch.device("cuda", 3), bf16=True, compiled=True)
    assert Compute.choose(precision="fp32", world=2) == Compute(torch.device("cuda", 3))


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": True}, True),
        ({"avx512_f": True, "amx_bf16": False}, False),
    ],
)
def test_bf16_is_the_default_where_a_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert Compute.choose().bf16 is expected
    assert not Compute.choose(precision="fp32").bf16


def test_drawn_lesions_are_learned() -> None:
    """Strong ones, on flat films and beside nothing that resembles them."""
    settings = replace(SETTINGS, size=64, method="planted", learning_rate=0.003)
    learner = Learner(settings)
    assert isinstance(learner.method, Planted)
    learner.method.recipe = Planting(lesions=0.15, distractors=0, radius=(6, 16), contrast=(0.4, 0.9))
    learner.network.train()
    batch = torch.full((settings.batch_size, 64, 64), 100, dtype=torch.uint8)
    generator, groups = torch.Generator().manual_seed(0), torch.arange(settings.batch_size)
    found = []
    for _ in range(25):
        shown = learner.step(learner.views(batch, batch, generator), groups, settings.learning_rate)
        found.append(shown["cell_auc"].item())
    assert found[0] < 0.8
    assert np.mean(found[-10:]) > 0.95


def test_pretraining_can_begin_with_another_runs_weights(films: Films, tmp_path: Path) -> None:
    planted = replace(SETTINGS, method="planted", epochs=1)
    pretrain(films, planted, tmp_path / "first", {}, silent)
    tensors, _ = load_checkpoint(tmp_path / "first")
    fainter = Learner(replace(planted, method_options={"faintest": 0.01}))
    fainter.begin_with(tensors)
    assert all(torch.equal(value, tensors[name]) for name, value in fainter.tensors().items())
    other = Learner(SETTINGS)
    before = other.method.state_dict()["head.0.weight"].clone()
    other.begin_with(tensors)  # the encoder alone: the heads are another method's
    assert torch.equal(other.network.conv1.weight, tensors["network.conv1.weight"])
    assert torch.equal(other.method.state_dict()["head.0.weight"], before)


def test_unknown_methods_and_options_are_refused() -> None:
    with pytest.raises(UsageError, match="simclr, planted"):
        method_named("magic", {})
    with pytest.raises(UsageError, match="width of nothing"):
        method_named("simclr", {"width of nothing": 1})


def test_errors_of_reading_come_out() -> None:
    assert list(read_ahead(lambda x: x * 2, [1, 2, 3])) == [2, 4, 6]
    with pytest.raises(ZeroDivisionError):
        list(read_ahead(lambda x: 1 / x, [1, 0, 2]))


def test_nearest_neighbours_vote_by_cosine() -> None:
    memory = np.array([[1, 0], [9, 1], [0, 1], [-1, 0]], np.float32)
    labels = np.array([1, 1, 0, 0], np.float32)
    queries = np.array([[2, 0.1], [0.1, 3]], np.float32)
    assert knn_scores(memory, labels, queries, 2).tolist() == [1.0, 0.5]
    assert knn_scores(memory, labels, queries).tolist() == [0.5, 0.5]


def test_the_probe_looks_at_training_and_validation_patients_only(
    films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[NDArray[np.intp]] = []

    def brightness(network: object, values: NDArray[np.uint8], chosen: NDArray[np.intp], *_: object) -> Any:
        seen.append(chosen)
        return np.stack([values[chosen].mean((1, 2)), np.full(len(chosen), 150)], 1).astype(np.float32)

    monkeypatch.setattr("train.network.knn._embeddings", brightness)
    assert KnnProbe(films, 0).auc(ResNet18(), 32, 0.5, 0.25) == 1
    sides = [{split_of(patient, 0) for patient in films.patients[chosen]} for chosen in seen]
    assert sides == [{Split.TRAIN}, {Split.VALIDATION}]


@pytest.mark.parametrize("missing", ["labels", "patients"])
def test_without_labels_or_patients_there_is_no_probe(films: Films, missing: str) -> None:
    empty = {"labels": np.full(40, np.nan, np.float32), "patients": np.full(40, "")}
    unknown = replace(films, **{missing: empty[missing]})  # type: ignore[arg-type]
    assert KnnProbe(unknown, 0).auc(ResNet18(), 32, 0.5, 0.25) is None


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    lines = ["file,patient_id,tumor"]
    for index in range(16):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture(index))
        lines.append(f"{index}.png,P{index // 3},")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    options = ["--cache", str(tmp_path / "cache"), "--epochs", "1", "--batch-size", "16", "--size", "32"]
    options += ["--device", "cpu", "--precision", "fp32"]
    command = ["pretrain", str(tmp_path / "labels.csv"), *options, "--out"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    done = subprocess.run(
        [*torchrun, "-m", "train", *command, str(tmp_path / "two")],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 1/1: loss") == 1
    one = CliRunner().invoke(cli, [*command, str(tmp_path / "one")], catch_exceptions=False)
    assert one.exit_code == 0, one.output
    (alone,), (together,) = (rows(tmp_path / f"{name}.csv") for name in ("one", "two"))
    for name in ("loss", "alignment", "uniformity"):
        assert float(together[name]) == pytest.approx(float(alone[name]), abs=2e-4)
    # Adam takes every gradient to the same size, rounding's too: its first moment is a tenth of the gradient.
    (tensors, _), (others, _) = (load_checkpoint(tmp_path / name) for name in ("one", "two"))
    compared = [name for name, value in tensors.items() if value.is_floating_point() and value.any()]
    assert sum(name.endswith(".exp_avg") for name in compared) > 60
    for name in compared:
        difference = ((others[name] - tensors[name]).norm() / tensors[name].norm()).item()
        assert difference < 5e-3, (name, difference)
