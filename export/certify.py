"""Certificates: what shortcuts, fp16, int8 and other runtimes do to scores, kept in the model file."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from export.decodings import Variant, decoded_films, variants_of
from export.derived import DERIVED_FROM
from export.modelwriter import with_card, write_model
from export.quantize import PRECISION as INT8
from export.quantize import sum_bits
from export.realistic import LONGER_SIDE
from screen import __version__
from screen.backends import open_backend
from screen.backends.agreement import BATCH_SIZES, Scores, batch_sweep, figure, scores_from_backend
from screen.backends.agreement import agreement as unlabelled_agreement
from screen.discover import Source, discover
from screen.errors import ModelError, UsageError
from screen.evaluation.metrics import (
    PatientDraws,
    Weights,
    auc,
    interval,
    over,
    within_group_auc,
    within_source_auc,
)
from screen.machine import library_version, library_versions, usable_cpus
from screen.model import Agreement, Bounds, Model, ModelCard, load_model, model_from_bytes
from screen.model.certificates import DECODE_BOUNDS, PARITY_BOUNDS, PRECISION_BOUNDS, Kind
from screen.shortcuts import Shortcut
from train.data.squares import cached_squares
from train.data.table import Columns, read_table, scorable

BATCH = 16


_MAY_DO_WITHOUT = 0.01
"""Share of the films that may be of a shape which a shortcut leaves alone. More would prove nothing of it."""


@dataclass(frozen=True, slots=True)
class Labels:
    """values: float32 [N], 1 with the primary finding, 0 without, NaN unknown; sources, patients: str [N]."""

    values: NDArray[np.float32]
    sources: NDArray[np.str_]
    patients: NDArray[np.str_]


def scores_from_squares(model: Model, device: str, squares: Iterable[NDArray[np.uint8]]) -> Scores:
    """Each uint8 [S, S] through the model on `device`, in order. Raises what opening a backend raises."""
    with open_backend(model, device, BATCH, usable_cpus()) as backend:
        return scores_from_backend(backend, squares)


def agreement(card: ModelCard, first: Scores, second: Scores, labels: Labels) -> Agreement:
    """How far `second` is from `first`, on one film or more; AUC changes are 0 where nothing is labelled."""
    found = unlabelled_agreement(card, first, second)
    measurable = scorable(labels.values, labels.sources)
    if not measurable.any():
        return found
    primary = _primary(card)
    values, sources = labels.values[measurable], labels.sources[measurable]
    before, after = first.logits[measurable, primary], second.logits[measurable, primary]
    within = within_source_auc(after, values, sources) - within_source_auc(before, values, sources)
    return replace(
        found,
        labelled=int(measurable.sum()),
        auc_within_source_change=figure(within),
        auc_pooled_change=figure(auc(after, values) - auc(before, values)),
    )


def auc_change_interval(
    card: ModelCard, first: Scores, second: Scores, labels: Labels
) -> tuple[float, float] | None:
    """95 % of the change of the AUC over pairs within one source, drawing patients; None without labels."""
    measurable = scorable(labels.values, labels.sources)
    if not measurable.any():
        return None
    values, sources = labels.values[measurable], labels.sources[measurable]
    before, after = (scores.logits[measurable, _primary(card)] for scores in (first, second))

    def change(weights: Weights) -> NDArray[np.float64]:
        one, other = (within_group_auc(logits, values, sources, weights) for logits in (before, after))
        return other - one

    low, high = interval(over(change, PatientDraws(labels.patients[measurable])))
    return figure(low), figure(high)


def _primary(card: ModelCard) -> int:
    return [finding.name for finding in card.findings].index(card.primary)


_LIBRARIES = ("numpy", "opencv-python-headless", "imagecodecs")
_WHEELS = {"openvino": "openvino", "cuda": "onnxruntime-gpu"}

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be certified: any of decode shortcuts, devices, and agreement with an fp32 model file.

    precision_bounds: those of `PRECISION_BOUNDS` if None.
    """

    shortcuts: tuple[Shortcut, ...] = ()
    devices: tuple[str, ...] = ()
    against: Path | None = None
    decode_bounds: Bounds = DECODE_BOUNDS
    precision_bounds: Bounds | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One comparison. complaints: what is beyond the bounds; empty: it is certified."""

    name: str
    found: Agreement
    complaints: list[str]


@dataclass(frozen=True, slots=True)
class Films:
    """The films of a folder that can be read, with what a table says about them."""

    sources: list[Source]
    squares: NDArray[np.uint8]
    labels: Labels
    digest: str


def certify(
    path: Path | None,
    request: Request,
    folder: Path,
    table: Path | None,
    out: Path,
    progress: Progress,
    longer_side: int = LONGER_SIDE,
    cache: Path | None = None,
) -> list[Verdict]:
    """Measure what is asked for and write the model with what is within the bounds to `out`.

    The weights digest stays; earlier entries for the same things go. path: None is the shipped model.
    table: without it no AUC is compared.
    progress: films done, films in all. longer_side: of the films that shortcuts are tried on, pixels.
    cache: keeps the films' squares for another model's certificates; None: nothing is kept.
    `out` is written in any case: what is not certified is not in it.
    Raises ScreenError.
    """
    model = load_model(path)
    reference = None if request.against is None else load_model(request.against)
    if reference is not None:
        _check_reference(model, reference)
    with TemporaryDirectory() as passing:
        kept = cache or Path(passing)
        run = _Certification(model, read_films(model, folder, table, kept), progress, kept)
        if reference is not None:
            run.precision(reference, request.precision_bounds)
        for device in request.devices:
            run.runtime(device)
        if request.shortcuts:
            run.shortcuts(request.shortcuts, request.decode_bounds, longer_side)
    write_model(out, run.certified(out).data)
    return run.verdicts


def certified_precision(
    model: Model,
    reference: Model,
    folder: Path,
    table: Path | None,
    bounds: Bounds | None,
    progress: Progress,
    seen: Collection[str] = (),
) -> tuple[Model, Verdict]:
    """A derived model with the certificate of its agreement with the file that it was made from.

    seen: keys of films that it was made with: they are not compared.
    Raises ModelError, naming what is beyond the bounds, if it has none.
    """
    _check_reference(model, reference)
    with TemporaryDirectory() as cache:
        films = read_films(model, folder, table, Path(cache), seen)
        run = _Certification(model, films, progress, Path(cache))
        run.precision(reference, bounds)
    (verdict,) = run.verdicts
    if verdict.complaints:
        raise ModelError(f"not written: {verdict.name}: {'; '.join(verdict.complaints)}")
    return run.certified(model.path), verdict


def read_films(
    model: Model, folder: Path, table: Path | None, cache: Path, but: Collection[str] = ()
) -> Films:
    """The folder's films, in its order, but those with these keys.

    Raises UsageError without any, or if labels cannot tell an AUC.
    """
    sources = [source for source in discover([folder], None) if source.key not in but]
    squares = cached_squares(sources, model.card.preprocess, cache, lambda done, total: None)
    by_key = {source.key: source for source in sources}
    kept = [by_key[key] for key in squares.keys]
    if not kept:
        raise UsageError(f"{folder}: no film in there that can be read: 'screen inspect FILE' says why")
    if table is None:
        nobody = np.full(len(kept), "", np.str_)
        unknown = Labels(np.full(len(kept), np.nan, np.float32), nobody, nobody)
        return Films(kept, squares.values, unknown, squares.digest)
    rows = {row.path.resolve(): row for row in read_table(table, Columns(label=model.card.primary))}
    found = [rows.get(source.path.resolve()) for source in kept]
    labels = Labels(
        np.array([np.nan if row is None else row.label for row in found], np.float32),
        np.array(["" if row is None else row.source for row in found], np.str_),
        np.array(["" if row is None else row.patient_id for row in found], np.str_),
    )
    values, of = labels.values, labels.sources
    if not any({0.0, 1.0} <= set(values[of == source].tolist()) for source in np.unique(of)):
        raise UsageError(
            f"{table}: names no films of {folder} with and without '{model.card.primary}' from one source"
        )
    return Films(kept, squares.values, labels, squares.digest)


def _check_reference(model: Model, reference: Model) -> None:
    """Only the very fp32 file that the other one was made from. Raises UsageError."""
    source = model.card.training.get(DERIVED_FROM)
    made_from = source.get("weights_digest") if isinstance(source, dict) else None
    if made_from != reference.card.weights_digest:
        raise UsageError(f"--against {reference.path}: {model.path} was not made from it")


class _Certification:
    """The card as it grows, and the verdicts. cache: where squares of decodings are kept, or found."""

    def __init__(self, model: Model, films: Films, progress: Progress, cache: Path) -> None:
        self.card = model.card
        self.verdicts: list[Verdict] = []
        self._model = model
        self._films = films
        self._progress = progress
        self._cache = cache
        self._own: Scores | None = None

    def certified(self, path: Path) -> Model:
        """The model with the certificates that it has by now. path: for messages."""
        model = model_from_bytes(with_card(self._model.data, self.card), path)
        if model.card.weights_digest != self._model.card.weights_digest:
            raise ModelError("not written: the weights digest changed")
        return model

    def precision(self, reference: Model, bounds: Bounds | None) -> None:
        """The file against the fp32 one that it was made from."""
        expected = scores_from_squares(reference, "cpu", self._films.squares)
        found = self._agreement(expected, self._scores())
        largest, complaints = batch_sweep(
            self.card,
            lambda size: open_backend(self._model, "cpu", size, usable_cpus()),
            self._films.squares,
            expected.logits,
            BATCH_SIZES,
        )
        # Films at other batch sizes are films: the same bound holds for them.
        found = replace(
            found, max_probability_difference=max(found.max_probability_difference, float(f"{largest:.3g}"))
        )
        entry: dict[str, Any] = {
            "kind": Kind.PRECISION.value,
            "reference_weights_digest": reference.card.weights_digest,
            "batch_sizes": list(BATCH_SIZES),
        }
        name = f"{self.card.precision} against {reference.card.precision}"
        if self.card.precision == INT8:
            # Processors differ there: each kind has a certificate of its own.
            entry["sum_bits"] = sum_bits()
            name += f", {entry['sum_bits']}-bit sums"
        if labelled := auc_change_interval(self.card, expected, self._scores(), self._films.labels):
            entry["auc_within_source_interval"] = list(labelled)
        self._judge(name, found, bounds or PRECISION_BOUNDS[self.card.precision], entry, complaints)

    def runtime(self, device: str) -> None:
        """`device` against ONNX Runtime on the CPU."""
        other = scores_from_squares(self._model, device, self._films.squares)
        wheel = _WHEELS[device]
        entry = {"kind": Kind.RUNTIME.value, "device": device, "runtime": f"{wheel} {library_version(wheel)}"}
        self._judge(f"--device {device}", self._agreement(self._scores(), other), PARITY_BOUNDS, entry)

    def shortcuts(self, shortcuts: Sequence[Shortcut], bounds: Bounds, longer_side: int) -> None:
        """Every shortcut alone, then those that work together."""
        variants = variants_of(shortcuts)
        scores, facts, not_taken = self._score_decodings(variants, longer_side)
        policies = [p for p in self.card.decode_policies if p["name"] not in shortcuts]
        self._forget(lambda entry: entry["kind"] == Kind.DECODING)
        admitted: set[Shortcut] = set()
        for variant in variants:
            found = self._agreement(scores[variant.reference], scores[variant])
            complaints = bounds.complaints(found)
            alone = len(variant.policy.shortcuts) == 1
            if alone and not_taken[variant] > _MAY_DO_WITHOUT * found.films:
                complaints.append(f"not taken on {not_taken[variant]} of {found.films} films")
            self.verdicts.append(Verdict(f"{variant.policy} ({variant.syntax})", found, complaints))
            certificate = {**self._stamp(found, bounds), **facts, "syntax": variant.syntax}
            if not alone:
                if complaints:
                    # Without it nothing works together: each shortcut has its own kind of file.
                    admitted.discard(Shortcut.STEPWISE_RESIZE)
                else:
                    entry = {"kind": Kind.DECODING.value, "policy": str(variant.policy)}
                    self._add({**entry, **certificate})
            elif not complaints:
                (shortcut,) = variant.policy.shortcuts
                admitted.add(shortcut)
                policies.append(
                    {"name": str(shortcut), "version": shortcut.version, "certificate": certificate}
                )
        kept = [p for p in policies if p["name"] not in shortcuts or p["name"] in admitted]
        self.card = replace(self.card, decode_policies=tuple(kept))

    def _score_decodings(
        self, variants: Sequence[Variant], longer_side: int
    ) -> tuple[dict[Variant, Scores], dict[str, Any], dict[Variant, int]]:
        """Scores of every variant and reference, facts for the certificate, films that took no shortcut."""
        films = decoded_films(
            self._films.sources,
            self.card.preprocess,
            variants,
            longer_side,
            usable_cpus(),
            self._cache,
            self._progress,
        )
        everything = scores_from_squares(self._model, "cpu", films.squares)
        scores = {v: Scores(everything.logits[at], everything.gate[at]) for v, at in films.places.items()}
        facts = {"jpeg2000_films": films.jpeg2000_films, "longer_side": longer_side}
        return scores, facts, films.not_taken

    def _scores(self) -> Scores:
        """The file's own on the CPU, computed once."""
        if self._own is None:
            self._own = scores_from_squares(self._model, "cpu", self._films.squares)
        return self._own

    def _agreement(self, first: Scores, second: Scores) -> Agreement:
        return agreement(self.card, first, second, self._films.labels)

    def _judge(
        self,
        name: str,
        found: Agreement,
        bounds: Bounds,
        entry: dict[str, Any],
        also: Sequence[str] = (),
    ) -> None:
        complaints = [*bounds.complaints(found), *also]
        self.verdicts.append(Verdict(name, found, complaints))
        same = {key: entry[key] for key in ("kind", "device", "sum_bits") if key in entry}
        self._forget(lambda old: all(old.get(key) == value for key, value in same.items()))
        if not complaints:
            self._add({**entry, **self._stamp(found, bounds)})

    def _stamp(self, found: Agreement, bounds: Bounds) -> dict[str, Any]:
        """What every certificate says."""
        return {
            "weights_digest": self.card.weights_digest,
            "agreement": found.to_plain(),
            "bounds": bounds.to_plain(),
            "films_digest": self._films.digest,
            "versions": {
                "cxr-screen": __version__,
                "onnxruntime": ort.__version__,  # of whichever wheel is installed
                **library_versions(_LIBRARIES),
            },
        }

    def _forget(self, is_old: Callable[[dict[str, Any]], bool]) -> None:
        kept = tuple(entry for entry in self.card.certificates if not is_old(entry))
        self.card = replace(self.card, certificates=kept)

    def _add(self, entry: dict[str, Any]) -> None:
        self.card = replace(self.card, certificates=(*self.card.certificates, entry))


def verdict_view(verdicts: Sequence[Verdict]) -> Table:
    """All comparisons as a table for people."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("way", "films", "mean |Δp|", "max |Δp|", "flips", "gate", "ΔAUC within, pooled", ""):
        table.add_column(Text(name), overflow="fold")
    for verdict in verdicts:
        found = verdict.found
        table.add_row(
            Text(verdict.name),
            str(found.films),
            f"{found.mean_probability_difference:.5f}",
            f"{found.max_probability_difference:.4f}",
            Text(", ".join(f"{name} {count}" for name, count in found.flips.items())),
            str(found.gate_changes),
            f"{found.auc_within_source_change:+.4f}, {found.auc_pooled_change:+.4f}",
            Text("; ".join(verdict.complaints) or "certified"),
        )
    return table
