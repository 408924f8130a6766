"""What Python calls: films to verdicts, one by one, and a whole run with its reports.

    with screen.Screener() as s:
        for verdict in s.predict("dicom_dir"):
            print(verdict.file, verdict.status, verdict.probability)

`import screen` loads none of this: `screen.__getattr__` does when a name is asked for.
"""

import json
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from screen.backends import Batcher, DeviceInfo, Outputs
from screen.decide import Verdict, decision_from, verdict_alone
from screen.decode import Decoded, DecodePool
from screen.decode.one_file import decode_array
from screen.discover import PassedOver, Source, discover, discover_listed
from screen.errors import UsageError
from screen.film import Unscreened
from screen.ledger import Row
from screen.machine import MOST_AT_ONCE, usable_cpus, usable_memory, workers_for
from screen.model import Model, load_model, model_path
from screen.readers import Limits
from screen.report import SUMMARY_NAME
from screen.runs import RunSettings
from screen.runs import run as run_by_settings
from screen.runs.identifiers import identifiers_for
from screen.runs.network import device_for, open_network
from screen.runs.pipeline import folder_of
from screen.runs.progress import Silence, progress_for_stderr
from screen.runs.stream import inference_from_outputs, row_from_film
from screen.shortcuts import policy_from_entries

StrPath = str | os.PathLike[str]
Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""[H, W], full range, bone bright."""
Square = NDArray[np.uint8]
"""[S, S], what the network gets."""

_AHEAD = 64
"""Files per worker that may overtake a slow one: verdicts come in the order of their files."""
_STOPPED = 128
"""Exit codes from here: by a signal."""
_LOOK = 0.5
"""Seconds that decoding is waited for before the network is looked after again."""


class Screener:
    """A model, opened once and checked as a run checks it; asked for verdicts any number of times.

    It opens at once and is closed by `with` or `close`. One thread may use it at a time.
    """

    def __init__(
        self,
        model: StrPath | Model | None = None,
        device: str = "auto",
        *,
        operating_point: str | None = None,
        threshold: float | None = None,
        decision: StrPath | None = None,
        flag: Sequence[str] = (),
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> None:
        """Arguments are those of `screen run`; None stands for `auto`, or for what the model has.

        Raises ScreenError: for a device that is not here, a model or a device without its certificate, a
        machine that fails the model's probes, an operating point that is not there.
        """
        _check_counts(batch_size, workers)
        wanted = device_for(device)
        self.model = model if isinstance(model, Model) else load_model(_model(model))
        self.decision = decision_from(self.model.card, operating_point, threshold, _path(decision), flag)
        memory = usable_memory()
        self._workers = workers or workers_for(memory, usable_cpus())
        self._policy = policy_from_entries(self.model.card.decode_policies)
        self._limits = Limits()
        self._pool: DecodePool | None = None
        self._at_work = self._closed = False
        self._backend, self.preprocess_drift = open_network(
            self.model, wanted, batch_size or 0, memory, Silence().event
        )

    @property
    def device(self) -> DeviceInfo:
        """What really runs."""
        return self._backend.device

    def predict(self, source: StrPath | Pixels | Iterable[StrPath | Pixels]) -> Iterator[Verdict]:
        """A verdict for each file, in the order of `source`, while it is read.

        source: one, or any number, of files, folders (each file in them) and arrays [H, W]: uint8 or uint16,
        full range, bone bright. Arrays are named by their place, `array 0`. Files are decoded in processes of
        their own, as many ahead of the caller as keeps these and the network busy. Each file is judged for
        itself: there are no duplicates and no cases here, as there are in a run's reports.
        Raises InputError at once if a path in a list is not there (one from a generator is `failed`), and
        UsageError for what is no source.
        """
        films = self.predict_with_squares(source)
        return (verdict for verdict, _ in films)

    def predict_with_squares(
        self, source: StrPath | Pixels | Iterable[StrPath | Pixels]
    ) -> Iterator[tuple[Verdict, Square | None]]:
        """As `predict`, each with the square that the network got, uint8 [S, S]; None without a picture.

        The heat map lies over the whole square, its black padding included.
        """
        one = isinstance(source, str | os.PathLike | np.ndarray)
        given: Iterable[Any] = [source] if one else source  # type: ignore[assignment]
        if isinstance(given, Sequence):
            for each in given:
                if not isinstance(_checked(each), np.ndarray):
                    discover([Path(each)], None)
        return self._films(_sources(given))

    def _films(self, sources: Iterator[Source | Pixels]) -> Iterator[tuple[Verdict, Square | None]]:
        if self._at_work:
            raise UsageError("this Screener is still at work: read its verdicts to the end, or close() them")
        self._at_work = True
        try:
            with Batcher[_Pending](self._backend) as batcher:
                yield from self._in_order(sources, batcher)
        finally:
            self._at_work = False
            # What nobody waits for any more must not come out of the next call.
            if self._pool is not None and self._pool.in_flight:
                self._close_pool()

    def _in_order(
        self, sources: Iterator[Source | Pixels], batcher: "Batcher[_Pending]"
    ) -> Iterator[tuple[Verdict, Square | None]]:
        """The loop: one source in, whatever is finished out."""
        places: deque[_Place] = deque()
        decoding: dict[int, _Place] = {}  # by the identity of the source: two may be equal
        most = _AHEAD * self._workers + (self._backend.streams + 3) * self._backend.batch_size
        arrays, more = 0, True
        while more or places:
            if self._closed:
                raise UsageError("this Screener is closed: open another one")
            taking = more and len(places) < most and (self._pool is None or self._pool.has_room)
            if taking:
                source = next(sources, None)
                if source is None:
                    more = taking = False
                elif isinstance(source, np.ndarray):
                    places.append(_Place(f"array {arrays}"))
                    arrays += 1
                    film = decode_array(source, self.model.card.preprocess, self._limits, self._policy)
                    self._decoded(places[-1], film, batcher)
                else:
                    places.append(_Place(source.key))
                    decoding[id(source)] = places[-1]
                    self._open_pool().submit(source)
            if self._pool is not None and self._pool.in_flight:
                for read, outcome in self._pool.collect(0.0 if taking else _LOOK):
                    self._decoded(decoding.pop(id(read)), outcome.result, batcher)
            elif not taking:
                self._inferred(batcher.flush())
            self._inferred(batcher.finished())
            while places and (verdict := places[0].verdict) is not None:
                yield verdict, places.popleft().square

    def _decoded(self, place: "_Place", film: Decoded | Unscreened, batcher: "Batcher[_Pending]") -> None:
        row = row_from_film(place.file, film)
        if isinstance(film, Decoded):
            place.square = film.square
            self._inferred(batcher.add(film.square, (place, row)))
        else:
            place.verdict = verdict_alone(row, self.decision)

    def _inferred(self, results: "list[tuple[_Pending, Outputs, int]]") -> None:
        for (place, row), outputs, index in results:
            inference = inference_from_outputs(outputs, index, self.model.card.weights_digest)
            place.verdict = verdict_alone(replace(row, inference=inference), self.decision)

    def _open_pool(self) -> DecodePool:
        """Started with the first file: arrays need none."""
        if self._pool is None:
            spec = self.model.card.preprocess
            self._pool = DecodePool(self._workers, spec, self._limits, self._policy)
        return self._pool

    def _close_pool(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def close(self) -> None:
        """End its processes and give back what the runtime holds; what was not read is lost."""
        self._closed = True
        self._close_pool()
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(slots=True)
class _Place:
    """A source's place in the order; its verdict as soon as it has one."""

    file: str
    square: Square | None = None
    verdict: Verdict | None = None


