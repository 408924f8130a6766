"""What a model is worth on patients that it has never seen: figures with intervals, plots, pictures."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen.errors import UsageError
from train import plots
from train.calibrate import KIND
from train.checkpoint import load_checkpoint, save_checkpoint
from train.features import features_of, heatmaps
from train.films import LabelledFilms
from train.folds import Split
from train.metrics import Figure, auc, patient_bootstrap, wilson, within_source_auc
from train.model import ResNet18


def evaluate(checkpoint: Path, films: LabelledFilms, out: Path) -> list[Figure]:
    """Measure a model on the test split; write `metrics.csv` and plots to `out`, figures to the checkpoint.

    The headline counts positive–negative pairs within one source: the source alone predicts the label.
    """
    tensors, about = load_checkpoint(checkpoint)
    if about["kind"] != KIND:
        raise UsageError(f"{checkpoint} is not calibrated: run `screen train calibrate` first")
    seed = about["training"]["split_seed"]
    network = ResNet18()
    own = network.state_dict()
    network.load_state_dict({name: tensors[name] for name in own})
    mean, std = about["input_mean"], about["input_std"]
    test = np.flatnonzero(films.of(Split.TEST) & films.scorable())
    if not len(test):
        raise UsageError("the table holds no labelled film of the test split")
    values, labels = films.values[test], films.labels[test]
    sources, patients = films.sources[test], films.patients[test]
    logits = features_of(network, values, mean, std).logits[:, 0]
    finding = about["findings"][0]
    probabilities = 1 / (1 + np.exp(-(finding["slope"] * logits.astype(np.float64) + finding["intercept"])))
    figures = _aucs(logits, labels, sources, patients, seed)
    measured = _operating_points(finding, probabilities, labels, f"test split: {len(test)} films")
    figures += [figure for point in measured for figure in point]
    figures.append(_calibration_error(probabilities, labels, patients, seed))
    about["metrics"] |= {
        figure.name: {"value": figure.value, "interval": [figure.low, figure.high],
                      "films": figure.films, "positives": figure.positives}
        for figure in figures
    }  # fmt: skip
    about["metrics"]["test_data_digest"] = films.digest
    save_checkpoint(checkpoint, tensors, {k: v for k, v in about.items() if k != "tensors_sha256"})
    out.mkdir(parents=True, exist_ok=True)
    _write_metrics(out / "metrics.csv", figures)
    maps = heatmaps(network, values, mean, std)
    plots.results(out / "results.png", values, probabilities, labels, maps, finding)
    plots.curves(out, probabilities, labels, finding, figures[0])
    return figures


def _aucs(
    logits: NDArray[np.float32],
    labels: NDArray[np.float32],
    sources: NDArray[np.str_],
    patients: NDArray[np.str_],
    seed: int,
) -> list[Figure]:
    """Headline (without single collections that are a hospital of their own), each such hospital, pooled."""

    def figure(name: str, mask: NDArray[np.bool_], score: Callable[[NDArray[np.intp]], float]) -> Figure:
        chosen = np.flatnonzero(mask)

        def statistic(index: NDArray[np.intp]) -> float:
            return score(chosen[index])

        low, high = patient_bootstrap(patients[chosen], statistic, seed=seed)
        value = statistic(np.arange(len(chosen)))
        return Figure(name, value, low, high, len(chosen), int(labels[chosen].sum()))

    def within(index: NDArray[np.intp]) -> float:
        return within_source_auc(logits[index], labels[index], sources[index])

    def pooled(index: NDArray[np.intp]) -> float:
        return auc(logits[index], labels[index])

    everything = np.ones(len(labels), np.bool_)
    figures = [figure("auc_within_source", everything, within)]
    for source in np.unique(sources):
        of_source = sources == source
        if len(np.unique(labels[of_source])) == 2:
            figures.append(figure(f"auc_{source}", of_source, pooled))
    figures.append(figure("auc_pooled", everything, pooled))
    return figures


def _operating_points(
    finding: dict[str, Any], probabilities: NDArray[np.float64], labels: NDArray[np.float32], measured_on: str
) -> list[tuple[Figure, Figure]]:
    """Sensitivity and specificity at each operating point, also entered into `finding`."""
    figures = []
    positive, negative = labels == 1, labels == 0
    for point in finding["operating_points"]:
        flagged = probabilities >= point["threshold"]
        found, passed = int(flagged[positive].sum()), int((~flagged)[negative].sum())
        n_positive, n_negative = int(positive.sum()), int(negative.sum())
        sensitivity = Figure(
            f"sensitivity_{point['name']}", found / max(1, n_positive), *wilson(found, n_positive),
            n_positive, n_positive,
        )  # fmt: skip
        specificity = Figure(
            f"specificity_{point['name']}", passed / max(1, n_negative), *wilson(passed, n_negative),
            n_negative, 0,
        )  # fmt: skip
        point |= {
            "sensitivity": sensitivity.value,
            "sensitivity_interval": [sensitivity.low, sensitivity.high],
            "specificity": specificity.value,
            "specificity_interval": [specificity.low, specificity.high],
            "measured_on": measured_on,
        }
        figures.append((sensitivity, specificity))
    return figures


def _calibration_error(
    probabilities: NDArray[np.float64], labels: NDArray[np.float32], patients: NDArray[np.str_], seed: int
) -> Figure:
    """Expected calibration error over ten bins of equally many films (Naeini et al., AAAI 2015)."""

    def error(index: NDArray[np.intp]) -> float:
        order = index[np.argsort(probabilities[index], kind="stable")]
        bins = np.array_split(order, 10)
        return sum(
            len(part) / len(order) * abs(float(probabilities[part].mean()) - float(labels[part].mean()))
            for part in bins
        )

    everything = np.arange(len(labels))
    low, high = patient_bootstrap(patients, error, seed=seed)
    return Figure("calibration_error", error(everything), low, high, len(labels), int(labels.sum()))


def _write_metrics(path: Path, figures: list[Figure]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["figure", "value", "low", "high", "films", "positives"])
        for figure in figures:
            numbers = (f"{number:.4f}" for number in (figure.value, figure.low, figure.high))
            writer.writerow([figure.name, *numbers, figure.films, figure.positives])