_Pending = tuple[_Place, Row]


def _sources(given: Iterable[Any]) -> Iterator[Source | Pixels]:
    """Arrays as they are, and every file of every path. Raises UsageError for what is neither."""
    for each in given:
        if isinstance(_checked(each), np.ndarray):
            yield each
            continue
        for step in discover_listed([Path(each)], None):
            if isinstance(step, Source):
                yield step
            elif isinstance(step, PassedOver):
                warnings.warn(f"{step.key}: an earlier run's reports lie in it: no input", stacklevel=2)


def _checked(given: Any) -> Any:
    if isinstance(given, np.ndarray):
        if given.ndim != 2 or given.dtype not in (np.uint8, np.uint16):
            raise UsageError(
                f"an array is uint8 or uint16 [H, W], bone bright; this one is {given.dtype} {given.shape}"
            )
    elif not isinstance(given, str | os.PathLike):
        raise UsageError(f"{type(given).__name__} is no source: give paths, or numpy arrays [H, W]")
    return given


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of a run.

    exit_code: as the command's: 0, or 3 if somebody must look; 1 if nothing was screened although chest films
    were there; 130 or 143 after a signal: then there are no reports. folder: with all that it wrote.
    summary: `summary.json`; empty without reports.
    """

    exit_code: int
    folder: Path
    summary: dict[str, Any]


def run(
    inputs: StrPath | Iterable[StrPath],
    *,
    out: StrPath | None = None,
    model: StrPath | None = None,
    device: str = "auto",
    engine: StrPath | None = None,
    engine_key: StrPath | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    gpu_decoders: int = 0,
    operating_point: str | None = None,
    threshold: float | None = None,
    decision: StrPath | None = None,
    flag: Sequence[str] = (),
    viewer_url: str | None = None,
    known: Iterable[StrPath] = (),
    part: str | None = None,
    identifiers: str = "full",
    identities: StrPath | None = None,
    heatmaps: int = 500,
    timings: bool = False,
    retry_failed: bool = False,
    allow_empty: bool = False,
    fresh: bool = False,
    limits: Limits | None = None,
    progress: bool = False,
) -> RunResult:
    """`screen run`, with its options; typed again, it resumes.

    inputs: a folder or a file, or several; from a generator they are screened while they are listed, as with
    `-`, and `out` is needed. limits: of a single file. progress: say on standard error what the command says.
    Raises ScreenError where the command ends with 1 or 2 and a message.
    """
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    several = isinstance(inputs, Sequence)
    if several and not inputs:
        raise UsageError("nothing to screen was given")
    if not several and out is None:
        raise UsageError("for inputs from a generator there is no name to go by: give out")
    _check_counts(batch_size, workers)
    settings = RunSettings(
        inputs=tuple(map(Path, inputs)) if several else (),
        out=_path(out),
        listed=None if several else map(Path, inputs),
        model=_model(model),
        device=device,
        engine=_path(engine),
        engine_key=_path(engine_key),
        batch_size=batch_size,
        workers=workers,
        gpu_decoders=gpu_decoders,
        operating_point=operating_point,
        threshold=threshold,
        decision=_path(decision),
        flag=tuple(flag),
        viewer_url=viewer_url,
        known=tuple(map(Path, known)),
        part=part,
        identifiers=identifiers,
        identities=_path(identities),
        heatmaps=heatmaps,
        timings=timings,
        retry_failed=retry_failed,
        allow_empty=allow_empty,
        fresh=fresh,
        limits=limits or Limits(),
    )
    with progress_for_stderr() if progress else Silence() as told:
        code = run_by_settings(settings, told)
    folder = folder_of(settings, identifiers_for(settings.identifiers))
    # A run that was stopped before its first result left the earlier reports as they were.
    summary = json.loads((folder / SUMMARY_NAME).read_bytes()) if code < _STOPPED else {}
    return RunResult(code, folder, summary)


def _path(given: StrPath | None) -> Path | None:
    return None if given is None else Path(given)


def _model(given: StrPath | None) -> Path | None:
    return None if given is None else model_path(given)


def _check_counts(batch_size: int | None, workers: int | None) -> None:
    if any(count is not None and not 0 < count <= MOST_AT_ONCE for count in (batch_size, workers)):
        raise UsageError(f"batch_size and workers are numbers from 1 to {MOST_AT_ONCE}, or None")
